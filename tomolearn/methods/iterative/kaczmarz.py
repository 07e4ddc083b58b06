"""Kaczmarz' method over ordered subsets of views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Unpack

from tomolearn._core.memory import Arrays
from tomolearn.methods.iterative.sirt import inverse_sums
from tomolearn.methods.iterative.subsets import subsets_of_views
from tomolearn.methods.method import setting
from tomolearn.methods.state import Merit
from tomolearn.methods.stopping import Control, Iterate, IterativeMethod, controlled

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator, RayTransform

# Blocks are not weighted alike: see `Kaczmarz.iterate`.
_SLACK = 2.0


@dataclass(frozen=True, kw_only=True)
class Kaczmarz(IterativeMethod):
    """Kaczmarz' method over subsets of views, as OS-SART; see `kaczmarz`."""

    name: ClassVar[str] = "kaczmarz"
    remedy: ClassVar[str] = "choose a smaller relaxation or fewer subsets"

    iterations: int = setting(10, help="largest number of passes over all views", minimum=1)
    subsets: int | None = setting(None, help="number of subsets of views; default 10", minimum=1)
    order: str = setting("golden", help="sequence of the subsets", choices=("golden", "sequential"))
    relaxation: float = setting(1.0, help="factor of the step, in (0, 2)", above=0, below=2)
    nonnegative: bool = setting(False, help="set negative values to zero after each step")

    @property
    def memory(self) -> Arrays:  # type: ignore[override]
        """What it holds at its peak: column sums of each subset among them; see `Method`."""
        return Arrays(6 + (self.subsets or 10), 3)

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the image after each pass over all views."""
        blocks = []
        for part, views in subsets_of_views(operator, self.subsets, self.order):
            chosen = None if weights is None else weights[:, views].contiguous()
            rows, columns = inverse_sums(part, sinogram, chosen)
            data = sinogram[:, views].contiguous()
            blocks.append((part, data, rows, columns.mul_(self.relaxation)))
        # A pixel that a block's rays only graze would be moved by their whole misfit, and further
        # away in each pass: no block moves it by more than twice what the gentlest one does.
        gentlest = image.new_full(operator.domain_shape, float("inf"))
        for *_, columns in blocks:
            gentlest = gentlest.minimum(columns.where(columns > 0, float("inf")))
        for *_, columns in blocks:
            columns.clamp_(max=2 * gentlest)
        # A block's step makes no distance larger, weighted by its sums over the columns. What is
        # inconsistent in the data, and lets the misfit rise and fall, has no part in distances.
        sums = image.new_zeros(operator.domain_shape)
        for *_, columns in blocks:
            sums = sums + columns.reciprocal().where(columns > 0, 0)
        first = None
        while True:
            old, image = image, image.clone()
            for part, data, rows, columns in blocks:
                correction = part.adjoint(part(image).sub_(data).mul_(rows))
                image.addcmul_(columns, correction, value=-1)
                if self.nonnegative:
                    image.clamp_(min=0)
            change, size = partial(_distance, image, old, sums), partial(_size, image, sums)
            if first is None:
                first = _SLACK * change()
            merit = Merit("change per pass", change, first, size, falls=False)
            yield Iterate(image, lambda x=image: operator(x) - sinogram, merit=merit)  # type: ignore[misc]


@controlled
def kaczmarz(
    sinogram: torch.Tensor,
    operator: RayTransform,
    *,
    iterations: int = Kaczmarz.iterations,
    subsets: int | None = Kaczmarz.subsets,
    order: str = Kaczmarz.order,
    relaxation: float = Kaczmarz.relaxation,
    nonnegative: bool = Kaczmarz.nonnegative,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct by Kaczmarz' method with blocks of views.

    One iteration goes once over all views, one subset after the other; each makes a step of
    `sirt` with its own rays. Subset ``b`` of ``n`` holds the views ``b, b + n, b + 2 n, ...``.
    With one view in a subset this is SART [1]_, with one subset it is SIRT. The first iterations
    are worth many of SIRT; with inconsistent data and a fixed relaxation it ends in a cycle near
    the solution, the closer the smaller the relaxation. `noise_level` and `callback` cost one more
    projection per iteration.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : RayTransform
        The scanner. Its subsets of views are ray transforms of the same backend.
    iterations : int
        Largest number of passes over all views.
    subsets : int, optional
        Number of subsets, at most the number of views. Default: 10, or the number of views.
    order : {"golden", "sequential"}
        Sequence of the subsets: by steps of the golden ratio, so that consecutive ones differ
        much in direction [2]_, or as they are numbered.
    relaxation : float
        Factor of the steps, in (0, 2).
    nonnegative : bool
        Whether to set negative values to zero after each step.

    References
    ----------
    .. [1] A. H. Andersen, A. C. Kak, Simultaneous algebraic reconstruction technique (SART),
       Ultrason. Imaging 6 (1984), doi 10.1177/016173468400600107.
    .. [2] T. Köhler, A projection access scheme for iterative reconstruction based on the golden
       section, IEEE Nucl. Sci. Symp. (2004), doi 10.1109/NSSMIC.2004.1466745.
    """
    method = Kaczmarz(
        iterations=iterations,
        subsets=subsets,
        order=order,
        relaxation=relaxation,
        nonnegative=nonnegative,
    )
    return method(sinogram, operator, **control)


def _distance(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return _size(a - b, weights)


def _size(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    from tomolearn._core.tensors import inner

    return inner(weights * images, images).sqrt()
