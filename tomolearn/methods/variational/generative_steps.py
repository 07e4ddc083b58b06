"""Alternating minimisation over images and what a decoder makes them of."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import inner
from tomolearn.methods.iteration import per_image
from tomolearn.methods.state import Merit
from tomolearn.methods.stopping import Iterate
from tomolearn.numerics.conjugate_gradients import conjugate_gradients
from tomolearn.operators import LinearOperator
from tomolearn.priors import StructuredGaussian, VariationalAutoencoder

if TYPE_CHECKING:
    from tomolearn.methods.variational.generative import Generative

# Gradient steps are to reach this part of what the slope promises; they become longer by a factor
# after each that did, shorter while they do not, at most so often.
_ENOUGH, _LENGTHEN, _SHORTEN, _MOST_SHORTENINGS = 1e-4, 1.5, 0.3, 20
# Conjugate gradients of an image for the encoder, which does not know sinograms.
_FIRST = 20
# Standard deviations of a latent pixel beyond which it is none of an image.
_FARTHEST = 8.0
# `LinearOperator.norm` finds norms from below.
_ABOVE = 1.01


class Splitting(abc.ABC):
    """The problem in the unit of the prior, with images (batch, 1, rows, columns)."""

    def __init__(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        prior: VariationalAutoencoder,
        method: Generative,
        weights: torch.Tensor | None,
    ) -> None:
        self.scale = method.image_scale
        self.y = self.scale * sinogram
        self.operator, self.prior, self.weights, self.method = operator, prior, weights, method
        self.weight = method.weight
        self.shape = operator.domain_shape

    def iterates(self, image: torch.Tensor) -> Iterator[Iterate]:
        """Yield the iterates."""
        start = self.scale * image[:, None]
        z = self._encoded(start)
        v = self.begin(start)
        first = self.objective(v, z)
        # what is subtracted: the misfit of no image, and the logarithm of the determinant
        size = self.half_square(self.y) + first.abs()
        step = torch.ones_like(first)
        while True:
            v = self.image_step(v, z)
            z = self._jumped(v, z)
            z, step = self._descended(v, z, step)
            yield self._iterate(v, z, first, size)

    def _encoded(self, image: torch.Tensor) -> torch.Tensor:
        """Return the encoder's z of an image, which may be one that it has never seen the like of.

        Decoders are for numbers of a standard normal distribution; far from it their covariances
        are those of nothing.
        """
        return self.prior.encode(image)[0].clamp(-_FARTHEST, _FARTHEST)

    def _iterate(
        self, v: torch.Tensor, z: torch.Tensor, first: torch.Tensor, size: torch.Tensor
    ) -> Iterate:
        x, value = self.image(v, z), self.objective(v, z)
        return Iterate(
            (x / self.scale)[:, 0],
            lambda: self.residual(x) / self.scale,
            lambda: (value / self.scale**2, None),
            Merit("objective", lambda: value, first, lambda: size),
        )

    def _jumped(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the encoder's z where it is better."""
        tried, along = self.candidate(v, z), self.along(v)
        return torch.where(per_image(along(tried) < along(z), z).bool(), tried, z)

    def _descended(
        self, v: torch.Tensor, z: torch.Tensor, step: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return z after preconditioned gradient steps, and their last lengths."""
        variance = (2 * self.prior.encode(self.image(v, z))[1]).exp()
        along = self.along(v)
        for _ in range(self.method.latent_steps):
            with torch.inference_mode(False), torch.enable_grad():
                point = z.detach().clone().requires_grad_()
                value = along(point)
                (slope,) = torch.autograd.grad(value.sum(), point)
            value, d = value.detach(), -variance * slope
            promised = inner(slope.flatten(1), d.flatten(1))
            searching, new = promised < 0, z
            for _ in range(_MOST_SHORTENINGS):
                if not bool(searching.any()):
                    break
                tried = torch.addcmul(z, per_image(step, z), d)
                enough = searching & (along(tried) <= value + _ENOUGH * step * promised)
                new = torch.where(per_image(enough, z).bool(), tried, new)
                searching &= ~enough
                step = torch.where(searching, _SHORTEN * step, step)
            step = torch.where(searching, step, _LENGTHEN * step)
            z = new
        return z, step

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``A x - y``."""
        return self.operator(x[:, 0]) - self.y

    def weighted(self, values: torch.Tensor) -> torch.Tensor:
        """Return values times the weights of the measured values."""
        return values if self.weights is None else self.weights * values

    def half_square(self, residual: torch.Tensor) -> torch.Tensor:
        """Return ``||r||_W^2 / 2`` of each sinogram, in float64 and differentiable."""
        square = residual.square() if self.weights is None else self.weights * residual.square()
        return square.flatten(1).sum(1, dtype=torch.float64) / 2

    def decoded(self, z: torch.Tensor) -> StructuredGaussian:
        """Return the decoder's distribution of images."""
        return self.prior.decode(z, self.shape)

    def fitted(self, x: torch.Tensor, given: StructuredGaussian, iterations: int) -> torch.Tensor:
        """Return the image that is most probable with a distribution, begun at x."""

        def apply(p: torch.Tensor) -> torch.Tensor:
            fit = self.operator.adjoint(self.weighted(self.operator(p[:, 0])))[:, None]
            return fit.add_(given.precision(p), alpha=self.weight)

        # for the difference to x, whose right side is the gradient there
        slope = self.operator.adjoint(self.weighted(self.residual(x)))[:, None]
        slope = slope.add_(given.precision(x - given.mean), alpha=self.weight)
        found = conjugate_gradients(
            apply, -slope, tolerance=self.method.inner_tolerance, max_iterations=iterations
        )
        return x + found.state

    @abc.abstractmethod
    def objective(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the objective of each image, (batch,) in float64."""

    @abc.abstractmethod
    def along(self, v: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what is made smaller by z, differentiable, up to a factor and constants."""

    @abc.abstractmethod
    def begin(self, start: torch.Tensor) -> torch.Tensor:
        """Return the first v, which is the image or its deviation from the decoder's."""

    @abc.abstractmethod
    def image(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the image."""

    @abc.abstractmethod
    def image_step(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return a better v for the same z."""

    @abc.abstractmethod
    def candidate(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the encoder's z."""


class Relaxed(Splitting):
    """Deviations with the decoder's covariance; v is the image."""

    def objective(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the objective of each image."""
        return self.half_square(self.residual(v)) + self.weight * self.along(v)(z)

    def along(self, v: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the prior's energy by z."""
        return lambda z: self.prior.joint_energy(v, z).double()

    def begin(self, start: torch.Tensor) -> torch.Tensor:
        """Return the start."""
        return start

    def image(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the image."""
        return v

    def image_step(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the most probable image, as far as conjugate gradients have come."""
        return self.fitted(v, self.decoded(z), self.method.inner_iterations)

    def candidate(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return that of the image."""
        return self._encoded(v)


class Hard(Splitting):
    """No deviations, so that images are what the decoder makes; v is zero."""

    def objective(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the objective of each image."""
        return self.weight * self.along(v)(z)

    def along(self, v: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return misfit and prior by z, in units of the weight."""

        def value(z: torch.Tensor) -> torch.Tensor:
            misfit = self.half_square(self.residual(self.image(v, z)))
            return misfit / self.weight + z.square().flatten(1).sum(1, dtype=torch.float64) / 2

        return value

    def begin(self, start: torch.Tensor) -> torch.Tensor:
        """Return zeros."""
        return torch.zeros_like(start)

    def image(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the decoder's image and its deviation."""
        return self.decoded(z).mean + v

    def image_step(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return zeros."""
        return v

    def candidate(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return that of a relaxed image, which fits the data better."""
        return self._encoded(self.fitted(self.image(v, z), self.decoded(z), _FIRST))


class Sparse(Hard):
    """Few deviations; v is the deviation."""

    def objective(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the objective of each image."""
        size = v.abs().flatten(1).sum(1, dtype=torch.float64)
        return super().objective(v, z) + self.weight * self._sparsity * size

    def image_step(self, v: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return the deviation after steps of accelerated shrinkage, the best one met."""
        mean = self.decoded(z).mean
        largest = 1.0 if self.weights is None else self.weights.flatten(1).amax(1)
        bound = torch.as_tensor(largest * self.operator.norm() ** 2 * _ABOVE)
        length = per_image((1 / bound).expand(len(v)), v)
        threshold = length * self.weight * self._sparsity
        best, value = v, self.objective(v, z)
        u, t = v, 1.0
        for _ in range(self.method.inner_iterations):
            residual = self.weighted(self.residual(mean + u))
            step = u - length * self.operator.adjoint(residual)[:, None]
            new = step.sign() * (step.abs() - threshold).clamp_min(0)
            t_next = (1 + math.sqrt(1 + 4 * t**2)) / 2
            u, t, v = new + (t - 1) / t_next * (new - v), t_next, new
        better = self.objective(v, z) <= value
        return torch.where(per_image(better, v).bool(), v, best)

    @property
    def _sparsity(self) -> float:
        found = self.method.sparsity
        if found is None:
            raise TomolearnError("sparsity: expected a positive number with sparse, got none")
        return found


SPLITTINGS: Mapping[str, type[Splitting]] = MappingProxyType(
    {"relaxed": Relaxed, "hard": Hard, "sparse": Sparse}
)
"""How images may differ from the decoder's, by name."""
