"""Variational network."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, conv_transpose2d, softplus

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.modules import Compilable
from tomolearn.methods import fbp
from tomolearn.methods.checks import check_ray_transform
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.operators import LinearOperator

__all__ = ["VariationalNetwork"]

STARTS = ("fbp", "adjoint")


class VariationalNetwork(ReconstructionModel):
    """Variational network of Hammernik et al. [1]_.

    Gradient descent on a sum of a learned penalty, the "fields of experts", and the misfit, in
    which each step, or stage, has a penalty and a weight of the misfit of its own::

        x = x - 1/N sum_i K_i^T φ_i(K_i x) - λ A^T (A x - y)

    with A and y divided by the norm of A. K_i are convolutions with N learned filters, whose mean
    is zero and whose norm is at most one, φ_i sums of Gaussians with learned weights, and the
    weight λ is not negative. With its default arguments it has 36,490 parameters.

    Parameters
    ----------
    stages : int
        Number of steps.
    filters : int
        Number of filters of each stage.
    filter_size : int
        Rows and columns of a filter, an odd number.
    gaussians : int
        Number of Gaussians in each activation function, at least 2. Their centres divide
        [-activation_range, activation_range] evenly, and their standard deviation is the distance
        of two.
    activation_range : float
        Filter responses beyond this range hardly change the image. It is meant for images whose
        values lie in [0, 1].
    start : {"fbp", "adjoint"}
        Whether to start at the filtered back-projection (Ram-Lak, linear interpolation; it needs
        a `RayTransform`) or at A^T y, which any operator has.

    Notes
    -----
    The constraints hold by construction: filters are what is left of the learned arrays after
    their mean is subtracted and their norm, if larger, reduced to one; λ is the softplus of the
    learned number. The paper projects after each step of the optimiser instead.

    The paper is on magnetic resonance images, which are complex and have two real filters for
    each of these; there the start is A^T y, which nearly inverts a Fourier transform as the
    filtered back-projection does a ray transform. The factor 1/N is that of the authors' code;
    images are continued beyond their border by their mirror image, as there. The functions φ_i
    start as lines of a slope of about 0.1, filters as white noise of norm about one, and λ at 1.

    References
    ----------
    .. [1] K. Hammernik et al., "Learning a Variational Network for Reconstruction of Accelerated
       MRI Data", Magn. Reson. Med. 79 (2018), arXiv:1704.00447, doi 10.1002/mrm.26977

    Examples
    --------
    >>> model = VariationalNetwork(stages=4)
    >>> A = RayTransform(grid, scan)
    >>> image = model(A(x), A)
    """

    def __init__(
        self,
        *,
        stages: int = 10,
        filters: int = 24,
        filter_size: int = 11,
        gaussians: int = 31,
        activation_range: float = 1.0,
        start: str = "fbp",
    ) -> None:
        stages = check_int("stages", stages, minimum=1)
        filters = check_int("filters", filters, minimum=1)
        filter_size = check_int("filter_size", filter_size, minimum=3)
        if filter_size % 2 == 0:
            raise TomolearnError(f"filter_size: expected an odd number, got {filter_size}")
        gaussians = check_int("gaussians", gaussians, minimum=2)
        activation_range = check_float("activation_range", activation_range, positive=True)
        check_choice("start", start, STARTS)
        super().__init__(
            {
                "stages": stages,
                "filters": filters,
                "filter_size": filter_size,
                "gaussians": gaussians,
                "activation_range": activation_range,
                "start": start,
            }
        )
        self.start = start
        self.penalties = nn.ModuleList(
            FieldsOfExperts(filters, filter_size, gaussians, activation_range)
            for _ in range(stages)
        )
        # softplus of it is 1
        self.raw_weights = nn.Parameter(torch.full((stages,), math.log(math.e - 1)))

    @property
    def data_weights(self) -> torch.Tensor:
        """Weights λ of the misfit, one per stage, not negative."""
        return softplus(self.raw_weights)

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Run the stages."""
        A = Scaled(operator)
        y = sinogram / A.norm
        if self.start == "fbp":
            x = fbp(sinogram, check_ray_transform(operator), oversampling=1)
        else:
            x = A.adjoint(y)
        for weight, penalty in zip(self.data_weights, self.penalties, strict=True):

            def step(
                x: torch.Tensor, weight: torch.Tensor = weight, penalty: nn.Module = penalty
            ) -> tuple[torch.Tensor]:
                return (x - penalty(x) - weight * A.adjoint(A(x) - y),)

            (x,) = self._iterate(step, x)
        return x


class FieldsOfExperts(Compilable):
    """Gradient of a learned penalty, ``1/N sum_i K_i^T φ_i(K_i x)``.

    Parameters
    ----------
    filters, filter_size, gaussians, activation_range
        As for `VariationalNetwork`.
    """

    def __init__(
        self, filters: int, filter_size: int, gaussians: int, activation_range: float
    ) -> None:
        super().__init__()
        noise = torch.randn(filters, 1, filter_size, filter_size)
        self.raw_filters = nn.Parameter(noise / filter_size)
        self.first, self.distance = -activation_range, 2 * activation_range / (gaussians - 1)
        centres = torch.linspace(-activation_range, activation_range, gaussians)
        self.weights = nn.Parameter((0.04 * centres).repeat(filters, 1))

    @property
    def filters(self) -> torch.Tensor:
        """Filters (number, 1, rows, columns), of mean zero and norm at most one."""
        return _bounded(self.raw_filters)

    def activate(self, responses: torch.Tensor) -> torch.Tensor:
        """Apply the functions φ_i to the responses (batch, number, rows, columns)."""
        parts: tuple[torch.Tensor, ...] = (responses,)
        if responses.device.type == "cpu" and responses.numel():
            # few enough images at a time for the cache
            parts = responses.split(max(1, 2**19 // responses[0].numel()))
        return torch.cat(
            [GaussianSum.apply(part, self.weights, self.first, self.distance) for part in parts]
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient at images (batch, 1, rows, columns)."""
        filters = self.filters
        reach = filters.shape[-1] // 2
        rows = _mirrored(image.shape[-2], reach, image.device)
        columns = _mirrored(image.shape[-1], reach, image.device)
        larger = image.index_select(-2, rows).index_select(-1, columns)
        # mixed precision must not reach the Gaussians, which are narrow
        responses = conv2d(larger, filters).to(image.dtype)
        back = conv_transpose2d(self.activate(responses), filters).to(image.dtype)
        # the transpose of the continuation beyond the border: what was copied there is added here
        narrow = back.new_zeros((*back.shape[:-1], image.shape[-1])).index_add(-1, columns, back)
        return torch.zeros_like(image).index_add(-2, rows, narrow) / len(filters)


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


def _bounded(filters: torch.Tensor) -> torch.Tensor:
    """Subtract each filter's mean, and reduce its norm to one where it is larger."""
    centred = filters - filters.mean((-2, -1), keepdim=True)
    return centred / torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True).clamp(min=1)


def _mirrored(count: int, reach: int, device: torch.device) -> torch.Tensor:
    """Return the indices of pixels in a row of `count` that is mirrored at both borders."""
    index = torch.arange(-reach, count + reach, device=device).remainder(2 * count)
    return torch.where(index < count, index, 2 * count - 1 - index)
