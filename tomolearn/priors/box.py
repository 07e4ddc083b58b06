"""Bounds of the pixels' values as a prior."""

from __future__ import annotations

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.priors.prior import PerImage, Regulariser

# In units of rounding of the larger bound, or of the image's largest value.
_ROUNDING = 8


class Box(Regulariser):
    """The indicator of images within bounds: zero inside, infinite outside.

    Its proximal map is the projection, whatever the step. A value beyond a bound by rounding counts
    as inside. It is convex.

    Parameters
    ----------
    lower, upper : float or None
        Bounds in the image's unit, None: no bound. Default: images without negative values.
    ndim : int
        Number of spatial axes: 2 for images, 3 for volumes.

    Raises
    ------
    TypeError, ValueError
        If there is no bound, `lower` exceeds `upper`, or `ndim` is no positive integer.

    Examples
    --------
    >>> Box().proximal(torch.tensor([[-1.0, 2.0]]), 1.0)
    tensor([[0., 2.]])
    """

    def __init__(
        self, *, lower: float | None = 0.0, upper: float | None = None, ndim: int = 2
    ) -> None:
        self.lower = None if lower is None else check_float("lower", lower)
        self.upper = None if upper is None else check_float("upper", upper)
        if self.lower is None and self.upper is None:
            raise TomolearnError("lower: expected a bound, lower or upper, got None of both")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise TomolearnError(f"lower: expected at most upper, {upper}, got {lower}")
        axes = check_int("ndim", ndim, minimum=1)
        super().__init__({"lower": self.lower, "upper": self.upper, "ndim": axes})
        self.ndim = axes

    @property
    def convexity(self) -> float:
        """Zero: it is convex."""
        return 0.0

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return zero or infinity for each image, shape (...)."""
        pixels = self._checked(image).flatten(image.ndim - self.ndim)
        size = max(abs(bound) for bound in (self.lower, self.upper) if bound is not None)
        slack = pixels.abs().amax(-1, keepdim=True).clamp_min(size)
        slack = slack * (_ROUNDING * torch.finfo(image.dtype).eps)
        beyond = torch.zeros_like(pixels, dtype=torch.bool)
        if self.lower is not None:
            beyond = beyond | (pixels < self.lower - slack)
        if self.upper is not None:
            beyond = beyond | (pixels > self.upper + slack)
        return image.new_zeros(()).masked_fill(beyond.any(-1), torch.inf)

    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return the nearest image within the bounds; with step zero it is the image itself."""
        t = self._per_image("step", step, self._checked(image))
        return torch.where(t > 0, image.clamp(self.lower, self.upper), image)
