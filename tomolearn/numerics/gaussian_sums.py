"""Sums of equidistant Gaussians as learned functions of one variable."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable


class GaussianSum(torch.autograd.Function):
    """Sums of equidistant Gaussians, which keep nothing but their input for the backward pass.

    Written plainly, one stage would need the memory of `gaussians` times its filter responses, and
    as many exponentials. Here ``exp(-(u - a - k)**2 / 2)``, with u counted in distances of two
    centres, is taken apart into ``exp(-(u - a)**2 / 2) * exp(u - a)**k * exp(-k**2 / 2)``: around
    each of a few centres a, the sum is one Gaussian times a polynomial of one exponential.
    """

    @staticmethod
    def forward(
        ctx: Any, z: torch.Tensor, weights: torch.Tensor, first: float, distance: float
    ) -> torch.Tensor:
        """Evaluate at z (batch, functions, rows, columns), for weights (functions, Gaussians)."""
        ctx.save_for_backward(z, weights)
        ctx.first, ctx.distance = first, distance
        u = (z - first).div_(distance)
        total = torch.zeros_like(u)
        for group in _groups(weights.shape[1]):
            _, bell, up, down = _split(u, group)
            total.addcmul_(bell, _polynomial(group.factors(weights), group, up, down))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients with respect to z and to the weights."""
        z, weights = ctx.saved_tensors
        u = (z - ctx.first).div_(ctx.distance)
        slope, per_weight = torch.zeros_like(u), torch.empty_like(weights)
        for group in _groups(weights.shape[1]):
            offset, bell, up, down = _split(u, group)
            factors = group.factors(weights)
            orders = torch.arange(-group.below, group.above + 1).to(factors)
            value = _polynomial(factors, group, up, down)
            slope += _polynomial(factors * orders, group, up, down).sub_(value.mul_(offset)) * bell
            bell *= gradient
            upper, lower = range(group.above + 1), range(-1, -group.below - 1, -1)
            for power, ks, term in ((up, upper, bell.clone()), (down, lower, bell * down)):
                for k in ks:
                    per_weight[:, group.anchor + k] = term.sum((0, 2, 3)) * math.exp(-(k**2) / 2)
                    term.mul_(power)
        return slope.mul_(gradient).div_(ctx.distance), per_weight, None, None


class _Group(NamedTuple):
    """Gaussians from `anchor - below` to `anchor + above`."""

    anchor: int
    below: int
    above: int

    def factors(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weights of these Gaussians times ``exp(-k**2 / 2)``."""
        own = weights[:, self.anchor - self.below : self.anchor + self.above + 1]
        return own * torch.arange(-self.below, self.above + 1).to(own).square_().mul_(-0.5).exp_()


def _groups(count: int) -> list[_Group]:
    """Divide `count` Gaussians into groups that reach at most four to either side."""
    return [
        _Group(min(k + 4, count - 1), min(4, count - 1 - k), max(0, min(4, count - 5 - k)))
        for k in range(0, count, 9)
    ]


def _split(u: torch.Tensor, group: _Group) -> tuple[torch.Tensor, ...]:
    """Return u - a, its Gaussian, and the exponentials of u - a and a - u."""
    # beyond 13, where each Gaussian of the group is below 1e-17, exponentials would overflow
    offset = (u - group.anchor).clamp_(-13.0, 13.0)
    up = offset.exp()
    return offset, offset.square().mul_(-0.5).exp_(), up, up.reciprocal()


def _polynomial(
    factors: torch.Tensor, group: _Group, up: torch.Tensor, down: torch.Tensor
) -> torch.Tensor:
    """Return the sum of factors (functions, Gaussians) times powers, by Horner's rule."""
    columns = factors[:, :, None, None].unbind(1)
    total = columns[-1].expand_as(up)
    for k in range(group.above - 1, -1, -1):
        total = torch.addcmul(columns[group.below + k], total, up)
    if not group.below:
        return total.clone()
    lower = columns[0].expand_as(up)
    for k in range(1, group.below):
        lower = torch.addcmul(columns[k], lower, down)
    return torch.addcmul(total, lower, down)
