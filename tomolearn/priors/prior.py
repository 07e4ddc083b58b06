"""Priors: what is known of images without a scanner, as a regulariser or as a denoiser."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch

from tomolearn._core.checks import check_floats
from tomolearn._core.errors import TomolearnError
from tomolearn._core.modules import Configured
from tomolearn._core.tensors import check_real_tensor

PerImage = float | torch.Tensor
"""One number for all images, or a tensor (...) with one for each."""

_ROUNDING = 1e-6


def check_noise_levels(values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest of the noise levels of a training.

    Raises
    ------
    TypeError, ValueError
        If they are not two numbers in this order, the first not negative, the second positive.
    """
    low, high = check_floats("noise_levels", values, length=2)
    if not 0 <= low <= high or high == 0:
        raise TomolearnError(
            f"noise_levels: expected the smallest and the largest, got {low} and {high}"
        )
    return low, high


class Prior(Configured):
    """Base of regularisers and denoisers."""

    ndim: int = 2
    """Number of spatial axes, the last ones of an image."""

    def _checked(self, image: torch.Tensor) -> torch.Tensor:
        """Return the image if it is one in float32 or float64, with enough axes."""
        check_real_tensor("image", image)
        if image.dtype not in (torch.float32, torch.float64):
            raise TomolearnError(f"image: expected float32 or float64, got {image.dtype}")
        if image.ndim < self.ndim:
            raise TomolearnError(
                f"image: expected {self.ndim} spatial axes, got shape {tuple(image.shape)}"
            )
        return image

    def _per_image(self, name: str, value: PerImage, image: torch.Tensor) -> torch.Tensor:
        """Return numbers, not negative, in a shape that multiplies the images."""
        leading = image.shape[: image.ndim - self.ndim]
        numbers = torch.as_tensor(value, dtype=image.dtype, device=image.device)
        if not bool((numbers >= 0).all()):
            raise TomolearnError(f"{name}: expected non-negative numbers, got {value}")
        try:
            numbers = numbers.expand(leading)
        except RuntimeError as error:
            raise TomolearnError(
                f"{name}: expected one number, or one for each image {tuple(leading)}, got shape "
                f"{tuple(numbers.shape)}"
            ) from error
        return numbers.reshape(*leading, *(1,) * self.ndim)


class Regulariser(Prior, abc.ABC):
    """A function of images that is small where they are plausible.

    It has a value, and a gradient or a proximal map or both. Images are tensors
    (..., *spatial axes), values tensors (...). What a subclass certifies is proven for the weights
    that it has at that moment; None says that nothing is.

    Parameters
    ----------
    arguments : mapping
        The constructor's arguments by name.
    """

    @property
    def convexity(self) -> float | None:
        """A certified m for which value(x) - m ||x||^2 / 2 is convex: 0 for a convex function."""
        return None

    def lipschitz(self, shape: Sequence[int]) -> float | None:
        """Return a certified Lipschitz constant of the gradient, for images of this shape."""
        return None

    def settle(self) -> None:
        """Compute once what follows from the weights, which must not change any more."""

    @property
    def has_gradient(self) -> bool:
        """Whether `gradient` can be called."""
        return type(self).gradient is not Regulariser.gradient

    @property
    def has_proximal(self) -> bool:
        """Whether `proximal` can be called."""
        return type(self).proximal is not Regulariser.proximal

    @abc.abstractmethod
    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image."""

    def value_and_gradient(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both; a subclass in which they share work computes them together."""
        return self.value(image), self.gradient(image)

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient at each image.

        Raises
        ------
        ValueError
            If there is none.
        """
        raise TomolearnError(
            f"{type(self).__name__}: expected a differentiable regulariser, this one has no "
            "gradient but a proximal map"
        )

    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return the x that minimises ``||x - image||^2 / 2 + step * value(x)``.

        Raises
        ------
        ValueError
            If there is no way to compute it.
        """
        raise TomolearnError(
            f"{type(self).__name__}: expected a regulariser with a proximal map, this one has a "
            "gradient only"
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image."""
        return self.value(image)


class Denoiser(Prior, abc.ABC):
    """A map of noisy images to clean ones, ``denoiser(image, sigma) -> image``.

    Parameters
    ----------
    arguments : mapping
        The constructor's arguments by name.
    """

    blind: bool = False
    """Whether it takes no notice of the noise level, so that none has to be given."""

    noise_levels: tuple[float, float] | None = None
    """Smallest and largest noise level that it was trained for; others are refused."""

    def lipschitz(self, shape: Sequence[int]) -> float | None:
        """Return a certified Lipschitz constant for images of this shape; None if there is none."""
        return None

    def check_noise_level(self, name: str, *levels: float) -> None:
        """Raise a ValueError if one of some noise levels is not within `noise_levels`."""
        if self.noise_levels is None:
            return
        low, high = self.noise_levels
        for level in levels:
            # levels come in single precision, too
            if not low * (1 - _ROUNDING) <= level <= high * (1 + _ROUNDING):
                raise TomolearnError(
                    f"{name}: expected a noise level in [{low:g}, {high:g}], for which this "
                    f"{type(self).__name__} was trained, got {level:g}"
                )

    @abc.abstractmethod
    def denoise(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Map checked images (batch, 1, *spatial axes).

        `sigma` has the shape (batch, 1, *1); where none was given to a blind denoiser, it is zero.
        """

    def forward(self, image: torch.Tensor, sigma: PerImage | None = None) -> torch.Tensor:
        """Denoise.

        Parameters
        ----------
        image : torch.Tensor, shape (..., *spatial axes)
            Noisy images, in float32 or float64, in the units that the denoiser was made for.
        sigma : float or torch.Tensor, shape (...), optional
            Standard deviation of the noise in the image's unit. Only blind denoisers do without.

        Returns
        -------
        torch.Tensor, shape (..., *spatial axes)

        Raises
        ------
        TypeError, ValueError
            If `image` is no such tensor, or `sigma` missing, negative, of another shape, or not
            within `noise_levels`.
        """
        self._checked(image)
        if sigma is None and not self.blind:
            raise TomolearnError(
                f"sigma: expected the noise's standard deviation, {type(self).__name__} is not "
                "blind, got None"
            )
        spatial = image.shape[image.ndim - self.ndim :]
        level = self._per_image("sigma", 0.0 if sigma is None else sigma, image)
        level = level.reshape(-1, 1, *(1,) * self.ndim)
        if sigma is not None and level.numel():
            self.check_noise_level("sigma", float(level.min()), float(level.max()))
        return self.denoise(image.reshape(-1, 1, *spatial), level).reshape(image.shape)
