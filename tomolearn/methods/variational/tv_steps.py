"""The steps of the primal-dual method for total variation, apart from the projections.

At 128**2 a projection takes no longer than a handful of torch's elementwise operations. For plane
images on a CPU the steps are therefore compiled; elsewhere torch makes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tomolearn.methods.iteration import per_image
from tomolearn.operators.differences import add_adjoint_differences, differences


class VariationSteps:
    """State of the method and its steps in torch, in place: at 128**2 an allocation costs a sum.

    Start `x`, which becomes the relaxed image, and data `y` are contiguous (batch, ...). The steps
    (batch,) are those of image (negative), data dual and gradient dual; `relaxation` is the factor
    by which the variables move on towards their new values. Differences along axis k count
    `scales[k]` times (default: once).

    Attributes
    ----------
    image, ahead : torch.Tensor
        The new image, and where the dual variables look at it: ``2 * image - x``.
    p, q : torch.Tensor, shapes (batch, ...) and (axes, batch, ...)
        Relaxed dual variables of data and gradient, the latter's axes multiplied by their scales.
    p_new, q_new : torch.Tensor
        The dual variables before they are relaxed.
    """

    def __init__(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        weight: float,
        nonnegative: bool,
        primal_step: torch.Tensor,
        data_step: torch.Tensor,
        gradient_step: torch.Tensor,
        relaxation: float,
        scales: Sequence[float] | None = None,
    ) -> None:
        self.squares = [scale**2 for scale in scales or (1.0,) * (x.ndim - 1)]
        self.x, self.y, self.nonnegative, self.relaxation = x, y, nonnegative, relaxation
        # a weight that rounds to zero would be divided by zero
        self.weight = max(weight, torch.finfo(x.dtype).tiny) if weight > 0 else 0.0
        self.primal_step, self.data_step = per_image(primal_step, x), per_image(data_step, y)
        self.data_shrink = 1 / (1 + self.data_step / 2)
        self.gradient_step = per_image(gradient_step, x)
        self.image = x.clone()
        self.p, self.p_new = torch.zeros_like(y), torch.zeros_like(y)
        self.ahead, self.q, self.q_new = self._allocate()

    def _allocate(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # without a penalty its dual variable would stay zero
        axes = self.x.ndim - 1 if self.weight > 0 else 0
        q = self.x.new_zeros((axes, *self.x.shape))
        self._lengths = torch.empty_like(self.x)
        return torch.empty_like(self.x), q, torch.zeros_like(q)

    def image_step(self, slope: torch.Tensor) -> None:
        """Descend along ``slope + D.T q``; `slope`, the gradient of the data, is overwritten."""
        add_adjoint_differences(self.q, slope)
        torch.addcmul(self.x, slope, self.primal_step, out=self.image)
        if self.nonnegative:
            self.image.clamp_(min=0)
        torch.lerp(self.x, self.image, 2.0, out=self.ahead)
        self.x.lerp_(self.image, self.relaxation)

    def data_dual_step(self, projection: torch.Tensor) -> None:
        """Ascend along ``projection - y``; `projection`, that of `ahead`, is overwritten."""
        torch.addcmul(self.p, projection.sub_(self.y), self.data_step, out=self.p_new)
        self.p_new.mul_(self.data_shrink)
        self.p.lerp_(self.p_new, self.relaxation)

    def gradient_dual_step(self) -> None:
        """Ascend along the differences of `ahead`, within the ball of radius `weight`."""
        if self.weight == 0:
            return
        differences(self.ahead, self.q_new)
        for old, new, square in zip(self.q, self.q_new, self.squares, strict=True):
            torch.addcmul(old, new, self.gradient_step * square, out=new)
        # the inverse root of a zero length is infinite and clamped; torch's plain root would
        # start threads even for small images
        shrink = (
            _square(self.q_new, [1 / v for v in self.squares], self._lengths)
            .rsqrt_()
            .mul_(self.weight)
            .clamp_(max=1.0)
        )
        self.q_new.mul_(shrink)
        self.q.lerp_(self.q_new, self.relaxation)

    def dual_slope(self, slope: torch.Tensor) -> torch.Tensor:
        """Add ``D.T q_new`` to `slope` and return it."""
        return add_adjoint_differences(self.q_new, slope)

    def variation(self) -> torch.Tensor:
        """Return the total variation of each image, shape (batch,)."""
        gradient = self.image.new_zeros((self.image.ndim - 1, *self.image.shape))
        differences(self.image, gradient)
        lengths = _square(gradient, self.squares, torch.empty_like(self.image)).sqrt_()
        return lengths.flatten(1).sum(1, dtype=torch.float64)


def _square(vectors: torch.Tensor, factors: Sequence[float], out: torch.Tensor) -> torch.Tensor:
    """Write the squared lengths of the vectors (axes, batch, ...) to `out` and return it.

    The square of each component is multiplied by its factor.
    """
    torch.mul(vectors[0], vectors[0], out=out)
    if factors[0] != 1.0:
        out.mul_(factors[0])
    for component, factor in zip(vectors[1:], factors[1:], strict=True):
        out.addcmul_(component, component, value=factor)
    return out
