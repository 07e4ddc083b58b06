"""Simultaneous iterative reconstruction."""

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

# Sums below this part of the largest are rays or pixels that the other side hardly sees.
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True, kw_only=True)
class SIRT(IterativeMethod):
    """Simultaneous iterative reconstruction technique; see `sirt`."""

    name: ClassVar[str] = "sirt"
    memory: ClassVar[Arrays | None] = Arrays(5, 5)
    remedy: ClassVar[str] = (
        "choose a smaller relaxation, and an operator with entries of one sign and an exact adjoint"
    )

    relaxation: float = setting(1.0, help="factor of the step, in (0, 2)", above=0, below=2)
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
        from tomolearn.methods.iteration import misfit_merit

        rows, columns = inverse_sums(operator, sinogram, weights)
        columns *= self.relaxation
        residual = sinogram - operator(image) if image.any() else sinogram
        sizes = rows.abs()
        merit = misfit_merit(
            lambda r: inner(sizes * r, r).sqrt(),
            sinogram,
            residual,
            image if self.nonnegative else None,
        )
        while True:
            image = image.addcmul(columns, operator.adjoint(rows * residual))
            if self.nonnegative:
                image.clamp_(min=0)
            residual = sinogram - operator(image)
            yield Iterate(image, lambda r=residual: r, merit=merit(residual))  # type: ignore[misc]


@controlled
def sirt(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    iterations: int = SIRT.iterations,
    relaxation: float = SIRT.relaxation,
    nonnegative: bool = SIRT.nonnegative,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct by SIRT, the simultaneous iterative reconstruction technique.

    ``x <- x + relaxation * C A.T R (y - A x)`` with the inverse row sums ``R`` and column sums
    ``C`` of ``A``. It tends to the least-squares solution in the norm weighted by ``R`` [1]_, and
    stopped early it is a regularisation. With weights, R are the weights times the inverse row
    sums, and C the inverse column sums of the rows times their weights. It needs no norm of the
    operator. Pixels that no ray crosses, or none that counts, stay as they were in `x0`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : LinearOperator
        The ray transform, or another linear operator with entries of one sign.
    iterations : int
        Largest number of iterations.
    relaxation : float
        Factor of the step, in (0, 2).
    nonnegative : bool
        Whether to set negative values to zero after each step.

    References
    ----------
    .. [1] J. Gregor, T. Benson, Computational analysis and improvement of SIRT, IEEE Trans. Med.
       Imaging 27 (2008), doi 10.1109/TMI.2008.923696.
    """
    method = SIRT(iterations=iterations, relaxation=relaxation, nonnegative=nonnegative)
    return method(sinogram, operator, **control)


def inverse_sums(
    operator: LinearOperator, like: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the inverse row sums and column sums of an operator's matrix, zero where negligible.

    They have the operator's range and domain shape, and precision and device of `like`. With
    weights (batch or 1, *range_shape), the inverse row sums are multiplied by them, and the columns
    are those of the matrix with its rows multiplied by them; both have their batch dimension.
    """
    rows = operator(like.new_ones(operator.domain_shape))
    if weights is None:
        columns = operator.adjoint(like.new_ones(operator.range_shape))
        return _inverse(rows, rows.ndim), _inverse(columns, columns.ndim)
    columns = operator.adjoint(weights)
    return weights * _inverse(rows, rows.ndim), _inverse(columns, columns.ndim - 1)


def _inverse(sums: torch.Tensor, ndim: int) -> torch.Tensor:
    sizes = sums.abs()
    largest = sizes.amax(tuple(range(-ndim, 0)), keepdim=True)
    return (1 / sums).where(sizes > _NEGLIGIBLE * largest, 0)
