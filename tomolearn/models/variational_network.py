"""Variational network."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, softplus

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.modules import Compilable
from tomolearn.methods import fbp
from tomolearn.methods.checks import check_ray_transform
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.numerics.gaussian_sums import gaussian_sum
from tomolearn.operators import LinearOperator

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
    """Gradient of a learned penalty, ``1/N sum_i K_i^T φ_i(K_i x)``; see `VariationalNetwork`."""

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
            [gaussian_sum(part, self.weights, self.first, self.distance) for part in parts]
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


def _bounded(filters: torch.Tensor) -> torch.Tensor:
    """Subtract each filter's mean, and reduce its norm to one where it is larger."""
    centred = filters - filters.mean((-2, -1), keepdim=True)
    return centred / torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True).clamp(min=1)


def _mirrored(count: int, reach: int, device: torch.device) -> torch.Tensor:
    """Return the indices of pixels in a row of `count` that is mirrored at both borders."""
    index = torch.arange(-reach, count + reach, device=device).remainder(2 * count)
    return torch.where(index < count, index, 2 * count - 1 - index)
