"""Moments and samples of a posterior, and the bases of methods that have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tomolearn._core.checks import check_float
from tomolearn._core.errors import DivergenceError, TomolearnError
from tomolearn.methods.method import Method

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator


@dataclass(frozen=True, eq=False)
class Moments:
    """An image, and how large the error of each of its pixels is expected to be.

    Parameters
    ----------
    mean, standard_deviation : torch.Tensor, shape (..., *image shape)
        By pixel, in the image's unit.
    ndim : int
        Number of axes of an image.
    """

    mean: torch.Tensor
    standard_deviation: torch.Tensor
    ndim: int

    def scores(self, floor: float = 0.01) -> torch.Tensor:
        """Return standard deviations that are nowhere zero, to be calibrated.

        Few samples agree by chance here and there. Therefore a part `floor` of the largest value
        of the mean's size is added, as independent errors are: to the square.

        Parameters
        ----------
        floor : float
            Part of the largest value of each mean image.
        """
        check_float("floor", floor, nonnegative=True)
        axes = tuple(range(-self.ndim, 0))
        largest = self.mean.abs().amax(axes, keepdim=True)
        return (self.standard_deviation.square() + (floor * largest).square()).sqrt()


@dataclass(frozen=True, eq=False)
class Posterior:
    """Samples of images that data leave possible.

    Parameters
    ----------
    samples : torch.Tensor, shape (n, ..., *image shape)
        At least two images for each sinogram.
    residuals : torch.Tensor, shape (n, ...)
        ``||A x - y||`` of each.
    ndim : int
        Number of axes of an image.
    seed : int, optional
        What they were drawn with; the same seed draws the same samples. None: nothing is random.
    """

    samples: torch.Tensor
    residuals: torch.Tensor
    ndim: int
    seed: int | None = None

    @classmethod
    def of(
        cls,
        samples: torch.Tensor,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        seed: int | None = None,
    ) -> Posterior:
        """Return samples with their residuals.

        Parameters
        ----------
        samples : torch.Tensor, shape (n, ..., *operator.domain_shape)
            Images for each sinogram.
        sinogram : torch.Tensor, shape (..., *operator.range_shape)
            The data.
        operator : LinearOperator
            The scanner.
        seed : int, optional
            What the samples were drawn with.

        Raises
        ------
        ValueError
            If there are fewer than two samples, or the shapes do not fit.
        DivergenceError
            If samples have values that are not finite.
        """
        import torch

        ndim = len(operator.domain_shape)
        leading = tuple(sinogram.shape[: sinogram.ndim - len(operator.range_shape)])
        expected = (*leading, *operator.domain_shape)
        if len(samples) < 2 or tuple(samples.shape[1:]) != expected:
            raise TomolearnError(
                f"samples: expected two or more of shape {expected}, got {tuple(samples.shape)}"
            )
        bad = [k for k, one in enumerate(samples) if not bool(one.isfinite().all())]
        if bad:
            raise DivergenceError(
                f"samples: expected finite values, got others in {len(bad)} of {len(samples)} "
                f"(number {bad[0]} first); take a smaller step, or leave out that member"
            )
        axes = tuple(range(-len(operator.range_shape), 0))
        misfits = [(operator(one) - sinogram.to(one)).square().sum(axes).sqrt() for one in samples]
        return cls(samples, torch.stack(misfits), ndim, seed)

    @property
    def mean(self) -> torch.Tensor:
        """Mean of the samples, shape (..., *image shape)."""
        return self.samples.mean(0)

    @property
    def standard_deviation(self) -> torch.Tensor:
        """Standard deviation of the samples by pixel, with n - 1, shape (..., *image shape)."""
        return self.samples.std(0)

    @property
    def moments(self) -> Moments:
        """Mean and standard deviation."""
        return Moments(self.mean, self.standard_deviation, self.ndim)

    def scores(self, floor: float = 0.01) -> torch.Tensor:
        """Return standard deviations that are nowhere zero, to be calibrated: `Moments.scores`."""
        return self.moments.scores(floor)


@dataclass(frozen=True, kw_only=True)
class UncertainMethod(Method):
    """Base of methods that tell how large the error of each pixel may be."""

    def moments(self, sinogram: torch.Tensor, operator: LinearOperator) -> Moments:
        """Return the image with standard deviations.

        Parameters
        ----------
        sinogram, operator
            As for a call.

        Returns
        -------
        Moments
            The image as its mean.
        """
        raise NotImplementedError(f"{type(self).__name__} does not tell its errors")


@dataclass(frozen=True, kw_only=True)
class SamplingMethod(UncertainMethod):
    """Base of methods that sample: their image is the mean of a `Posterior`."""

    def sample(
        self, sinogram: torch.Tensor, operator: LinearOperator, **keywords: Any
    ) -> Posterior:
        """Draw samples.

        Parameters
        ----------
        sinogram, operator
            As for a call.
        **keywords
            As for a call.

        Returns
        -------
        Posterior
            Samples, mean, standard deviation and residuals.
        """
        raise NotImplementedError(f"{type(self).__name__} does not sample")

    def moments(self, sinogram: torch.Tensor, operator: LinearOperator, **keywords: Any) -> Moments:
        """Return mean and standard deviation of the samples."""
        return self.sample(sinogram, operator, **keywords).moments

    def __call__(
        self, sinogram: torch.Tensor, operator: LinearOperator, **keywords: Any
    ) -> torch.Tensor:
        """Return the mean of the samples."""
        return self.sample(sinogram, operator, **keywords).mean
