"""Singular values of small operators: truncation, Tikhonov in closed form, Picard's condition."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.methods.method import Method, setting

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator

_MOST_PIXELS = 64**2
_MOST_ENTRIES = 2**26
# Columns of the matrix that are computed at once.
_COLUMNS = 256
_last: tuple[Any, SingularSystem] | None = None


@dataclass(frozen=True, eq=False)
class SingularSystem:
    """The singular value decomposition of an operator, in float64.

    Parameters
    ----------
    values : torch.Tensor, shape (k,)
        Singular values, from the largest to the smallest, zeros included.
    left, right : torch.Tensor, shapes (k, *range_shape) and (k, *domain_shape)
        Singular sinograms and images, of norm one.

    Examples
    --------
    >>> system = singular_system(A)
    >>> x = system.tikhonov(y, weight=0.1)
    >>> picard = system.picard(y)
    >>> picard.figure().savefig("picard.png")
    """

    values: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    @property
    def rank(self) -> int:
        """Number of singular values that are not zero up to rounding."""
        import torch

        size = max(self.left[0].numel(), self.right[0].numel())
        least = self.values[0] * size * torch.finfo(self.values.dtype).eps
        return int((self.values > least).sum())

    def coefficients(self, sinogram: torch.Tensor) -> torch.Tensor:
        """Return ``u_i . y``, shape (..., k), of sinograms (..., *range_shape)."""
        axes = self.left.ndim - 1
        flat = sinogram.detach().to(self.values).flatten(sinogram.ndim - axes)
        return flat @ self.left.flatten(1).T

    def truncated(
        self, sinogram: torch.Tensor, *, rank: int | None = None, threshold: float | None = None
    ) -> torch.Tensor:
        """Return the truncated solution, the sum of ``(u_i . y) / s_i v_i`` over the largest.

        Parameters
        ----------
        sinogram : torch.Tensor, shape (..., *range_shape)
            Data.
        rank : int, optional
            Number of singular values. Default: no limit but the next.
        threshold : float, optional
            Smallest one, relative to the largest, in (0, 1]. Default: all that are not zero.
        """
        kept = self.rank if rank is None else min(check_int("rank", rank, minimum=1), self.rank)
        if threshold is not None:
            check_float("threshold", threshold, positive=True)
            kept = min(kept, int((self.values >= threshold * self.values[0]).sum()))
        factors = self.values.new_zeros(len(self.values))
        factors[:kept] = 1 / self.values[:kept]
        return self._combined(sinogram, factors)

    def tikhonov(self, sinogram: torch.Tensor, *, weight: float) -> torch.Tensor:
        """Return the x that minimises ``||A x - y||^2 + weight * ||x||^2``.

        Parameters
        ----------
        sinogram : torch.Tensor, shape (..., *range_shape)
            Data.
        weight : float
            Weight of the penalty, positive.
        """
        weight = check_float("weight", weight, positive=True)
        return self._combined(sinogram, self.values / (self.values.square() + weight))

    def picard(self, sinogram: torch.Tensor, *, noise_level: float | None = None) -> Picard:
        """Return what the coefficients of one sinogram say about Picard's condition.

        Parameters
        ----------
        sinogram : torch.Tensor, shape range_shape
            Data, of one image.
        noise_level : float, optional
            Standard deviation of the noise in a bin. Default: that of the part of the data which no
            image explains, or, if there is none, of the last tenth of the coefficients.
        """
        if sinogram.ndim != self.left.ndim - 1:
            raise TomolearnError(
                f"sinogram: expected one of shape {tuple(self.left.shape[1:])}, got "
                f"{tuple(sinogram.shape)}"
            )
        rank = self.rank
        values, sizes = self.values[:rank], self.coefficients(sinogram)[:rank].abs()
        if noise_level is None:
            free = sinogram.numel() - rank
            y = sinogram.detach().to(values)
            if free > 0:
                rest = (y.square().sum() - sizes.square().sum()).clamp_min(0)
                noise_level = math.sqrt(float(rest) / free)
            else:
                noise_level = float(sizes[-max(1, rank // 10) :].square().mean().sqrt())
        else:
            noise_level = check_float("noise_level", noise_level, nonnegative=True)
        return Picard(values, sizes, sizes / values, noise_level)

    def _combined(self, sinogram: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        found = (self.coefficients(sinogram) * factors) @ self.right.flatten(1)
        return found.unflatten(-1, self.right.shape[1:]).to(sinogram)


@dataclass(frozen=True, eq=False)
class Picard:
    """Numbers of a Picard plot.

    The discrete Picard condition holds as far as ``|u_i . y|`` falls faster than the singular
    values [1]_. Noise keeps it up: where it has sunk into the noise, dividing by s_i amplifies
    noise and nothing else.

    Parameters
    ----------
    singular_values : torch.Tensor, shape (k,)
        ``s_i``, without those that are zero.
    projections : torch.Tensor, shape (k,)
        ``|u_i . y|``.
    coefficients : torch.Tensor, shape (k,)
        ``|u_i . y| / s_i``.
    noise_level : float
        Standard deviation of the noise in a bin, which is that of each ``u_i . y``.

    References
    ----------
    .. [1] P. C. Hansen, "The discrete Picard condition for discrete ill-posed problems", BIT 30
       (1990), doi 10.1007/BF01933214
    """

    singular_values: torch.Tensor
    projections: torch.Tensor
    coefficients: torch.Tensor
    noise_level: float

    @property
    def fails_from(self) -> int | None:
        """First index from which noise has more power than the image; None: nowhere.

        Looked at is the mean square of ``u_i . y`` over a hundredth of the indices around.
        """
        import torch

        half = max(2, len(self.projections) // 200)
        squares = self.projections.square()
        padded = torch.cat((squares[:1].expand(half), squares, squares[-1:].expand(half)))
        power = padded.unfold(0, 2 * half + 1, 1).mean(1)
        # noise has the square of its level, the sum of both twice that
        below = torch.nonzero(power <= 2 * self.noise_level**2)
        return int(below[0]) if len(below) else None

    def figure(self) -> Any:
        """Return the plot, a matplotlib figure."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.semilogy(self.singular_values, label="$s_i$")
        axes.semilogy(self.projections, ".", markersize=3, label="$|u_i \\cdot y|$")
        axes.semilogy(self.coefficients, ".", markersize=3, label="$|u_i \\cdot y| / s_i$")
        axes.axhline(self.noise_level, color="0.5", linestyle=":", label="noise")
        if self.fails_from is not None:
            axes.axvline(self.fails_from, color="0.5", label=f"noise from {self.fails_from}")
        axes.set_xlabel("i")
        axes.legend()
        return figure


def singular_system(operator: LinearOperator) -> SingularSystem:
    """Return the singular value decomposition of a small operator, computed in float64.

    The last one is remembered as long as its operator exists.

    Parameters
    ----------
    operator : LinearOperator
        With at most 64 * 64 pixels.

    Raises
    ------
    TypeError, ValueError
        If `operator` is none, or too large.
    """
    import torch

    from tomolearn.methods.checks import check_linear_operator

    global _last
    check_linear_operator("operator", operator)
    if _last is not None and _last[0]() is operator:
        return _last[1]
    columns, rows = math.prod(operator.domain_shape), math.prod(operator.range_shape)
    if columns > _MOST_PIXELS or rows * columns > _MOST_ENTRIES:
        raise TomolearnError(
            f"operator: expected at most {_MOST_PIXELS} pixels and {_MOST_ENTRIES} matrix entries, "
            f"got {columns} pixels {operator.domain_shape} and {rows} bins "
            f"{operator.range_shape}: the decomposition of the matrix would need about "
            f"{4 * 8 * rows * columns / 1e9:.1f} GB; tikhonov and cgls do without it"
        )
    with torch.no_grad():
        matrix = torch.empty(columns, rows, dtype=torch.float64)
        for start in range(0, columns, _COLUMNS):
            stop = min(start + _COLUMNS, columns)
            basis = torch.zeros(stop - start, columns, dtype=torch.float64)
            basis[torch.arange(stop - start), torch.arange(start, stop)] = 1
            images = operator(basis.reshape(-1, *operator.domain_shape))
            matrix[start:stop] = images.flatten(1)
        right, values, left = torch.linalg.svd(matrix, full_matrices=False)
    system = SingularSystem(
        values,
        left.reshape(-1, *operator.range_shape),
        right.T.reshape(-1, *operator.domain_shape),
    )
    if not list(operator.parameters()):  # else it may be another one by the next time
        _last = weakref.ref(operator), system
    return system


@dataclass(frozen=True, kw_only=True)
class TSVD(Method):
    """Truncated singular value decomposition, for small images; see `tsvd`."""

    name: ClassVar[str] = "tsvd"

    rank: int | None = setting(None, help="largest number of singular values", minimum=1)
    threshold: float = setting(
        1e-2, help="smallest singular value, relative to the largest", above=0, maximum=1
    )

    @property
    def side_by_side(self) -> bool:
        """True: each image is computed of its own."""
        return True

    def __call__(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct."""
        from tomolearn.methods.checks import check_sinogram

        system = singular_system(operator)
        data = check_sinogram(sinogram, operator)
        return system.truncated(data, rank=self.rank, threshold=self.threshold)


def tsvd(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    rank: int | None = TSVD.rank,
    threshold: float = TSVD.threshold,
) -> torch.Tensor:
    """Reconstruct by the truncated singular value decomposition of the operator's matrix.

    The least-squares solution of least norm in the space of the singular images with the largest
    singular values. The matrix is decomposed in float64, for the last operator once; how far its
    singular values can be used with noisy data shows `SingularSystem.picard`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : LinearOperator
        The ray transform, or any other linear operator, with at most 64 * 64 pixels.
    rank : int, optional
        Largest number of singular values. Default: no limit.
    threshold : float
        Smallest singular value that is used, relative to the largest, in (0, 1].

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)
        In 1/mm for line integrals, in the sinogram's precision. It does not depend differentiably
        on `sinogram`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the operator too large.

    References
    ----------
    .. [1] P. C. Hansen, Discrete Inverse Problems (2010), doi 10.1137/1.9780898718836.
    """
    return TSVD(rank=rank, threshold=threshold)(sinogram, operator)
