"""Constraints of images: bounds of their values, and a support outside of which they are zero."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from tomolearn._core.tensors import norm


@dataclass(frozen=True)
class Constraint:
    """A box and a support.

    Parameters
    ----------
    minimum, maximum : float or None
        Bounds of the values.
    support : torch.Tensor of bool, shape (*domain_shape) or (batch, *domain_shape), or None
        Where images may be other than zero.
    """

    minimum: float | None = None
    maximum: float | None = None
    support: torch.Tensor | None = None

    def __bool__(self) -> bool:
        """Whether it constrains anything."""
        return any(one is not None for one in (self.minimum, self.maximum, self.support))

    def project(self, image: torch.Tensor) -> torch.Tensor:
        """Return the nearest images that are allowed; the images themselves if nothing is asked."""
        if self.minimum is not None or self.maximum is not None:
            image = image.clamp(self.minimum, self.maximum)
        return image if self.support is None else image * self.support

    def select(self, index: torch.Tensor, ndim: int) -> Constraint:
        """Return that of some images of the batch, each with `ndim` axes."""
        if self.support is None or self.support.ndim == ndim:
            return self
        return replace(self, support=self.support[index])

    def free(self, image: torch.Tensor) -> torch.Tensor:
        """Return where images may be moved both ways: within the bounds and the support."""
        inside = torch.ones_like(image, dtype=torch.bool)
        if self.minimum is not None:
            inside &= image > self.minimum
        if self.maximum is not None:
            inside &= image < self.maximum
        return inside if self.support is None else inside & self.support

    def support_function(self, slope: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
        """Return a bound of ``<slope, x>`` over the allowed x of at most some norm, (batch,)."""
        if self.support is not None:
            slope = slope * self.support
        bound = torch.zeros(len(slope), dtype=torch.float64, device=slope.device)
        for part, limit in ((slope.clamp(min=0), self.maximum), (slope.clamp(max=0), self.minimum)):
            if limit is None:
                bound = bound + norm(part) * radius
            else:
                bound = bound + limit * part.flatten(1).sum(1, dtype=torch.float64)
        return bound
