"""When an iteration stops, what it tells on the way, and the base of iterative methods."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypedDict, TypeVar, Unpack

from tomolearn._core.checks import check_flag, check_int
from tomolearn.methods.method import Method, Settings, setting
from tomolearn.methods.state import IterationState, Merit

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class Stopping(Settings):
    """When an iteration stops: whichever of the rules holds first.

    Parameters
    ----------
    iterations : int
        Largest number of iterations.
    tolerance, noise_level, tau
        See `Control`.
    """

    iterations: int = setting(100, help="largest number of iterations", minimum=1)
    tolerance: float | None = setting(
        None, help="stop at this relative change of the image, or relative duality gap", above=0
    )
    noise_level: float | None = setting(
        None, help="stop at the misfit of noise of this standard deviation in a bin", minimum=0
    )
    tau: float = setting(1.0, help="factor of that misfit", above=0)


Callback = Callable[[IterationState], bool | None]


class Control(TypedDict, total=False):
    """What every iterative method takes besides its own settings.

    Parameters
    ----------
    x0 : torch.Tensor, shape (..., *operator.domain_shape), optional
        Start, one for each sinogram or one for all. Default: zero.
    weights : torch.Tensor, optional
        What each measured value counts, shape (*operator.range_shape) or that of the sinogram, not
        negative: the inverse of its variance, up to a factor. Zero: a dead bin, in which anything
        may stand. Least squares become ``||A x - y||_W^2``, the sum of the squared residuals times
        their weights; so do the residuals that are reported.
    padding : int
        So many pixels more at each end of every axis are reconstructed and cut off at the end:
        where the object is larger than the grid, what lies outside has a place to be in. The
        operator has to be a `RayTransform` then. Default: 0.
    tolerance : float, optional
        Stop once ``||x - previous x|| <= tolerance * ||x||`` for all images of the batch, or, of
        methods that know their duality gap, ``gap <= tolerance * objective``.
    noise_level : float, optional
        Standard deviation of the noise in a bin. Stop once ``||A x - y|| <= tau * noise_level *
        sqrt(number of bins)`` for all images of the batch, the discrepancy principle; with
        weights, that of the noise in a bin of weight one, and of the bins that count.
    tau : float
        Factor of that principle, usually 1 or a little more.
    progress : bool
        Whether to show a progress bar.
    callback : callable, optional
        Called with an `IterationState` after each iteration, or as rarely as its attribute
        ``every`` says; ends the iteration by returning True. `History` is one.
    """

    x0: torch.Tensor | None
    weights: torch.Tensor | None
    padding: int
    tolerance: float | None
    noise_level: float | None
    tau: float
    progress: bool
    callback: Callback | None


class History:
    """Callback that records how an iteration went.

    Parameters
    ----------
    every : int
        Record every so many iterations, and the last. What is recorded costs up to one more
        projection and back-projection.
    images : bool
        Whether to keep the images.

    Attributes
    ----------
    states : list of IterationState
        One per record; their `image` is empty unless `images` was asked for.

    Examples
    --------
    >>> history = History(every=10)
    >>> x = total_variation(y, A, weight=0.1, iterations=200, callback=history)
    >>> [state.objective.item() for state in history.states]
    """

    def __init__(self, every: int = 1, *, images: bool = False) -> None:
        self.every = check_int("every", every, minimum=1)
        self.images = check_flag("images", images)
        self.states: list[IterationState] = []

    def __call__(self, state: IterationState) -> None:
        """Record a state."""
        if not self.images:
            empty = state.image.new_empty(0)
            state = IterationState(**{**vars(state), "image": empty})
        self.states.append(state)


class Iterate(NamedTuple):
    """What a method yields after each iteration; what costs something is computed if asked for.

    `image` (batch, ...) is a fresh tensor in each iteration, unless `certificate` has a gap.
    `residual` returns ``A x - y`` or its negative, (batch, ...), without weights; `certificate`, if
    there is one, the objective and its gap to the minimum (None: not known), each (batch,). Without
    a `merit` the misfit of the last iterate tells divergence. `settled` (batch,) says which images
    do not change any more.
    """

    image: torch.Tensor
    residual: Callable[[], torch.Tensor]
    certificate: Callable[[], tuple[torch.Tensor, torch.Tensor | None]] | None = None
    merit: Merit | None = None
    settled: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class IterativeMethod(Method, Stopping):
    """Base of iterative methods, whose files hold the mathematics only.

    A subclass defines `iterate`. The images of a batch are computed side by side, without
    gradients.
    """

    remedy: ClassVar[str] = "check that the operator's adjoint is its transpose"
    """What to do if the iteration diverges."""
    check_every: ClassVar[int] = 1
    """Iterations between two looks at the stopping rules."""
    has_gap: ClassVar[bool] = False
    """Whether `tolerance` is that of the duality gap."""

    @property
    def side_by_side(self) -> bool:
        """Whether an image of a batch does not depend on the others: no rule waits for all."""
        return self.tolerance is None and self.noise_level is None

    def weighting(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the keyword of the call; see `Method.weighting`."""
        return {"weights": weights}

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield one iterate after the other, without end.

        Parameters
        ----------
        sinogram : torch.Tensor, shape (batch, *operator.range_shape)
            Data; they must not be written to.
        operator : LinearOperator
            The scanner.
        image : torch.Tensor, shape (batch, *operator.domain_shape)
            Start; it may be written to.
        weights : torch.Tensor, shape (batch or 1, *operator.range_shape), or None
            What each value counts; `sinogram` is zero where it is zero. It is handed over only if
            there are some, so that a method without weights need not take it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not iterate")

    def __call__(
        self, sinogram: torch.Tensor, operator: LinearOperator, **control: Unpack[Control]
    ) -> torch.Tensor:
        """Reconstruct.

        Parameters
        ----------
        sinogram : torch.Tensor, shape (..., *operator.range_shape)
            Line integrals, dimensionless.
        operator : LinearOperator
            The scanner.
        **control : Control
            Start, reports, and other stopping rules than the method's own.

        Returns
        -------
        torch.Tensor, shape (..., *operator.domain_shape)
            In 1/mm for line integrals, in the sinogram's precision (half precision: float32). It
            does not depend differentiably on `sinogram`: methods iterate without gradients.

        Raises
        ------
        DivergenceError
            If a value is not finite, or an image has a larger misfit or objective than before,
            by more than rounding: a step is too long, or the operator's adjoint no transpose.
        """
        from tomolearn.methods.iteration import run

        return run(self, sinogram, operator, **control)


_Function = TypeVar("_Function", bound=Callable[..., object])


def controlled(function: _Function) -> _Function:
    """Show the keywords of `Control` one by one in a function's signature and documentation.

    Type checkers read them from ``**control: Unpack[Control]``. What is returned, raised and warned
    about is documented as for `IterativeMethod`.
    """
    signature = inspect.signature(function)
    *own, last = signature.parameters.values()
    defaults = {"padding": 0, "tau": Stopping.tau, "progress": False}
    common = [
        last.replace(
            name=name,
            kind=inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(name),
            annotation=hint.__forward_arg__,
        )
        for name, hint in Control.__annotations__.items()
    ]
    signature = signature.replace(parameters=[*own, *common])
    function.__signature__ = signature  # type: ignore[attr-defined]
    if function.__doc__:  # not with python -OO
        before, heading, after = _LAST_SECTIONS.split(inspect.getdoc(function) or "", maxsplit=1)
        _, keywords = (inspect.getdoc(Control) or "").split("----------\n")
        call = inspect.getdoc(IterativeMethod.__call__) or ""
        results = call[call.index("Returns\n") :]
        function.__doc__ = f"{before.rstrip()}\n{keywords}\n\n{results}\n\n{heading}{after}"
    return function


_LAST_SECTIONS = re.compile(r"^((?:Notes|References)\n)", re.MULTILINE)
