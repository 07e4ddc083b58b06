"""The iterations of plug-and-play methods."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache

import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError, UnknownConvergenceWarning
from tomolearn._core.telling import warn_user
from tomolearn._core.tensors import inner
from tomolearn.methods.checks import positive_norm
from tomolearn.methods.iteration import per_image, quotient
from tomolearn.methods.state import Merit
from tomolearn.methods.stopping import Iterate
from tomolearn.operators import LinearOperator
from tomolearn.priors import Denoiser, ProximalDenoiser, load
from tomolearn.priors.gradient_step import GradientStepDenoiser

# The share of `||new - old||^2 / step` by which an objective has to fall, and the factor of a step
# that does not suffice, which is given up below the smallest one.
_DECREASE, _SHORTER, _SHORTEST = 0.1, 0.5, 2.0**-30
# In units of rounding of the objective: what it may seem to rise by.
_ROUNDING = 10


@lru_cache(maxsize=4)
def load_denoiser(name: str) -> Denoiser:
    """Return the denoiser of a file."""
    found = load(name)
    if not isinstance(found, Denoiser):
        raise TomolearnTypeError(
            f"prior: expected weights of a denoiser, {name} has those of a {type(found).__name__}"
        )
    return found


def warn_if_unproved(denoiser: Denoiser, algorithm: str, operator: LinearOperator) -> None:
    """Warn if nothing is known of the convergence of an algorithm with a denoiser."""
    if algorithm == "gradient-step":
        return
    if isinstance(denoiser, ProximalDenoiser):
        convexity = denoiser.regulariser.convexity
        if convexity is not None and convexity >= 0:
            return
    bound = denoiser.lipschitz(operator.domain_shape[-denoiser.ndim :])
    if algorithm != "admm" and bound is not None and bound < 1:
        return
    what = "no certified Lipschitz constant" if bound is None else f"Lipschitz constant {bound:.3g}"
    warn_user(
        f"pnp: nothing is known of the convergence of {algorithm} with {type(denoiser).__name__} "
        f"({what}); it is known of gradient-step denoisers with the algorithm gradient-step",
        UnknownConvergenceWarning,
    )


class ScaledDenoiser:
    """A denoiser for images in another unit, ``D(scale * image, scale * sigma) / scale``.

    The potential of a gradient-step denoiser is divided by the square of `scale`, then D is ``x -
    grad g(x)`` still. It is a copy unless it has the precision and the device of `like` already.
    """

    def __init__(self, denoiser: Denoiser, scale: float, like: torch.Tensor) -> None:
        numbers = [*denoiser.parameters(), *denoiser.buffers()]
        places = {(one.dtype, one.device) for one in numbers}
        if not places <= {(like.dtype, like.device)} or denoiser.training:
            denoiser = copy.deepcopy(denoiser).to(like.device, like.dtype).eval()
        self.denoiser, self.scale = denoiser, scale

    def check(self, name: str, *levels: float) -> None:
        """Raise a ValueError if a noise level, in the images' unit, is none of the training's."""
        self.denoiser.check_noise_level(name, *(self.scale * level for level in levels))

    def __call__(self, image: torch.Tensor, sigma: float) -> torch.Tensor:
        """Denoise images (batch, ...)."""
        found: torch.Tensor = self.denoiser(image * self.scale, sigma * self.scale)
        return found / self.scale

    def potential(self, image: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the potential (batch,) in float64, and its gradient."""
        denoiser = self.denoiser
        if not isinstance(denoiser, GradientStepDenoiser):  # the method has seen to it
            raise TypeError(f"{type(denoiser).__name__} has no potential")
        regulariser = denoiser.regulariser(sigma * self.scale)
        value, gradient = regulariser.value_and_gradient(image * self.scale)
        value = value.reshape(len(image), -1).sum(1, dtype=torch.float64)
        return value / self.scale**2, gradient / self.scale


class Problem:
    """Data, denoiser and weight; each method yields the iterates of one algorithm."""

    def __init__(
        self,
        y: torch.Tensor,
        operator: LinearOperator,
        denoiser: ScaledDenoiser,
        sigma: float,
        weight: float,
        inner_iterations: int,
        inner_tolerance: float,
        weights: torch.Tensor | None = None,
    ) -> None:
        denoiser.check("sigma", sigma)
        self.y, self.operator, self.denoise = y, operator, denoiser
        self.sigma, self.weight = sigma, weight
        # of each image, or none
        self._of_bins = weights if weights is None else weights.expand_as(y)
        self._iterations, self._tolerance = inner_iterations, inner_tolerance

    def proximal_gradient(self, image: torch.Tensor) -> Iterator[Iterate]:
        """Denoise after each step down the gradient of the misfit."""
        largest = 1.0 if self._of_bins is None else float(self._of_bins.max())
        least = largest * positive_norm(self.operator) ** 2 / 2
        if self.weight <= least:
            raise TomolearnError(
                f"weight: expected one above norm(A)^2 / 2 = {least:.4g} with pgd, whose step is "
                f"its inverse, got {self.weight:g}; admm and hqs take any"
            )
        residual = self._residual(image)
        while True:
            step = self.operator.adjoint(self._weighted(residual)).div_(self.weight)
            image = self.denoise(image + step, self.sigma)
            residual = self._residual(image)
            yield Iterate(image, lambda r=residual: r)  # type: ignore[misc]

    def alternating_directions(self, image: torch.Tensor) -> Iterator[Iterate]:
        """Alternate the proximal map of the misfit with the denoiser, with a dual variable."""
        weights = self._weights(self.weight)
        x, residual, dual = image, self._residual(image), torch.zeros_like(image)
        while True:
            x, residual = self._data_proximal(x, residual, image - dual, weights)
            image = self.denoise(x + dual, self.sigma)
            dual = dual + x - image
            yield Iterate(image, lambda z=image: self._residual(z))  # type: ignore[misc]

    def half_quadratic(
        self, image: torch.Tensor, iterations: int, sigma_start: float | None
    ) -> Iterator[Iterate]:
        """Alternate the proximal map of the misfit with the denoiser, at falling noise levels."""
        if sigma_start is None:
            levels = self.denoise.denoiser.noise_levels
            if levels is None:
                raise TomolearnError(
                    "sigma_start: expected a first noise level for hqs with a denoiser that does "
                    "not say what it was trained for, got none"
                )
            sigma_start = levels[1] / self.denoise.scale
        if sigma_start < self.sigma:
            raise TomolearnError(
                f"sigma_start: expected at least sigma, {self.sigma:g}, got {sigma_start:g}"
            )
        self.denoise.check("sigma_start", sigma_start)
        ratio = (self.sigma / sigma_start) ** (1 / max(iterations - 1, 1))
        x, residual = image, self._residual(image)
        sigma = sigma_start
        for k in range(iterations):
            sigma = sigma_start * ratio**k if k < iterations - 1 else self.sigma
            weights = self._weights(self.weight * (self.sigma / sigma) ** 2)
            x, residual = self._data_proximal(x, residual, image, weights)
            image = self.denoise(x, sigma)
            yield Iterate(image, lambda z=image: self._residual(z))  # type: ignore[misc]

    def gradient_step(self, image: torch.Tensor) -> Iterator[Iterate]:
        """Descend by the proximal map of the misfit and steps down the gradient of the potential.

        A proximal map of the misfit that conjugate gradients begin at the image itself has the
        objective fall even where they end early.
        """
        x, residual = image, self._residual(image)
        potential, slope = self.denoise.potential(x, self.sigma)
        value = self._objective(residual, potential)
        size = inner(self._weighted(self.y), self.y) / 2 + value
        merit = Merit("objective", lambda: value, value, lambda: size)
        step = self._weights(1 / self.weight)
        while True:
            x, residual, value, slope, step = (
                one.clone() for one in (x, residual, value, slope, step)
            )
            left = torch.arange(len(x), device=x.device)
            settled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
            while len(left):
                old, t = x[left], step[left]
                target = old - per_image(self.weight * t, x) * slope[left]
                new, new_residual = self._data_proximal(old, residual[left], target, 1 / t, left)
                potential, new_slope = self.denoise.potential(new, self.sigma)
                new_value = self._objective(new_residual, potential, left)
                moved = inner(new - old, new - old)
                falls = new_value <= value[left] - _DECREASE * moved / t
                taken = left[falls]
                x[taken], residual[taken] = new[falls], new_residual[falls]
                value[taken], slope[taken] = new_value[falls], new_slope[falls]
                # nothing but rounding is left to fall by
                rounding = _ROUNDING * torch.finfo(x.dtype).eps * size[left]
                ends = ~falls & ((new_value <= value[left] + rounding) & (moved / t <= rounding))
                ends |= ~falls & (t * self.weight < _SHORTEST)
                settled[left[ends]] = True
                left = left[~falls & ~ends]
                step[left] *= _SHORTER
            yield Iterate(
                x,
                lambda r=residual: r,  # type: ignore[misc]
                lambda v=value: (v, None),  # type: ignore[misc]
                merit._replace(now=lambda v=value: v),  # type: ignore[misc]
                settled,
            )

    def _objective(
        self, residual: torch.Tensor, potential: torch.Tensor, chosen: torch.Tensor | None = None
    ) -> torch.Tensor:
        return inner(self._weighted(residual, chosen), residual) / 2 + self.weight * potential

    def _weighted(self, values: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        """Return values of the bins, of all or of the chosen images, times their weights."""
        if self._of_bins is None:
            return values
        return values * (self._of_bins if chosen is None else self._of_bins[chosen])

    def _residual(self, image: torch.Tensor) -> torch.Tensor:
        """Return ``y - A x``."""
        return self.y - self.operator(image)

    def _weights(self, number: float) -> torch.Tensor:
        return torch.full((len(self.y),), number, dtype=torch.float64, device=self.y.device)

    def _data_proximal(
        self,
        x: torch.Tensor,
        residual: torch.Tensor,
        z: torch.Tensor,
        weights: torch.Tensor,
        chosen: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the minimiser of ``||A x - y||_W^2 / 2 + weight * ||x - z||^2 / 2``.

        It is computed by conjugate gradients from an image x on, whose residual ``y - A x`` is
        known; its own one is returned, too. Each image has its weight, (batch,), and they are the
        chosen ones of the batch, or all.
        """
        # all is divided by the weight: squares of numbers in the image's unit stay in range
        inverse = 1 / weights

        def slope() -> torch.Tensor:
            descent: torch.Tensor = self.operator.adjoint(self._weighted(residual, chosen))
            return per_image(inverse, x) * descent + (z - x)

        gradient = slope()
        direction = gradient
        square = first = inner(gradient, gradient)
        for _ in range(self._iterations):
            going = square > self._tolerance**2 * first
            if not bool(going.any()):
                break
            projected = self.operator(direction)
            curvature = inner(self._weighted(projected, chosen), projected)
            curvature = inverse * curvature + inner(direction, direction)
            # images that are done stay as they are
            step = torch.where(going, quotient(square, curvature), 0)
            x = x + per_image(step, x) * direction
            residual = residual - per_image(step, residual) * projected
            gradient = slope()
            old, square = square, inner(gradient, gradient)
            direction = gradient + per_image(quotient(square, old), x) * direction
        return x, residual
