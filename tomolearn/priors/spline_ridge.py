"""Convex ridge regulariser whose potentials are integrals of linear splines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn.functional import conv2d, conv_transpose2d

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.priors.prior import Regulariser

_FREQUENCIES = 16  # per tap and axis, at which spectra are looked at


class SplineRidge(Regulariser):
    """Convex ridge regulariser with learned splines, as its authors publish it [1]_.

    ``R(x)`` is the sum over filters and pixels of ``psi_i((f_i * x)_p)``, where the derivative of
    each potential ``psi_i`` is a linear spline that does not fall, is zero at zero and constant
    beyond its knots. Filters are compositions of convolutions, each without mean and with zeros
    beyond the border. `ConvexRidge` is the same with Huber's function for the potentials.

    Parameters
    ----------
    channels : sequence of int
        Channels after each convolution; the last is the number of filters.
    kernel_size : int
        Odd number of taps of each convolution along an axis.
    knots : int
        Odd number of knots of each spline, from ``-span`` to ``span``.
    span : float
        Largest knot, in units of the image.

    References
    ----------
    .. [1] A. Goujon et al., "A neural-network-based convex regularizer for inverse problems", IEEE
       Trans. Comput. Imaging 9 (2023), arXiv:2211.12461
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (8, 32),
        kernel_size: int = 7,
        knots: int = 21,
        span: float = 0.1,
    ) -> None:
        widths = [check_int("channels", n, minimum=1) for n in channels]
        if not widths:
            raise TomolearnError("channels: expected at least one number, got none")
        size, count = (
            check_int(name, value, minimum=3)
            for name, value in (("kernel_size", kernel_size), ("knots", knots))
        )
        for name, value in (("kernel_size", size), ("knots", count)):
            if value % 2 == 0:
                raise TomolearnError(f"{name}: expected an odd number, got {value}")
        span = check_float("span", span, positive=True)
        super().__init__({"channels": widths, "kernel_size": size, "knots": count, "span": span})
        self.span, self.step = span, 2 * span / (count - 1)
        self.padding = size // 2
        self.kernels = torch.nn.ParameterList(
            torch.randn(after, before, size, size) / (size * math.sqrt(after))
            for before, after in zip([1, *widths], widths, strict=False)
        )
        inner = torch.linspace(-span, span, count).clamp(-span + self.step, span - self.step)
        self.coefficients = torch.nn.Parameter(inner.repeat(widths[-1], 1))

    @property
    def convexity(self) -> float | None:
        """Zero: it is convex."""
        return 0.0

    def lipschitz(self, shape: Sequence[int]) -> float:
        """Return the steepest slope times the squared norms of all convolutions, at most."""
        with torch.no_grad():
            bound = float(self._slopes().max())
            for kernel in self._convolutions():
                size = kernel.shape[-1]
                n = _FREQUENCIES * size
                spectrum = torch.fft.fft2(kernel.double(), s=(n, n)).permute(2, 3, 0, 1)
                # a trigonometric polynomial rises by no more between the frequencies
                between = math.cos(math.pi * (size - 1) / n) ** 2
                bound *= float(torch.linalg.matrix_norm(spectrum, 2).max()) ** 2 / between
        return bound

    def splines(self) -> torch.Tensor:
        """Return the splines at their knots, shape (filters, knots), as they are used."""
        rises = self._slopes() * self.step
        values = torch.nn.functional.pad(rises.cumsum(1), (1, 0))
        return values - values[:, values.shape[1] // 2, None]

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        responses = self._responses(image)
        splines = self.splines()
        # the integral at the knots is that of trapezoids, and zero at zero
        areas = torch.nn.functional.pad((splines[:, 1:] + splines[:, :-1]) * self.step / 2, (1, 0))
        integrals = areas.cumsum(1)
        integrals = integrals - integrals[:, integrals.shape[1] // 2, None]
        left, part, beyond = self._located(responses)
        low, high = _picked(splines, left), _picked(splines, left + 1)
        inside = _picked(integrals, left) + self.step * part * (low + part * (high - low) / 2)
        values = inside + beyond * torch.where(beyond > 0, high, low)
        return values.flatten(1).sum(1).reshape(image.shape[:-2])

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient at each image."""
        splines = self.splines()
        left, part, _ = self._located(self._responses(image))
        low, high = _picked(splines, left), _picked(splines, left + 1)
        found = low + part * (high - low)
        for kernel in reversed(self._convolutions()):
            found = conv_transpose2d(found, kernel, padding=self.padding)
        return found.reshape(image.shape)

    def _slopes(self) -> torch.Tensor:
        """Return the slopes between knots: not negative, the outermost zero."""
        slopes = (self.coefficients.diff(dim=1) / self.step).clamp(min=0)
        inner = torch.ones_like(slopes)
        inner[:, [0, -1]] = 0
        return slopes * inner

    def _convolutions(self) -> list[torch.Tensor]:
        return [kernel - kernel.mean((1, 2, 3), keepdim=True) for kernel in self.kernels]

    def _responses(self, image: torch.Tensor) -> torch.Tensor:
        self._checked(image)
        found = image.reshape(-1, 1, *image.shape[-2:])
        for kernel in self._convolutions():
            found = conv2d(found, kernel, padding=self.padding)
        return found

    def _located(self, responses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the knot to the left, the part of the way to the next, and what lies beyond."""
        within = responses.clamp(-self.span, self.span)
        place = (within + self.span) / self.step
        left = place.detach().floor().long().clamp(0, self.coefficients.shape[1] - 2)
        return left, place - left, responses - within


def _picked(table: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """Return entries of a table (filters, knots) for responses (batch, filters, ...)."""
    columns = left.transpose(0, 1).flatten(1)
    picked = table.gather(1, columns)
    return picked.reshape(left.transpose(0, 1).shape).transpose(0, 1)
