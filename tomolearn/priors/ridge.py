"""Ridge regularisers: learned filters and one potential of each filter's response."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.priors.prior import Regulariser

_CONVOLUTIONS: dict[int, tuple[Callable[..., Any], Callable[..., Any]]] = {
    1: (torch.nn.functional.conv1d, torch.nn.functional.conv_transpose1d),
    2: (torch.nn.functional.conv2d, torch.nn.functional.conv_transpose2d),
    3: (torch.nn.functional.conv3d, torch.nn.functional.conv_transpose3d),
}
# Frequencies per tap and axis at which spectra are looked at, by number of axes: in the plane
# what lies between is larger by 6 % at most, in space by 23 %.
_FREQUENCIES = {1: 32, 2: 12, 3: 8}
# Of knees, in those before training: knees near zero leave objectives without a curvature that
# algorithms, and the derivatives of minimisers, could work with.
_SMALLEST_KNEE = 0.25


class ConvexRidge(Regulariser):
    """Convex ridge regulariser, the sum of convex potentials of filtered images.

    ``R(x)`` is the sum over filters i and pixels p of ``w_i h(a_i, (f_i * x)_p)``, with Huber's
    function ``h(a, t) = t^2 / 2a`` for ``|t| <= a`` and ``|t| - a / 2`` beyond, after [1]_. The
    filters f_i are compositions of small convolutions with mean zero; at the border images are
    continued by their mirror images. Weights w_i and knees a_i are positive, so that R is convex
    whatever the parameters. Before training, filters are differences in random directions, and R
    is about the total variation.

    Parameters
    ----------
    channels : sequence of int
        Channels after each convolution; the last is the number of filters.
    kernel_size : int
        Odd number of taps of each convolution along an axis. A filter has
        ``len(channels) * (kernel_size - 1) + 1``.
    knee : float
        Of all potentials before training, in units of the image.
    weight : float
        Of the total variation that it is about before training. To remove noise by one step along
        the gradient, it is about the noise's standard deviation.
    ndim : int
        Number of spatial axes, 1 to 3.

    References
    ----------
    .. [1] A. Goujon et al., "A neural-network-based convex regularizer for inverse problems", IEEE
       Trans. Comput. Imaging 9 (2023), arXiv:2211.12461

    Examples
    --------
    >>> image = Variational(ConvexRidge(), weight=0.1)(sinogram, operator)
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (4, 8, 60),
        kernel_size: int = 5,
        knee: float = 0.01,
        weight: float = 1.0,
        ndim: int = 2,
    ) -> None:
        widths = [check_int("channels", n, minimum=1) for n in channels]
        if not widths:
            raise TomolearnError("channels: expected at least one number, got none")
        if check_int("ndim", ndim, minimum=1) not in _CONVOLUTIONS:
            raise TomolearnError(f"ndim: expected 1, 2 or 3, got {ndim}")
        size = check_int("kernel_size", kernel_size, minimum=3)
        if size % 2 == 0:
            raise TomolearnError(f"kernel_size: expected an odd number, got {size}")
        numbers = {
            "knee": check_float("knee", knee, positive=True),
            "weight": check_float("weight", weight, positive=True),
        }
        super().__init__({"channels": widths, "kernel_size": size, **numbers, "ndim": ndim})
        self.ndim = ndim
        self.taps = len(widths) * (size - 1) + 1
        self.kernels = torch.nn.ParameterList(
            _differences(before, after, size, ndim)
            for before, after in zip([1, *widths], widths, strict=False)
        )
        # of filters of length one in random directions, the mean of |cosine| is about 2 / pi
        length = self.filters().detach().flatten(1).norm(dim=1).mean()
        log_weight = math.log(weight * math.pi / (2 * widths[-1])) - length.log()
        self.log_weights = torch.nn.Parameter(log_weight.repeat(widths[-1]))
        self.smallest_knee = _SMALLEST_KNEE * numbers["knee"]
        excess = math.log(numbers["knee"] - self.smallest_knee)
        self.log_excesses = torch.nn.Parameter(torch.full((widths[-1],), excess))

    @property
    def convexity(self) -> float | None:
        """Zero: it is convex."""
        return 0.0

    def knees(self) -> torch.Tensor:
        """Return the knees a_i, shape (filters,), in units of the image."""
        return self.smallest_knee + self.log_excesses.exp()

    def lipschitz(self, shape: Sequence[int]) -> float:
        """Return the largest value of the filters' spectrum, each by its steepest slope."""
        with torch.no_grad():
            return float(self._peak(self.log_weights.exp() / self.knees()))

    def filters(self) -> torch.Tensor:
        """Return the filters, shape (filters, *taps), as correlations have them."""
        weights = self.kernels[0]
        impulse = weights.new_zeros((1, 1, *(2 * self.taps - 1,) * self.ndim))
        impulse[(0, 0, *(self.taps - 1,) * self.ndim)] = 1
        return self._filtered(impulse, weights.new_ones(len(self.kernels[-1])))[0].flip(
            tuple(range(1, 1 + self.ndim))
        )

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        return self._value(self._responses(image), image)

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient at each image."""
        return self._gradient(self._responses(image), image)

    def value_and_gradient(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both, with the filters applied once."""
        responses = self._responses(image)
        return self._value(responses, image), self._gradient(responses, image)

    def _responses(self, image: torch.Tensor) -> torch.Tensor:
        """Return the filtered images, each filter's in units of its knee."""
        return self._filtered(self._flat(image), 1 / self.knees())

    def _value(self, responses: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        values = self._potentials(responses) @ self.log_weights.exp()
        return values.reshape(image.shape[: image.ndim - self.ndim])

    def _gradient(self, responses: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        slopes = self._slopes(responses)
        transpose = _CONVOLUTIONS[self.ndim][1]
        for kernel in reversed(self._kernels(self.log_weights.exp())):
            slopes = transpose(slopes, kernel)
        return self._folded(slopes).reshape(image.shape)

    def _mirrored(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images continued by their mirror images, as far as the filters reach."""
        reach = self.taps // 2
        for axis in range(2, 2 + self.ndim):
            n = images.shape[axis]
            left, right = (images.narrow(axis, k, reach).flip(axis) for k in (0, n - reach))
            images = torch.cat((left, images, right), axis)
        return images

    def _folded(self, images: torch.Tensor) -> torch.Tensor:
        """Apply the transpose of `_mirrored`."""
        reach = self.taps // 2
        for axis in range(2, 2 + self.ndim):
            n = images.shape[axis] - 2 * reach
            left, middle, right = images.split((reach, n, reach), axis)
            zeros = torch.zeros_like(middle.narrow(axis, 0, n - reach))
            middle = middle + torch.cat((left.flip(axis), zeros), axis)
            images = middle + torch.cat((zeros, right.flip(axis)), axis)
        return images

    def _potentials(self, responses: torch.Tensor) -> torch.Tensor:
        """Return the sums of each filter's potential over the pixels, shape (batch, filters)."""
        return self.knees() * _huber_sums(responses)

    def _slopes(self, responses: torch.Tensor) -> torch.Tensor:
        return responses.clamp(-1, 1)

    def _per_filter(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers.reshape(-1, *(1,) * self.ndim)

    def _kernels(self, factors: torch.Tensor) -> list[torch.Tensor]:
        """Return the convolutions, the last times a factor for each filter.

        The first, and so their composition, has no mean.
        """
        first, *others = self.kernels
        kernels = [first - first.mean(tuple(range(2, 2 + self.ndim)), keepdim=True), *others]
        kernels[-1] = kernels[-1] * factors.reshape(-1, 1, *(1,) * self.ndim)
        return kernels

    def _filtered(self, images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        convolve = _CONVOLUTIONS[self.ndim][0]
        for kernel in self._kernels(factors):
            images = convolve(images, kernel)
        return images

    def _flat(self, image: torch.Tensor) -> torch.Tensor:
        self._checked(image)
        spatial = image.shape[image.ndim - self.ndim :]
        if min(spatial) < self.taps // 2:
            raise TomolearnError(
                f"image: expected at least {self.taps // 2} pixels along each axis, as far as the "
                f"filters of {type(self).__name__} reach, got shape {tuple(spatial)}"
            )
        flat = self._mirrored(image.reshape(-1, 1, *spatial))
        # convolutions with few channels are half as slow
        return flat.to(memory_format=torch.channels_last) if self.ndim == 2 else flat

    def _peak(self, factors: torch.Tensor) -> torch.Tensor:
        """Return a bound of the norm of ``sum over i of factors_i F_i.T F_i`` for filters F_i.

        Within an image they are a part of filters on a torus, whose norm is the peak of their
        spectrum; mirroring repeats a pixel once along each axis at most, which doubles squares.
        Between the frequencies that are looked at, a trigonometric polynomial of degree d rises by
        no more than the cosine of half their distance times d allows, in each axis.
        """
        # the squared spectra are those of autocorrelations, which are short and can be summed
        n, m = _FREQUENCIES[self.ndim] * self.taps, 2 * self.taps - 1
        axes = tuple(range(self.ndim))
        spectra = torch.fft.fftn(self.filters(), s=(m,) * self.ndim, dim=[1 + a for a in axes])
        squares = (self._per_filter(factors) * spectra.abs().square()).sum(0)
        sums = torch.fft.fftshift(torch.fft.ifftn(squares).real)
        total = torch.fft.rfftn(sums, s=(n,) * self.ndim, dim=axes).abs()
        return total.max() * (2 / math.cos(math.pi * (self.taps - 1) / n)) ** self.ndim


class WeaklyConvexRidge(ConvexRidge):
    """Weakly convex ridge regulariser, whose potentials level off.

    As `ConvexRidge`, with the potential ``h(a, t) - gamma h(b, t)``, whose slope falls to zero
    beyond ``b > a``, where large differences are edges that cost no more [1]_. The factor
    ``gamma <= 1``, the same for all filters, is the largest with which
    ``R(x) + modulus ||x||^2 / 2`` is certainly convex; so with ``modulus=1`` the denoising problem
    ``||x - y||^2 / 2 + R(x)`` is convex whatever the parameters.

    Parameters
    ----------
    channels, kernel_size, knee, weight, ndim
        See `ConvexRidge`.
    modulus : float
        Of weak convexity, at most.
    ratio : float
        ``b / a`` before training, above 1.

    References
    ----------
    .. [1] A. Goujon, S. Neumayer, M. Unser, "Learning weakly convex regularizers for convergent
       image-reconstruction algorithms", SIAM J. Imaging Sci. 17 (2024), arXiv:2308.10542
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (4, 8, 60),
        kernel_size: int = 5,
        knee: float = 0.01,
        weight: float = 1.0,
        ndim: int = 2,
        modulus: float = 1.0,
        ratio: float = 5.0,
    ) -> None:
        super().__init__(
            channels=channels, kernel_size=kernel_size, knee=knee, weight=weight, ndim=ndim
        )
        self.modulus = check_float("modulus", modulus, positive=True)
        ratio = check_float("ratio", ratio, positive=True)
        if ratio <= 1:
            raise TomolearnError(f"ratio: expected a number above 1, got {ratio:g}")
        self._arguments |= {"modulus": self.modulus, "ratio": ratio}
        self._settled_part: torch.Tensor | None = None
        self.log_ratios = torch.nn.Parameter(torch.full_like(self.log_weights, math.log(ratio - 1)))

    @property
    def convexity(self) -> float:
        """Minus the modulus of weak convexity, which is at most the argument."""
        with torch.no_grad():
            return -float(self._concave_part() * self._concave_peak())

    def _ends(self) -> torch.Tensor:
        """Return where the potentials are level."""
        return self.knees() * (1 + self.log_ratios.exp())

    def _concave_peak(self) -> torch.Tensor:
        return self._peak(self.log_weights.exp() / self._ends())

    def settle(self) -> None:
        """Compute gamma, for which the spectra of all filters are needed."""
        with torch.no_grad():
            self._settled_part = self._concave_part()

    def _concave_part(self) -> torch.Tensor:
        """Return gamma."""
        if self._settled_part is not None:
            return self._settled_part
        return (self.modulus / self._concave_peak()).clamp(max=1)

    def _potentials(self, responses: torch.Tensor) -> torch.Tensor:
        ends, ratios = self._ends(), self._per_filter(self.knees() / self._ends())
        concave = self._concave_part() * ends * _huber_sums(responses * ratios)
        return super()._potentials(responses) - concave

    def _slopes(self, responses: torch.Tensor) -> torch.Tensor:
        concave = (responses * self._per_filter(self.knees() / self._ends())).clamp(-1, 1)
        return torch.addcmul(super()._slopes(responses), concave, -self._concave_part())


def _differences(before: int, after: int, size: int, ndim: int) -> torch.nn.Parameter:
    """Return a convolution before training: differences in random directions, then mixtures."""
    kernel = 0.02 * torch.randn(after, before, *(size,) * ndim)
    middle = size // 2
    centre: list[Any] = [slice(None), slice(None), *(middle,) * ndim]
    if before == 1:
        directions = torch.nn.functional.normalize(torch.randn(after, ndim), dim=1)
        for axis in range(ndim):
            ahead = centre.copy()
            ahead[2 + axis] = middle + 1
            kernel[tuple(ahead)] += directions[:, axis, None]
            kernel[tuple(centre)] -= directions[:, axis, None]
    else:
        kernel[tuple(centre)] += torch.nn.functional.normalize(torch.randn(after, before), dim=1)
    return torch.nn.Parameter(kernel)


def _huber_sums(responses: torch.Tensor) -> torch.Tensor:
    """Return sums over the pixels of Huber's function with knee one, shape (batch, filters)."""
    slopes = responses.clamp(-1, 1)
    return (slopes * torch.sub(responses, slopes, alpha=0.5)).flatten(2).sum(2)
