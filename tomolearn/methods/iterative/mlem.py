"""Expectation maximisation for counts of emission tomography."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Unpack

from tomolearn._core.errors import TomolearnError
from tomolearn._core.memory import Arrays
from tomolearn.methods.iterative.sirt import inverse_sums
from tomolearn.methods.iterative.subsets import subsets_of_views
from tomolearn.methods.method import setting
from tomolearn.methods.state import Merit
from tomolearn.methods.stopping import Control, Iterate, IterativeMethod, controlled

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class MLEM(IterativeMethod):
    """Expectation maximisation, with ordered subsets OSEM; see `mlem`."""

    name: ClassVar[str] = "mlem"
    memory: ClassVar[Arrays | None] = Arrays(6, 14)
    remedy: ClassVar[str] = (
        "check that the operator has no negative entries and that its adjoint is its transpose"
    )

    iterations: int = setting(50, help="largest number of passes over all views", minimum=1)
    subsets: int = setting(1, help="number of subsets of views; more than one: OSEM", minimum=1)
    background: float = setting(0.0, help="counts expected of no object in a bin", minimum=0)

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the image after each pass over all views."""
        import torch

        for name, values, what in (
            ("sinogram", sinogram, "counts"),
            ("x0", image, "an image of emission"),
        ):
            if bool((values < 0).any()):
                raise TomolearnError(
                    f"{name}: expected {what}, without negative values, for mlem, got "
                    f"{float(values.min()):.3g}; {name}.clamp(min=0) has none, other methods take "
                    "any"
                )

        def weighted(values: torch.Tensor) -> torch.Tensor:
            return values if weights is None else weights * values

        parts = [(operator, slice(None))]
        if self.subsets > 1:
            parts = list(subsets_of_views(operator, self.subsets, "golden"))
        blocks = []
        for part, views in parts:
            chosen = None if weights is None else weights[:, views].contiguous()
            sensitivity = inverse_sums(part, sinogram, chosen)[1]
            blocks.append((part, sinogram[:, views].contiguous(), chosen, sensitivity))

        image = _started(image, weighted(sinogram), operator, weights)
        expected = operator(image) + self.background
        # counts where nothing is expected, whatever the image, say nothing about it
        seen = operator(torch.ones_like(image[:1])) + self.background > 0

        def divergence(mean: torch.Tensor) -> torch.Tensor:
            mean, y = mean.double(), sinogram.double()
            per_bin = mean - y + torch.xlogy(y, y) - torch.xlogy(y, mean)
            return torch.where(seen, weighted(per_bin), 0).flatten(1).sum(1)

        start = divergence(expected)
        size = start.abs() + weighted(sinogram.double()).flatten(1).sum(1)
        while True:
            for part, counts, chosen, sensitivity in blocks:
                mean = expected if len(blocks) == 1 else part(image) + self.background
                quotient = torch.where(mean > 0, counts / mean, 0)
                back = part.adjoint(quotient if chosen is None else chosen * quotient)
                image = image * torch.where(sensitivity > 0, sensitivity * back, 1)
            expected = operator(image) + self.background
            value = divergence(expected)
            # of subsets, only the first passes are sure to lower it
            merit = None
            if self.subsets == 1:
                merit = Merit("objective", lambda v=value: v, start, lambda: size)  # type: ignore[misc]
            yield Iterate(
                image,
                lambda u=expected: u - sinogram,  # type: ignore[misc]
                lambda v=value: (v, None),  # type: ignore[misc]
                merit,
            )


def _started(
    image: torch.Tensor,
    counts: torch.Tensor,
    operator: LinearOperator,
    weights: torch.Tensor | None,
) -> torch.Tensor:
    """Return the start, where it is zero a uniform image that explains as many counts."""
    import torch

    ones = torch.ones_like(counts[:1]) if weights is None else weights
    sensitivity = operator.adjoint(ones).flatten(1).sum(1, dtype=torch.float64)
    level = counts.flatten(1).sum(1, dtype=torch.float64) / sensitivity
    level = torch.where(image.flatten(1).any(1), 0, level)
    return image + level.to(image.dtype).reshape(-1, *(1,) * (image.ndim - 1))


@controlled
def mlem(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    iterations: int = MLEM.iterations,
    subsets: int = MLEM.subsets,
    background: float = MLEM.background,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct the emission that explains counts best, by expectation maximisation.

    ``x <- x / (A.T w) * A.T(w * y / (A x + b))`` raises the likelihood of Poisson counts y of
    expectation ``A x + b`` in each iteration [1]_; the image has no negative values, and without b
    as many counts are explained as were measured. Stopped early it is a regularisation. With
    subsets of views, b, b + n, b + 2 n, ..., each pass does about the work of n [2]_, but ends in a
    cycle near the solution. The objective that is reported is half the deviance, the
    Kullback-Leibler divergence of ``A x + b`` from y, as of `variational` with
    ``data="poisson-emission"``, which has priors; for transmitted photons see there.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Counts, not negative.
    operator : LinearOperator
        The ray transform, or any other linear operator without negative entries; for subsets a
        `RayTransform`.
    iterations : int
        Largest number of passes over all views.
    subsets : int
        Number of subsets of views, at most the number of views; more than one: OSEM.
    background : float
        Counts that are expected of no object in each bin, as scatter. The residual is then that of
        ``A x + b - y``.

    Notes
    -----
    Pixels that are zero in `x0` stay zero. A start of zeros alone, the default, is replaced by a
    uniform image.

    References
    ----------
    .. [1] L. A. Shepp, Y. Vardi, Maximum likelihood reconstruction for emission tomography, IEEE
       Trans. Med. Imaging 1 (1982), doi 10.1109/TMI.1982.4307558.
    .. [2] H. M. Hudson, R. S. Larkin, Accelerated image reconstruction using ordered subsets of
       projection data, IEEE Trans. Med. Imaging 13 (1994), doi 10.1109/42.363108.
    """
    method = MLEM(iterations=iterations, subsets=subsets, background=background)
    return method(sinogram, operator, **control)
