"""Split-conformal calibration of uncertainties: factors that make scores half-widths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import check_real_tensor

PIXELS = "pixels"
"""What `regions` is if each pixel has a factor of its own."""

# what rounding may add to (n + 1) level
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class ConformalCalibration:
    """Factors that make scores, such as standard deviations, half-widths of intervals.

    Parameters
    ----------
    level : float
        Part of the pixels that intervals cover, on average over images like the calibration's.
    factors : torch.Tensor, shape (regions,) or (*image shape), float64
        By label of a region; one number for the whole image; or one for each pixel.
    n : int
        Number of images that it was found with, the fewest of a region.
    by : {"image", "regions", "pixels"}
        What has a factor of its own.
    """

    level: float
    factors: torch.Tensor
    n: int
    by: str

    def half_widths(
        self, scores: torch.Tensor, regions: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return scores times factors.

        Parameters
        ----------
        scores : torch.Tensor, shape (n, *image shape)
            Made as those of the calibration.
        regions : torch.Tensor of int, shape (*image shape) or (n, *image shape), optional
            Labels, if the calibration has them.

        Raises
        ------
        TypeError, ValueError
            If regions are missing or superfluous, have another shape or unknown labels, or the
            image is not as large as one of the calibration by pixels.
        """
        scores = check_real_tensor("scores", scores)
        if (self.by == "regions") != (regions is not None):
            expected = "labels" if self.by == "regions" else f"none, as calibrated by {self.by}"
            raise TomolearnError(f"regions: expected {expected}, got {_kind(regions)}")
        factors = self.factors.to(scores)
        if regions is None:
            if self.by == PIXELS and scores.shape[-factors.ndim :] != factors.shape:
                raise TomolearnError(
                    f"scores: expected images of shape {tuple(factors.shape)}, got "
                    f"{tuple(scores.shape)}"
                )
            return scores * factors
        labels = _checked_labels(regions, scores.shape)
        if int(labels.max()) >= len(factors):
            raise TomolearnError(
                f"regions: expected labels below {len(factors)}, got {int(labels.max())}"
            )
        return scores * factors[labels.to(scores.device)]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "level": self.level,
            "factors": self.factors.tolist(),
            "images": self.n,
            "by": self.by,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConformalCalibration:
        """Build the calibration from what `to_dict` returned.

        Raises
        ------
        TypeError, ValueError
            If a part is missing, unknown or wrong.
        """
        if set(values) != {"level", "factors", "images", "by"}:
            raise TomolearnError(
                "calibration: expected exactly level, factors, images and by, got "
                f"{', '.join(values) or 'none'}"
            )
        if values["by"] not in ("image", "regions", PIXELS):
            raise TomolearnError(f"by: expected image, regions or {PIXELS}, got {values['by']!r}")
        try:
            factors = torch.tensor(values["factors"], dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise TomolearnTypeError(f"factors: expected numbers, got {error}") from error
        if not (bool(factors.isfinite().all()) and bool((factors >= 0).all())):
            raise TomolearnError("factors: expected finite numbers that are not negative")
        n = check_int("images", values["images"], minimum=1)
        return cls(_checked_level(values["level"]), factors, n, values["by"])


def conformal_calibration(
    residuals: torch.Tensor,
    scores: torch.Tensor,
    *,
    level: float = 0.9,
    regions: torch.Tensor | str | None = None,
) -> ConformalCalibration:
    """Calibrate intervals on images that the reconstruction was not trained on.

    Scores say where errors may be large; nothing has to be known of their scale. Of each region
    the factor is the smallest by which intervals ``image +- factor * score`` of the n calibration
    images leave out so few pixels that ::

        (sum of the left-out parts of the region in each image + 1) / (n + 1) <= 1 - level.

    Then intervals of another image from the same distribution cover at least `level` of the
    region's pixels in expectation, whatever that distribution and however wrong the scores [2]_;
    with each pixel as a region this is split-conformal prediction [1]_, in which the coverage is
    at most 1 / (n + 1) above the level if no two ratios of residual and score are the same.
    Nothing is promised for images or scanners of another kind.

    Parameters
    ----------
    residuals : torch.Tensor, shape (n, *image shape)
        Reconstruction minus truth, of n images.
    scores : torch.Tensor, shape (n, *image shape)
        Positive, for example standard deviations of a `tomolearn.methods.Posterior`.
    level : float
        Part of the pixels that is to be covered, in (0, 1).
    regions : torch.Tensor of int, shape (*image shape) or (n, *image shape), or "pixels", optional
        Labels from 0 on, each with a factor of its own; of each label only the images count that
        have it. "pixels": a factor for each pixel. Default: one for the whole image.

    Raises
    ------
    TypeError, ValueError
        If there are fewer images than ``level / (1 - level)``, in a region or at all, which is too
        few for any factor; shapes differ, scores are not positive, or values not finite.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random world", Springer
       (2005), doi:10.1007/b106715
    .. [2] A. N. Angelopoulos, S. Bates, A. Fisch, L. Lei, T. Schuster, "Conformal risk control",
       ICLR 2024, arXiv:2208.02814

    Examples
    --------
    >>> found = conformal_calibration(images - truths, deviations, level=0.9)
    >>> half_widths = found.half_widths(deviation)
    """
    level = _checked_level(level)
    residuals = check_real_tensor("residuals", residuals).detach().double()
    scores = check_real_tensor("scores", scores).detach().double()
    if residuals.ndim < 2 or scores.shape != residuals.shape:
        raise TomolearnError(
            "residuals, scores: expected the same shape (n, *image shape), got "
            f"{tuple(residuals.shape)} and {tuple(scores.shape)}"
        )
    if not bool(residuals.isfinite().all()) or not bool(scores.isfinite().all()):
        raise TomolearnError("residuals, scores: expected finite values, got others")
    if not bool((scores > 0).all()):
        n_bad = int((scores <= 0).sum())
        raise TomolearnError(
            f"scores: expected positive values, got {n_bad} others; a floor under them helps"
        )
    ratios = residuals.abs() / scores
    if isinstance(regions, str):
        if regions != PIXELS:
            raise TomolearnError(f"regions: expected labels or {PIXELS!r}, got {regions!r}")
        rank = _rank(len(ratios), level)
        factors = ratios.sort(dim=0).values[rank - 1]
        return ConformalCalibration(level, factors, len(ratios), PIXELS)
    if regions is None:
        factor = _factor(ratios, torch.ones_like(ratios, dtype=torch.bool), level, "")
        return ConformalCalibration(level, factor, len(ratios), "image")
    labels = _checked_labels(regions, ratios.shape).expand(ratios.shape)
    wanted = range(int(labels.max()) + 1)
    factors = torch.stack([_factor(ratios, labels == k, level, f" with label {k}") for k in wanted])
    fewest = min(int((labels == k).flatten(1).any(1).sum()) for k in wanted)
    return ConformalCalibration(level, factors, fewest, "regions")


def fewest_images(level: float) -> int:
    """Return the least number of calibration images that a level can be had with."""
    return math.ceil(_checked_level(level) / (1 - level) - _ROUNDING)


def _factor(ratios: torch.Tensor, inside: torch.Tensor, level: float, where: str) -> torch.Tensor:
    """Return the smallest factor that covers enough of what lies inside."""
    counts = inside.flatten(1).sum(1)
    n = int((counts > 0).sum())
    _rank(n, level, where)
    parts = (1 / counts.clamp(min=1).double()).reshape(-1, *(1 for _ in ratios.shape[1:]))
    values, order = ratios[inside].sort()
    covered = parts.expand(ratios.shape)[inside][order].cumsum(0)
    wanted = min((n + 1) * level, n) - _ROUNDING * n
    return values[int(torch.searchsorted(covered, wanted).clamp(max=len(values) - 1))]


def _rank(n: int, level: float, where: str = "") -> int:
    if n < fewest_images(level):
        raise TomolearnError(
            f"residuals: expected at least {fewest_images(level)} calibration images{where} for "
            f"the level {level:g}, got {n}; draw more, or ask for a lower level"
        )
    return math.ceil((n + 1) * level - _ROUNDING)


def _checked_level(level: Any) -> float:
    if not 0 < check_float("level", level) < 1:
        raise TomolearnError(f"level: expected a number in (0, 1), got {level:g}")
    return float(level)


def _checked_labels(regions: Any, shape: torch.Size) -> torch.Tensor:
    if not isinstance(regions, torch.Tensor) or regions.is_floating_point():
        raise TomolearnTypeError(
            f"regions: expected labels as a torch.Tensor of integers, got {_kind(regions)}"
        )
    if tuple(regions.shape) not in (tuple(shape), tuple(shape[1:])):
        raise TomolearnError(
            f"regions: expected shape {tuple(shape)} or {tuple(shape[1:])}, got "
            f"{tuple(regions.shape)}"
        )
    labels = regions.long()
    if labels.numel() == 0 or int(labels.min()) < 0:
        raise TomolearnError("regions: expected labels from 0 on, got others or none")
    return labels


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}"
    return "none" if value is None else type(value).__name__
