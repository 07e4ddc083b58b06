"""What the iterative methods share: when to stop, and what to report on the way."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import ConvergenceWarning, DivergenceError, TomolearnTypeError

__all__ = ["Callback", "ConvergenceWarning", "History", "IterationState", "Loop", "per_image"]

# Iterations between two looks for values that are not finite: each makes a GPU wait.
_FINITE_EVERY = 25


@dataclass(frozen=True)
class IterationState:
    """Where an iterative method stands, as its callback gets it.

    Attributes
    ----------
    iteration : int
        Number of iterations done.
    image : torch.Tensor, shape (..., *operator.domain_shape)
        The image after them, a copy.
    residual : torch.Tensor, shape (...)
        ``||A x - y||`` of each image.
    change : torch.Tensor, shape (...), or None
        ``||x - previous x|| / ||x||`` of each image.
    objective, gap : torch.Tensor, shape (...), or None
        What the method minimises, and a bound of how far it is above the minimum, of each image;
        None where a method has none.
    """

    iteration: int
    image: torch.Tensor
    residual: torch.Tensor
    change: torch.Tensor | None = None
    objective: torch.Tensor | None = None
    gap: torch.Tensor | None = None


Callback = Callable[[IterationState], bool | None]


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
        if not isinstance(images, bool):
            raise TomolearnTypeError(f"images: expected a bool, got {type(images).__name__}")
        self.images = images
        self.states: list[IterationState] = []

    def __call__(self, state: IterationState) -> None:
        """Record a state."""
        if not self.images:
            empty = state.image.new_empty(0)
            state = IterationState(**{**vars(state), "image": empty})
        self.states.append(state)


class Loop:
    """The iterations of one run; iterating over it ends when a stopping rule holds.

    Parameters
    ----------
    method : str
        Name for messages.
    remedy : str
        What to do if the iteration diverges.
    leading : tuple of int
        Batch shape of sinogram and images.
    n_bins : int
        Number of bins of one sinogram.
    check_every : int
        Iterations between two checks of `tolerance` and `noise_level`.
    iterations, tolerance, noise_level, tau, progress, callback
        As the methods get them.

    Raises
    ------
    TypeError, ValueError
        If one of these is not of the kind that the methods document.
    """

    def __init__(
        self,
        method: str,
        remedy: str,
        leading: tuple[int, ...],
        n_bins: int,
        *,
        iterations: int,
        tolerance: float | None,
        noise_level: float | None,
        tau: float,
        progress: bool,
        callback: Callback | None,
        check_every: int = 1,
    ) -> None:
        self.method, self.remedy = method, remedy
        self.leading = leading
        self.iterations = check_int("iterations", iterations, minimum=1)
        if tolerance is not None:
            tolerance = check_float("tolerance", tolerance, positive=True)
        self.tolerance = tolerance
        tau = check_float("tau", tau, positive=True)
        self.target: float | None = None
        if noise_level is not None:
            noise_level = check_float("noise_level", noise_level, nonnegative=True)
            self.target = tau * noise_level * math.sqrt(n_bins)
        if not isinstance(progress, bool):
            raise TomolearnTypeError(f"progress: expected a bool, got {type(progress).__name__}")
        self.progress = progress
        if callback is not None and not callable(callback):
            raise TomolearnTypeError(
                f"callback: expected a callable, got {type(callback).__name__}"
            )
        self.callback = callback
        self.callback_every = check_int("callback.every", getattr(callback, "every", 1), minimum=1)
        self.check_every = check_every
        self.iteration = 0
        self._stopped = False
        self._unmet: list[str] = []

    def __iter__(self) -> Iterator[int]:
        """Yield 1, 2, ... until `check` found a reason to stop."""
        if math.prod(self.leading) == 0:
            return
        with _bar(self.method, self.iterations, self.progress) as bar:
            while not self._stopped and self.iteration < self.iterations:
                self.iteration += 1
                yield self.iteration
                bar.update()
        if not self._stopped and self._unmet:
            warnings.warn(
                f"{self.method}: {'; '.join(self._unmet)} after {self.iterations} iterations; "
                "allow more iterations or ask for less",
                ConvergenceWarning,
                stacklevel=_depth_of_caller(),
            )

    def check(
        self,
        image: torch.Tensor,
        previous: torch.Tensor | None,
        residual: Callable[[], torch.Tensor],
        certificate: Callable[[], tuple[torch.Tensor, torch.Tensor | None]] | None = None,
    ) -> None:
        """Report the iteration and decide whether it is the last one.

        Parameters
        ----------
        image : torch.Tensor, shape (batch, ...)
            The new image.
        previous : torch.Tensor or None
            The one before. None: `tolerance` is that of ``gap / objective``.
        residual : callable
            Returns ``A x - y`` or its negative, shape (batch, ...).
        certificate : callable, optional
            Returns objective and gap, each of shape (batch,).

        Raises
        ------
        FloatingPointError
            If the image is not finite.
        """
        last = self.iteration == self.iterations
        reports = self.callback is not None and (self.iteration % self.callback_every == 0 or last)
        due = self.iteration % self.check_every == 0 or last
        tests, compares = (due and limit is not None for limit in (self.tolerance, self.target))
        if (self.iteration % _FINITE_EVERY == 0 or last) and not bool(torch.isfinite(image).all()):
            self._diverged()
        if not reports and not tests and not compares:
            return
        objective = gap = change = misfit = None
        if certificate is not None and (reports or (tests and previous is None)):
            objective, gap = certificate()
        if previous is not None and (reports or tests):
            change = _ratio(_norm(image - previous), _norm(image))
        if reports or compares:
            misfit = _norm(residual())
        if due:
            self._unmet = []
        if tests and self.tolerance is not None:
            name, value = "relative change", change
            if value is None and objective is not None and gap is not None:
                name, value = "relative duality gap", _ratio(gap, objective)
            self._compare(name, value, self.tolerance)
        if compares and self.target is not None:
            self._compare("residual", misfit, self.target)
        if reports:
            self._report(image, misfit, change, objective, gap)

    def _compare(self, name: str, value: torch.Tensor | None, limit: float) -> None:
        if value is None:
            raise RuntimeError(f"{self.method}: nothing to compare with the limit {limit}")
        worst = float(value.max())
        if math.isnan(worst):
            self._diverged()
        if worst <= limit:
            self._stopped = True
        else:
            self._unmet.append(f"{name} {worst:.3g}, asked for {limit:.3g},")

    def _report(self, image: torch.Tensor, misfit: Any, *values: torch.Tensor | None) -> None:
        if self.callback is None:
            return
        numbers = [None if v is None else v.reshape(self.leading) for v in (misfit, *values)]
        copy = image.clone().reshape(*self.leading, *image.shape[1:])
        if self.callback(IterationState(self.iteration, copy, *numbers)) is True:  # type: ignore[arg-type]
            self._stopped = True

    def _diverged(self) -> None:
        raise DivergenceError(
            f"{self.method}: the image is not finite after {self.iteration} iterations; "
            f"{self.remedy}"
        )


def per_image(numbers: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return numbers (batch,) in a shape that multiplies the images of `like` (batch, ...)."""
    return numbers.reshape(-1, *(1,) * (like.ndim - 1))


def _norm(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Divide; nothing of nothing is zero."""
    return torch.where(part == 0, torch.zeros_like(part), part / whole)


def _depth_of_caller() -> int:
    """Return how far up, seen from the caller of this, the first frame that is not ours lies."""
    depth, frame = 1, sys._getframe(1)
    inside = ("tomolearn.methods.", "torch.")
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(inside):
        depth, frame = depth + 1, frame.f_back
    return depth


def _bar(name: str, total: int, wanted: bool) -> Any:
    if not wanted:
        return _NoBar()
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=name, unit="it")


class _NoBar:
    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def update(self) -> None:
        """Do nothing."""
