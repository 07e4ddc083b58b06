"""Data terms: how far the projections of an image are from what was measured."""

from __future__ import annotations

import abc
from typing import Any, Self

import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import inner

# Newton's steps for Lambert's W: from their start five reach the last digit of float64.
_LAMBERT_STEPS = 6


class DataTerm(abc.ABC):
    """A convex function h of projections ``u = A x``, a sum over the measured values.

    Parameters
    ----------
    y : torch.Tensor, shape (batch, *range_shape)
        What was measured.
    weights : torch.Tensor, shape (batch, *range_shape) or (1, *range_shape), or None
        What each value counts; zero: nothing, as a dead bin. None: one.
    settings : object
        With the attributes `photons`, `attenuation` and `background`, for those that need them.
    """

    is_quadratic: bool = False
    """Whether it is ``||u - y||_W^2 / 2``, so that linear systems solve for its minimum."""

    def __init__(self, y: torch.Tensor, weights: torch.Tensor | None, settings: Any) -> None:
        self.y, self.weights = y, weights

    def select(self, index: torch.Tensor) -> Self:
        """Return the data term of some images of the batch."""
        chosen = object.__new__(type(self))
        for name, value in vars(self).items():
            batched = isinstance(value, torch.Tensor) and value.ndim and len(value) == len(self.y)
            setattr(chosen, name, value[index] if batched else value)
        return chosen

    @abc.abstractmethod
    def value(self, u: torch.Tensor) -> torch.Tensor:
        """Return the value of each image in float64, shape (batch,)."""

    @abc.abstractmethod
    def gradient(self, u: torch.Tensor) -> torch.Tensor:
        """Return the gradient with respect to the projections."""

    @abc.abstractmethod
    def curvature(self) -> torch.Tensor | None:
        """Return the Lipschitz constant of `gradient` of each image; None: there is none."""

    @abc.abstractmethod
    def conjugate_proximal(self, p: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return the q that minimises ``||q - p||^2 / 2 + step * h*(q)``, h* the conjugate.

        `step` multiplies `p`: it has the shape (batch, *1).
        """

    @abc.abstractmethod
    def conjugate(self, p: torch.Tensor) -> torch.Tensor:
        """Return ``h*(p)`` of each image in float64, infinite where it is."""

    def typical_curvature(self) -> torch.Tensor:
        """Return a mean second derivative at the data, to begin with, shape (batch,)."""
        return self.weighted(torch.ones_like(self.y)).flatten(1).mean(1, dtype=torch.float64)

    def weighted(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of all bins times their weights."""
        return values if self.weights is None else self.weights * values


class LeastSquares(DataTerm):
    """Squared residuals of line integrals, ``||u - y||_W^2 / 2``: Gaussian noise.

    With weights 1 / variance it is minus the logarithm of the likelihood.
    """

    is_quadratic = True

    def value(self, u: torch.Tensor) -> torch.Tensor:
        """Return the value of each image."""
        residual = u - self.y
        return inner(residual, self.weighted(residual)) / 2

    def gradient(self, u: torch.Tensor) -> torch.Tensor:
        """Return ``W (u - y)``."""
        return self.weighted(u - self.y)

    def curvature(self) -> torch.Tensor:
        """Return the largest weight."""
        if self.weights is None:
            return self.y.new_ones(len(self.y), dtype=torch.float64)
        return self.weights.flatten(1).amax(1).double().expand(len(self.y))

    def conjugate_proximal(self, p: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return ``W (p - step y) / (W + step)``."""
        if self.weights is None:
            return (p - step * self.y) / (1 + step)
        return self.weights * (p - step * self.y) / (self.weights + step)

    def conjugate(self, p: torch.Tensor) -> torch.Tensor:
        """Return ``||p||^2_{1/W} / 2 + <p, y>``; dead bins have p = 0."""
        square = p if self.weights is None else torch.where(p == 0, 0, p / self.weights)
        return inner(p, square / 2 + self.y)


class PoissonTransmission(DataTerm):
    """Poisson likelihood of transmitted photons, for measured line integrals y.

    ``sum of w N (exp(-a u) - exp(-a y) + a exp(-a y) (u - y))`` with N photons without an object
    and attenuation a of one unit of the image times one of length: minus the logarithm of the
    likelihood of the counts ``N exp(-a y)``, zero at ``u = y`` [1]_. Near there it is least squares
    weighted by a^2 times the counts.

    References
    ----------
    .. [1] K. Lange, R. Carson, "EM reconstruction algorithms for emission and transmission
       tomography", J. Comput. Assist. Tomogr. 8 (1984)
    """

    def __init__(self, y: torch.Tensor, weights: torch.Tensor | None, settings: Any) -> None:
        super().__init__(y, weights, settings)
        if settings.photons is None:
            raise TomolearnError(
                "photons: expected the number of photons per detector element without an object "
                "for data='poisson-transmission', got none"
            )
        self._a = float(settings.attenuation)
        self._factor = float(settings.photons)
        self._transmitted = torch.exp(-self._a * y)

    def value(self, u: torch.Tensor) -> torch.Tensor:
        """Return the value of each image."""
        # in float64: near the minimum it is a small difference of large numbers
        d = self._a * (u - self.y).double()
        per_bin = self._transmitted.double() * (torch.expm1(-d) + d)
        return self._factor * self.weighted(per_bin).flatten(1).sum(1)

    def gradient(self, u: torch.Tensor) -> torch.Tensor:
        """Return ``w N a (exp(-a y) - exp(-a u))``."""
        d = self._a * (u - self.y)
        return self.weighted(self._transmitted * torch.expm1(-d)).mul(-self._factor * self._a)

    def curvature(self) -> None:
        """There is none: the second derivative grows without bound as u falls."""
        return None

    def typical_curvature(self) -> torch.Tensor:
        """Return the mean of ``w a^2 N exp(-a y)``."""
        mean = self.weighted(self._transmitted).flatten(1).mean(1, dtype=torch.float64)
        return self._factor * self._a**2 * mean

    def conjugate_proximal(self, p: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """By Moreau's identity: the gradient at the proximal point of h."""
        scale = self.weighted(torch.ones_like(self.y)) * (self._factor * self._a) / step
        shifted = p / step - scale * self._transmitted
        # u = shifted + scale exp(-a u), so that a (u - shifted) is Lambert's W of exp(k)
        k = torch.log(scale * self._a) - self._a * shifted
        return self.gradient(shifted + _lambert_of_exp(k) / self._a)

    def conjugate(self, p: torch.Tensor) -> torch.Tensor:
        """Return ``w N (r log(r) - r + (1 + a y) exp(-a y))``, r of exp(-a u) where h' is p."""
        size = self._factor * self.weighted(torch.ones_like(self.y)).double()
        transmitted = self._transmitted.double()
        r = torch.where(size > 0, transmitted - p / (self._a * size), transmitted)
        per_bin = size * (torch.xlogy(r, r.clamp_min(0)) - r + transmitted * (1 + self._a * self.y))
        outside = (r < 0) | ((size == 0) & (p != 0))
        return torch.where(outside, torch.inf, per_bin).flatten(1).sum(1)


class PoissonEmission(DataTerm):
    """Kullback-Leibler divergence of counts y, whose expectation is ``u + background``.

    ``sum of w (u + b - y + y log(y / (u + b)))``, minus the logarithm of the likelihood of emission
    tomography and zero at ``u + b = y`` [1]_; infinite where ``u + b`` is not positive although
    photons were counted.

    References
    ----------
    .. [1] L. A. Shepp, Y. Vardi, "Maximum likelihood reconstruction for emission tomography",
       IEEE Trans. Med. Imaging 1 (1982), doi 10.1109/TMI.1982.4307558
    """

    def __init__(self, y: torch.Tensor, weights: torch.Tensor | None, settings: Any) -> None:
        super().__init__(y, weights, settings)
        if bool((y < 0).any()):
            raise TomolearnError(
                "sinogram: expected counts, not negative, for data='poisson-emission', got "
                f"{float(y.min()):.3g}"
            )
        self._background = float(settings.background)

    def value(self, u: torch.Tensor) -> torch.Tensor:
        """Return the value of each image."""
        mean, y = u.double() + self._background, self.y.double()
        per_bin = mean - y + torch.xlogy(y, y) - torch.xlogy(y, mean.clamp_min(0))
        outside = (mean < 0) | ((mean == 0) & (y > 0))
        per_bin = torch.where(outside, torch.inf, per_bin)
        if self.weights is not None:
            per_bin = torch.where(self.weights == 0, 0, self.weights * per_bin)
        return per_bin.flatten(1).sum(1)

    def gradient(self, u: torch.Tensor) -> torch.Tensor:
        """Return ``w (1 - y / (u + b))``."""
        quotient = torch.where(self.y == 0, 0, self.y / (u + self._background))
        gradient = 1 - quotient
        if self.weights is not None:
            gradient = torch.where(self.weights == 0, 0, self.weights * gradient)
        return gradient

    def curvature(self) -> None:
        """There is none: the second derivative grows without bound as u + b tends to zero."""
        return None

    def typical_curvature(self) -> torch.Tensor:
        """Return the mean of ``w / y`` over the bins with counts."""
        counted = self.weighted(torch.where(self.y > 0, 1 / self.y, 0))
        return counted.flatten(1).mean(1, dtype=torch.float64).clamp_min(1e-30)

    def conjugate_proximal(self, p: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return the smaller root of a quadratic equation."""
        w = self.weighted(torch.ones_like(self.y))
        moved = p + step * self._background
        root = torch.sqrt((moved - w).square() + 4 * step * w * self.y)
        # below the weight by so much, in each case without cancellation
        tiny = torch.finfo(p.dtype).tiny
        beyond = 2 * step * w * self.y / (moved - w + root).clamp_min(tiny)
        below = torch.where(moved > w, beyond, (w - moved + root) / 2)
        return torch.where(w == 0, 0, w - below)

    def conjugate(self, p: torch.Tensor) -> torch.Tensor:
        """Return its value, infinite where p is above the weight."""
        w = self.weighted(torch.ones_like(self.y)).double()
        y, p = self.y.double(), p.double()
        inside = (w - p).clamp_min(0)
        per_bin = torch.xlogy(w * y, w) - torch.xlogy(w * y, inside) - self._background * p
        outside = (p > w) | ((p == w) & (w * y > 0)) | ((w == 0) & (p != 0))
        return torch.where(outside, torch.inf, per_bin).flatten(1).sum(1)


def _lambert_of_exp(k: torch.Tensor) -> torch.Tensor:
    """Return Lambert's W of exp(k): the w with ``w + log(w) = k``, without overflow."""
    w = torch.where(k > 1, k - torch.log(k.clamp_min(1)), torch.exp(k.clamp_max(1)))
    w = torch.where(k > 1, w, w / (1 + w))
    for _ in range(_LAMBERT_STEPS):
        w = torch.where(w > 0, w * (1 + k - torch.log(w)) / (1 + w), w)
    return w
