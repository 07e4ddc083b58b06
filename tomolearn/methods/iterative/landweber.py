"""Landweber's iteration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Unpack

from tomolearn._core.memory import Arrays
from tomolearn.methods.method import setting
from tomolearn.methods.stopping import Control, Iterate, IterativeMethod, controlled

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class Landweber(IterativeMethod):
    """Landweber's iteration, gradient descent on the misfit; see `landweber`."""

    name: ClassVar[str] = "landweber"
    memory: ClassVar[Arrays | None] = Arrays(4, 3)
    remedy: ClassVar[str] = "choose a step below 2 / operator.norm()**2, or leave it out"

    step: float | None = setting(
        None, help="step, in (0, 2 / norm**2) of the ray transform; default 1 / norm**2", above=0
    )
    nonnegative: bool = setting(False, help="set negative values to zero after each step")

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the iterates."""
        from tomolearn._core.tensors import inner
        from tomolearn.methods.checks import positive_norm
        from tomolearn.methods.iteration import misfit_merit, per_image

        def weighted(values: torch.Tensor) -> torch.Tensor:
            return values if weights is None else weights * values

        largest = image.new_ones(1) if weights is None else weights.flatten(1).amax(1)
        step = 1 / (positive_norm(operator) ** 2 * largest)
        if self.step is not None:
            step = step.new_full((1,), self.step)
        steps = per_image(step, image)
        residual = sinogram - operator(image) if image.any() else sinogram
        merit = misfit_merit(
            lambda r: inner(weighted(r), r).sqrt(),
            sinogram,
            residual,
            image if self.nonnegative else None,
        )
        while True:
            image = image.addcmul(operator.adjoint(weighted(residual)), steps)
            if self.nonnegative:
                image.clamp_(min=0)
            residual = sinogram - operator(image)
            yield Iterate(image, lambda r=residual: r, merit=merit(residual))  # type: ignore[misc]


@controlled
def landweber(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    iterations: int = Landweber.iterations,
    step: float | None = Landweber.step,
    nonnegative: bool = Landweber.nonnegative,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct by Landweber's iteration, gradient descent on the least-squares misfit.

    ``x <- x + step * A.T W (y - A x)``, which tends to the least-squares solution closest to `x0`
    and, stopped early, is a regularisation: with noisy data the error falls first and rises later.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless. The images of a batch are computed side by side.
    operator : LinearOperator
        The ray transform, or any other linear operator.
    iterations : int
        Largest number of iterations.
    step : float, optional
        Step in (0, 2 / n), where n is operator.norm()**2, times the largest weight if there are
        some. Default: 1 / n.
    nonnegative : bool
        Whether to set negative values to zero after each step.

    References
    ----------
    .. [1] L. Landweber, An iteration formula for Fredholm integral equations of the first kind,
       Am. J. Math. 73 (1951), doi 10.2307/2372313.
    """
    method = Landweber(iterations=iterations, step=step, nonnegative=nonnegative)
    return method(sinogram, operator, **control)
