"""Worst-case perturbations of sinograms, beside random ones of the same size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.evaluation.stability import reconstructed, stability
from tomolearn.methods.checks import check_linear_operator, check_sinogram
from tomolearn.operators import LinearOperator


@dataclass(frozen=True, eq=False)
class Perturbation:
    """The worst perturbation of some data that was found, and random ones.

    Parameters
    ----------
    direction : torch.Tensor, shape of the sinogram
        What was added to it, of norm `radius`.
    image : torch.Tensor, shape of the image
        Reconstruction of the perturbed data.
    random_images : torch.Tensor, shape (draws, *shape of the image)
        Reconstructions after random perturbations of the same norm.
    radius : float
        Euclidean norm of the perturbations.
    factor : float
        Change of the image by the worst perturbation as a multiple of the mean change by random
        ones, in Euclidean norms: a lower bound, since another direction may be worse.
    followed : bool
        Whether gradients of the method were followed; otherwise projections of the image's error.
    """

    direction: torch.Tensor
    image: torch.Tensor
    random_images: torch.Tensor
    radius: float
    factor: float
    followed: bool


def worst_perturbation(
    method: Callable[[torch.Tensor, LinearOperator], torch.Tensor],
    sinogram: torch.Tensor,
    operator: LinearOperator,
    truth: torch.Tensor,
    *,
    radius: float,
    steps: int = 10,
    draws: int = 3,
    seed: int = 0,
) -> Perturbation:
    """Search the perturbation in a ball that spoils the image most, by projected gradient ascent.

    As in [1]_, the error ``||f(y + d) - x||`` ascends over ``||d|| <= radius``, from a random d on,
    by normalised steps of half the radius. Where torch cannot differentiate the method, they begin
    at the direction that `stability` finds and go along the projection ``A (f(y + d) - x)`` of the
    error instead, which is the gradient's direction for a method like the back-projection. The best
    of all d that were tried is returned.

    Parameters
    ----------
    method : callable
        ``f(sinogram, operator) -> image``: a method, a network, a function.
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        The data of one image, with leading dimensions of size one.
    operator : LinearOperator
        The scanner.
    truth : torch.Tensor, shape (..., *operator.domain_shape)
        The true image.
    radius : float
        Of the ball: a fraction of the noise's norm, for example.
    steps, draws : int
        Number of steps, and of random perturbations.
    seed : int
        Of the random perturbations.

    Raises
    ------
    TypeError, ValueError
        If an argument will not do, or there is more than one sinogram.

    References
    ----------
    .. [1] V. Antun, F. Renna, C. Poon, B. Adcock, A. C. Hansen, "On instabilities of deep learning
       in image reconstruction and the potential costs of AI", PNAS 117 (2020), arXiv:1902.05300
    """
    check_linear_operator("operator", operator)
    y = check_sinogram(sinogram, operator).detach()
    if y.shape[: y.ndim - len(operator.range_shape)].numel() != 1:
        raise TomolearnError(f"sinogram: expected one, got {tuple(y.shape)}")
    if truth.numel() != torch.Size(operator.domain_shape).numel():
        raise TomolearnError(
            f"truth: expected an image of shape {operator.domain_shape}, got {tuple(truth.shape)}"
        )
    check_float("radius", radius, positive=True)
    if not bool(y.any()):
        raise TomolearnError("sinogram: expected one that is not zero")
    check_int("steps", steps, minimum=1)
    check_int("draws", draws, minimum=1)
    generator = torch.Generator().manual_seed(check_int("seed", seed, minimum=0))
    search = _Search(method, operator, y, truth.to(y.device), radius)
    plain = search.image(torch.zeros_like(y))
    randoms = [
        search.on_sphere(torch.randn(y.shape, generator=generator).to(y)) for _ in range(draws)
    ]
    images = [search.image(one) for one in randoms]
    best, image = max(zip(randoms, images, strict=True), key=lambda one: search.error(one[1]))
    direction = best
    if not search.follows():
        found = stability(
            method, y, operator, size=radius / float(y.norm()), rounds=2, seed=seed
        ).direction.to(y)
        ends = [search.on_sphere(sign * found.reshape(y.shape)) for sign in (1, -1)]
        direction = max(ends, key=lambda one: search.error(search.image(one)))
        found = search.image(direction)
        if search.error(found) > search.error(image):
            best, image = direction, found
    for _ in range(steps):
        direction = search.step(direction)
        found = search.image(direction)
        if search.error(found) > search.error(image):
            best, image = direction, found
    usual = sum(float((one - plain).norm()) for one in images) / draws
    change = float((image - plain).norm())
    factor = change / usual if usual > 0 else float("inf") if change > 0 else 1.0
    return Perturbation(best, image, torch.stack(images), radius, factor, search.followed)


class _Search:
    """Steps on the sphere of perturbations."""

    def __init__(
        self,
        method: Any,
        operator: LinearOperator,
        y: torch.Tensor,
        truth: torch.Tensor,
        radius: float,
    ) -> None:
        self._method, self._operator, self._y, self._radius = method, operator, y, radius
        self._truth = truth.reshape(operator.domain_shape)
        self.followed = True

    def follows(self) -> bool:
        """Tell whether torch can differentiate the method."""
        self._ascent(torch.zeros_like(self._y))
        return self.followed

    def image(self, direction: torch.Tensor) -> torch.Tensor:
        found = reconstructed(self._method, self._y + direction, self._operator)
        return found.detach().reshape(self._operator.domain_shape)

    def error(self, image: torch.Tensor) -> float:
        return float((image - self._truth).norm())

    def on_sphere(self, direction: torch.Tensor) -> torch.Tensor:
        return direction * (self._radius / direction.norm().clamp(min=1e-30))

    def step(self, direction: torch.Tensor) -> torch.Tensor:
        ascent = self._ascent(direction)
        size = float(ascent.norm())
        if size == 0:
            return direction
        return self.on_sphere(direction + ascent * (self._radius / 2 / size))

    def _ascent(self, direction: torch.Tensor) -> torch.Tensor:
        if self.followed:
            with torch.inference_mode(False), torch.enable_grad():
                data = (self._y + direction).clone().requires_grad_()
                found = reconstructed(self._method, data, self._operator)
                self.followed = found.requires_grad
                if self.followed:
                    error = (found.reshape(self._operator.domain_shape) - self._truth).square()
                    (gradient,) = torch.autograd.grad(error.sum(), data)
                    return gradient
        error = (self.image(direction) - self._truth).to(self._y)
        return self._operator(error).reshape(self._y.shape)
