"""Sums of equidistant Gaussians as learned functions of one variable."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from tomolearn._core.tensors import is_followed


def gaussian_sum(
    z: torch.Tensor, weights: torch.Tensor, first: float, distance: float
) -> torch.Tensor:
    """Return sums of equidistant Gaussians, differentiable to any order.

    Parameters
    ----------
    z : torch.Tensor, shape (batch, functions, rows, columns)
        Where to evaluate.
    weights : torch.Tensor, shape (functions, Gaussians)
        Of the Gaussians of each function.
    first, distance : float
        Centre of the first one; distance of two centres, which is also the standard deviation.
    """
    # torch.compile takes no functions with a forward derivative of their own
    function = _Compiled if torch.compiler.is_compiling() else GaussianSum
    value: torch.Tensor = function.apply(z, weights, first, distance)
    return value


class GaussianSum(torch.autograd.Function):
    """Sums of equidistant Gaussians, which keep nothing but their input for the backward pass.

    Written plainly, one stage would need the memory of `gaussians` times its filter responses, and
    as many exponentials. Here ``exp(-(u - a - k)**2 / 2)``, with u counted in distances of two
    centres, is taken apart into ``exp(-(u - a)**2 / 2) * exp(u - a)**k * exp(-k**2 / 2)``: around
    each of a few centres a, the sum is one Gaussian times a polynomial of one exponential.

    The derivatives are made of such sums again, and of `_Moments`: they exist in any order.
    """

    @staticmethod
    def forward(
        z: torch.Tensor, weights: torch.Tensor, first: float, distance: float
    ) -> torch.Tensor:
        """Evaluate at z (batch, functions, rows, columns), for weights (functions, Gaussians)."""
        u = (z - first).div_(distance)
        total = torch.zeros_like(u)
        for group in _groups(weights.shape[1]):
            _, bell, up, down = _split(u, group)
            total.addcmul_(bell, _polynomial(group.factors(weights), group, up, down))
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        """Keep the arguments."""
        z, weights, ctx.first, ctx.distance = inputs
        ctx.save_for_backward(z, weights)
        ctx.save_for_forward(z, weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients with respect to z and to the weights."""
        (gradient,) = gradients
        z, weights = ctx.saved_tensors
        batched = torch._C._functorch.is_legacy_batchedtensor(gradient)
        if batched or is_followed(gradient) or is_followed(z) or is_followed(weights):
            slope = _slope(z, weights, ctx.first, ctx.distance)
            moments = _Moments.apply(z, gradient, weights.shape[1], ctx.first, ctx.distance)
            return gradient * slope, moments, None, None
        return *_first_derivatives(gradient, z, weights, ctx.first, ctx.distance), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> torch.Tensor:
        """Return the derivative in the direction of tangents of z and of the weights."""
        (z, weights), (along_z, along_weights, *_) = ctx.saved_tensors, tangents
        total = torch.zeros_like(z)
        if along_z is not None:
            total = total + along_z * _slope(z, weights, ctx.first, ctx.distance)
        if along_weights is not None:
            total = total + GaussianSum.apply(z, along_weights, ctx.first, ctx.distance)
        return total

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        z: torch.Tensor,
        weights: torch.Tensor,
        first: float,
        distance: float,
    ) -> tuple[torch.Tensor, int]:
        """Take entries for further functions."""
        z = _as_functions(info.batch_size, z, in_dims[0])
        count = info.batch_size if in_dims[1] is None else 1
        if in_dims[1] is not None:
            weights = weights.movedim(in_dims[1], 0).flatten(0, 1)
        total = GaussianSum.apply(z, weights.repeat(count, 1), first, distance)
        return total.unflatten(1, (info.batch_size, -1)), 1


class _Compiled(torch.autograd.Function):
    """The same without derivatives of any order, for `torch.compile`."""

    generate_vmap_rule = True
    forward = GaussianSum.forward

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        z, weights, ctx.first, ctx.distance = inputs
        ctx.save_for_backward(z, weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        z, weights = ctx.saved_tensors
        found = _first_derivatives(gradients[0], z, weights, ctx.first, ctx.distance)
        return *found, None, None


class _Moments(torch.autograd.Function):
    """Sums over batch, rows and columns of `values` times each Gaussian: (functions, Gaussians).

    It is the transpose of `GaussianSum` as a map of its weights.
    """

    @staticmethod
    def forward(
        z: torch.Tensor, values: torch.Tensor, count: int, first: float, distance: float
    ) -> torch.Tensor:
        u = (z - first).div_(distance)
        sums: dict[int, torch.Tensor] = {}
        for group in _groups(count):
            _, bell, up, down = _split(u, group)
            sums |= _sums(group, bell * values, up, down)
        return torch.stack([sums[k] for k in range(count)], 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        z, values, ctx.count, ctx.first, ctx.distance = inputs
        ctx.save_for_backward(z, values)
        ctx.save_for_forward(z, values)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        (weights,) = gradients
        z, values = ctx.saved_tensors
        along_z = values * _slope(z, weights, ctx.first, ctx.distance)
        along_values = GaussianSum.apply(z, weights, ctx.first, ctx.distance)
        return along_z, along_values, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> torch.Tensor:
        (z, values), (along_z, along_values, *_) = ctx.saved_tensors, tangents
        count, first, distance = ctx.count, ctx.first, ctx.distance
        total = z.new_zeros(z.shape[1], count)
        if along_values is not None:
            total = total + _Moments.apply(z, along_values, count, first, distance)
        if along_z is not None:
            moved, orders = values * along_z / distance, torch.arange(count).to(z)
            total = total + orders * _Moments.apply(z, moved, count, first, distance)
            u = (z - first) / distance
            total = total - _Moments.apply(z, moved * u, count, first, distance)
        return total

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        z: torch.Tensor,
        values: torch.Tensor,
        count: int,
        first: float,
        distance: float,
    ) -> tuple[torch.Tensor, int]:
        """Take entries for further functions."""
        z = _as_functions(info.batch_size, z, in_dims[0])
        values = _as_functions(info.batch_size, values, in_dims[1])
        moments = _Moments.apply(z, values, count, first, distance)
        return moments.unflatten(0, (info.batch_size, -1)), 0


def _first_derivatives(
    gradient: torch.Tensor, z: torch.Tensor, weights: torch.Tensor, first: float, distance: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients with respect to z and to the weights, all Gaussians taken once."""
    u = (z - first).div_(distance)
    slope = torch.zeros_like(u)
    sums: dict[int, torch.Tensor] = {}
    for group in _groups(weights.shape[1]):
        offset, bell, up, down = _split(u, group)
        factors = group.factors(weights)
        orders = torch.arange(-group.below, group.above + 1).to(factors)
        value = _polynomial(factors, group, up, down)
        slope += _polynomial(factors * orders, group, up, down).sub_(value.mul_(offset)) * bell
        sums |= _sums(group, bell.mul_(gradient), up, down)
    per_weight = torch.stack([sums[k] for k in range(len(sums))], 1)
    return slope.mul_(gradient).div_(distance), per_weight


def _slope(z: torch.Tensor, weights: torch.Tensor, first: float, distance: float) -> torch.Tensor:
    """Return the derivative of a sum with respect to z, in terms of sums."""
    orders = torch.arange(weights.shape[1]).to(weights)
    u = (z - first) / distance
    moved = GaussianSum.apply(z, weights * orders, first, distance)
    return (moved - u * GaussianSum.apply(z, weights, first, distance)) / distance


def _as_functions(size: int, values: torch.Tensor, dim: int | None) -> torch.Tensor:
    """Return values (batch, size times functions, rows, columns) of a vectorised argument."""
    if dim is None:
        return values.repeat(1, size, 1, 1)
    return values.movedim(dim, 1).flatten(1, 2)


def _sums(
    group: _Group, bell: torch.Tensor, up: torch.Tensor, down: torch.Tensor
) -> dict[int, torch.Tensor]:
    """Return the sums of a group's Gaussians, of which `bell` is the one in the middle."""
    sums = {}
    upper, lower = range(group.above + 1), range(-1, -group.below - 1, -1)
    for power, ks, term in ((up, upper, bell.clone()), (down, lower, bell * down)):
        for k in ks:
            sums[group.anchor + k] = term.sum((0, 2, 3)) * math.exp(-(k**2) / 2)
            term.mul_(power)
    return sums


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
