"""A Gaussian mixture of patches: the expected patch log-likelihood."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.functional import fold, unfold

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.optional import optional_import
from tomolearn._core.tensors import check_real_tensor
from tomolearn.priors.prior import Regulariser

# Patches whose likelihoods are computed at once: this many times components times pixels numbers.
_AT_ONCE = 2**14


class PatchMixture(Regulariser):
    """Minus the log-likelihood of all patches under a Gaussian mixture, added up (EPLL).

    Patches overlap, lie wholly in the image, and are taken without their mean, so that constants
    may be added to images [1]_. Value and gradient are in closed form. Here the sum is minimised
    itself, where [1]_ splits it half-quadratically. `fit` learns the mixture from images.

    With one component it is a convex quadratic function, which is certified; with more, nothing is.

    Parameters
    ----------
    size : int
        Rows and columns of a patch, at least 2.
    components : int
        Number of Gaussians. Fresh ones are standard normal, all the same.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such integer.

    References
    ----------
    .. [1] D. Zoran, Y. Weiss, "From learning models of natural image patches to whole image
       restoration", ICCV 2011, doi 10.1109/ICCV.2011.6126278

    Examples
    --------
    >>> likely = PatchMixture.fit(images, size=6, components=20)
    """

    def __init__(self, *, size: int = 6, components: int = 20) -> None:
        super().__init__(
            {
                "size": check_int("size", size, minimum=2),
                "components": check_int("components", components, minimum=1),
            }
        )
        self.size, self.components = size, components
        pixels = size**2
        self.log_weights = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.zeros(components, pixels))
        # F with F F^T the inverse covariance
        self.factors = nn.Parameter(torch.eye(pixels).repeat(components, 1, 1))

    @classmethod
    def fit(
        cls,
        images: torch.Tensor,
        *,
        size: int = 6,
        components: int = 20,
        patches: int = 50_000,
        floor: float = 1e-3,
        seed: int = 0,
    ) -> PatchMixture:
        """Fit a mixture to random patches of images, by scikit-learn's expectation maximisation.

        Parameters
        ----------
        images : torch.Tensor, shape (..., rows, columns)
            Images to learn from.
        size, components : int
            Of the mixture.
        patches : int
            Number of patches that are drawn.
        floor : float
            Standard deviation of white noise that the patches are taken to have, in the unit of the
            images: without it patches of one value would have covariances of zero.
        seed : int
            Of patches and of the iteration's start.

        Raises
        ------
        TypeError, ValueError
            If `images` are no tensor of images as large as a patch, or a number is not positive.
        ImportError
            If scikit-learn is not installed.
        """
        found = cls(size=size, components=components)
        check_int("patches", patches, minimum=components)
        check_float("floor", floor, positive=True)
        found._checked(check_real_tensor("images", images))
        mixture = optional_import(
            "sklearn.mixture",
            purpose="fitting a Gaussian mixture",
            install="pip install 'tomolearn[priors]'",
        )
        generator = torch.Generator().manual_seed(seed)
        stack = images.reshape(-1, 1, *images.shape[-2:]).double().cpu()
        rows, columns = (n - size + 1 for n in stack.shape[-2:])
        draws = [
            torch.randint(n, (patches,), generator=generator) for n in (len(stack), rows, columns)
        ]
        offsets = torch.arange(size)
        i = (draws[1][:, None] + offsets)[:, :, None]
        j = (draws[2][:, None] + offsets)[:, None, :]
        drawn = stack[draws[0][:, None, None], 0, i, j].flatten(1)
        drawn = drawn - drawn.mean(1, keepdim=True)
        # in units of the floor, whose square scikit-learn adds to the covariances
        fitted = mixture.GaussianMixture(components, reg_covar=1.0, random_state=seed).fit(
            (drawn / floor).numpy()
        )
        with torch.no_grad():
            found.log_weights.copy_(torch.from_numpy(fitted.weights_).log())
            found.means.copy_(floor * torch.from_numpy(fitted.means_))
            found.factors.copy_(torch.from_numpy(fitted.precisions_cholesky_) / floor)
        return found.eval()

    @property
    def convexity(self) -> float | None:
        """Zero for one component, whose value is quadratic; otherwise nothing is known."""
        return 0.0 if self.components == 1 else None

    @torch.no_grad()
    def lipschitz(self, shape: Sequence[int]) -> float | None:
        """Return the norm of the precision times the patches of a pixel, for one component."""
        if self.components > 1:
            return None
        norm = float(torch.linalg.matrix_norm(self.factors[0].double(), 2))
        return norm**2 * self.size**2

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        patches = self._patches(image)
        with torch.autocast(image.device.type, enabled=False):
            values = [self._log_likelihood(part)[0] for part in self._parts(patches)]
        each = torch.cat(values).reshape(patches.shape[:2])
        return -each.sum(1, dtype=torch.float64).reshape(image.shape[:-2]).to(image.dtype)

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient at each image, shape (..., rows, columns)."""
        patches = self._patches(image)
        with torch.autocast(image.device.type, enabled=False):
            slopes = [self._slope(part) for part in self._parts(patches)]
        slope = torch.cat(slopes).reshape(patches.shape)
        slope = slope - slope.mean(-1, keepdim=True)
        found = fold(slope.transpose(1, 2), image.shape[-2:], self.size)
        return found.reshape(image.shape).to(image.dtype)

    def _patches(self, image: torch.Tensor) -> torch.Tensor:
        """Return the patches (batch, number, pixels) without their means."""
        rows, columns = self._checked(image).shape[-2:]
        if min(rows, columns) < self.size:
            raise TomolearnError(
                f"image: expected at least {self.size} pixels along each axis, got "
                f"{(rows, columns)}"
            )
        patches = unfold(image.reshape(-1, 1, rows, columns).to(self.means.dtype), self.size)
        return (patches - patches.mean(1, keepdim=True)).transpose(1, 2)

    def _parts(self, patches: torch.Tensor) -> Iterator[torch.Tensor]:
        """Return patches a few thousand at a time."""
        return iter(patches.flatten(0, 1).split(_AT_ONCE))

    def _joint(self) -> torch.Tensor:
        """Return the factors of all components beside each other, (pixels, components * pixels)."""
        return self.factors.transpose(0, 1).flatten(1)

    def _slope(self, patches: torch.Tensor) -> torch.Tensor:
        """Return the gradients of minus the log-likelihood of patches, (n, pixels)."""
        _, whitened, logs = self._log_likelihood(patches)
        shares = torch.softmax(logs, 1).unsqueeze(-1)
        return (shares * whitened).flatten(1) @ self._joint().T

    def _log_likelihood(
        self, patches: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the log-likelihood of patches (n, pixels), and what its gradient is made of.

        These are the whitened distances from the means (n, components, pixels), and the components'
        parts of the likelihood (n, components).
        """
        shape = (-1, self.components, self.size**2)
        offsets = torch.einsum("kd,kde->ke", self.means, self.factors)
        whitened = (patches @ self._joint()).reshape(shape) - offsets
        constants = torch.log_softmax(self.log_weights, 0) + torch.linalg.slogdet(self.factors)[1]
        constants = constants - self.size**2 / 2 * math.log(2 * math.pi)
        logs = constants - whitened.square().sum(-1) / 2
        return torch.logsumexp(logs, 1), whitened, logs
