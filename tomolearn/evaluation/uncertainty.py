"""Judgement of uncertainties: coverage, length and likelihood, by level and under shift."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from tomolearn._core.checks import check_floats
from tomolearn._core.errors import TomolearnError
from tomolearn._core.tensors import check_real_tensor
from tomolearn.evaluation.calibration import ConformalCalibration, conformal_calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels of intervals that are looked at."""

LABELS = "labels"
"""What `regions` is if each region has a factor of its own."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """Errors of reconstructions beside what was said of them.

    Parameters
    ----------
    residuals : torch.Tensor, shape (n, *image shape)
        Reconstruction minus truth.
    scores : torch.Tensor, shape (n, *image shape)
        Standard deviations, positive.
    labels : torch.Tensor of int, shape (n, *image shape), optional
        Regions of each image, from 0 on, that reports tell apart.
    groups : torch.Tensor of int, shape (n, *image shape), optional
        Regions that have factors of their own, if they are not those of `labels`: organs, where
        too few images have nodules.
    """

    residuals: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor | None = None
    groups: torch.Tensor | None = None

    @property
    def calibrated(self) -> torch.Tensor | None:
        """Regions that have factors of their own: `groups`, or else `labels`."""
        return self.labels if self.groups is None else self.groups

    def __post_init__(self) -> None:
        for name in ("residuals", "scores"):
            check_real_tensor(name, getattr(self, name))
        if self.residuals.shape != self.scores.shape or not len(self.residuals):
            raise TomolearnError(
                "residuals, scores: expected the same shape and an image at least, got "
                f"{tuple(self.residuals.shape)} and {tuple(self.scores.shape)}"
            )


@dataclass(frozen=True)
class RegionCoverage:
    """What intervals do in one region.

    Parameters
    ----------
    label, n : int
        The region, and the number of images that have it.
    coverage, length, constant_length : float
        As for `Coverage`; means over images, each with the pixels that it has of the region.
    """

    label: int
    n: int
    coverage: float
    length: float
    constant_length: float


@dataclass(frozen=True)
class Coverage:
    """What intervals of one level do on some images.

    Parameters
    ----------
    level : float
        What they were calibrated for.
    coverage, raw_coverage : float
        Part of the pixels whose truth lies inside, and what part it would be without calibration,
        with the scores as standard deviations of a normal distribution.
    length, constant_length : float
        Mean length of the intervals, in the image's unit, and that of intervals of one width for
        all pixels, calibrated alike.
    regions : tuple of RegionCoverage
        The same in each region, if regions are known.
    """

    level: float
    coverage: float
    raw_coverage: float
    length: float
    constant_length: float
    regions: tuple[RegionCoverage, ...] = ()


@dataclass(frozen=True)
class UncertaintyReport:
    """What `judge_uncertainty` returns for some images.

    Parameters
    ----------
    n : int
        Number of images.
    levels : tuple of Coverage
        By level.
    nll, raw_nll : float
        Mean negative log-likelihood of the truth's pixels, in nats, under normal distributions
        about the reconstruction: with the scores times the factor that is best on the calibration
        images, and with the scores themselves.
    """

    n: int
    levels: tuple[Coverage, ...]
    nll: float
    raw_nll: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return asdict(self)


def coverage(residuals: torch.Tensor, half_widths: torch.Tensor) -> float:
    """Return the part of the pixels whose residual is at most its half-width in size."""
    return float((residuals.abs() <= half_widths).double().mean())


def negative_log_likelihood(residuals: torch.Tensor, deviations: torch.Tensor) -> float:
    """Return the mean over pixels of ``log(2 pi s^2) / 2 + r^2 / (2 s^2)``, in nats."""
    r, s = residuals.double(), deviations.double()
    return float((0.5 * math.log(2 * math.pi) + s.log() + 0.5 * (r / s).square()).mean())


def judge_uncertainty(
    calibration: Estimates,
    tests: Mapping[str, Estimates],
    *,
    levels: Sequence[float] = LEVELS,
    regions: str | None = None,
) -> dict[str, UncertaintyReport]:
    """Calibrate intervals on some images, and count what they cover on others.

    Parameters
    ----------
    calibration : Estimates
        Of images that the reconstruction was not trained on.
    tests : mapping of str to Estimates
        Of other images: of the same distribution, or of another one, to see what is lost.
    levels : sequence of float
        Levels of the intervals.
    regions : {"pixels", "labels"}, optional
        Factors as for `conformal_calibration`, by the labels of the estimates. Default: one for the
        whole image.

    Returns
    -------
    dict of str to UncertaintyReport
        By the names of `tests`.

    Raises
    ------
    TypeError, ValueError
        As for `conformal_calibration`, for example if there are too few images for a level.
    """
    if not tests:
        raise TomolearnError("tests: expected images to judge by, got none")
    chosen = check_floats("levels", tuple(levels))
    same = torch.ones_like(calibration.scores)
    if regions == LABELS and any(one.calibrated is None for one in (calibration, *tests.values())):
        raise TomolearnError("regions: expected labels of all images, got some without")
    given = calibration.calibrated if regions == LABELS else regions
    found = [
        [
            conformal_calibration(calibration.residuals, scores, level=level, regions=given)
            for scores in (calibration.scores, same)
        ]
        for level in chosen
    ]
    scale = float((calibration.residuals / calibration.scores).double().square().mean().sqrt())
    return {
        name: UncertaintyReport(
            len(one.residuals),
            tuple(_coverage(one, own, constant) for own, constant in found),
            negative_log_likelihood(one.residuals, one.scores * scale),
            negative_log_likelihood(one.residuals, one.scores),
        )
        for name, one in tests.items()
    }


def _coverage(
    one: Estimates, own: ConformalCalibration, constant: ConformalCalibration
) -> Coverage:
    labels = one.calibrated if own.by == "regions" else None
    widths = own.half_widths(one.scores, labels)
    same = constant.half_widths(torch.ones_like(one.scores), labels)
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.5 + own.level / 2))
    return Coverage(
        own.level,
        coverage(one.residuals, widths),
        coverage(one.residuals, one.scores * float(normal)),
        2 * float(widths.double().mean()),
        2 * float(same.double().mean()),
        () if one.labels is None else tuple(_by_region(one, one.labels, widths, same)),
    )


def _by_region(
    one: Estimates, labels: torch.Tensor, widths: torch.Tensor, same: torch.Tensor
) -> Iterator[RegionCoverage]:
    covered = (one.residuals.abs() <= widths).double()
    for label in labels.unique().tolist():
        inside = (labels == label).flatten(1)
        has = inside.any(1)
        parts = [
            ((values.double().flatten(1) * inside).sum(1)[has] / inside.sum(1)[has]).mean()
            for values in (covered, 2 * widths, 2 * same)
        ]
        yield RegionCoverage(int(label), int(has.sum()), *map(float, parts))


def draw_calibration(reports: Mapping[str, UncertaintyReport]) -> Figure:
    """Draw calibration curves: coverage and mean length of intervals by their level.

    Parameters
    ----------
    reports : mapping of str to UncertaintyReport
        By what is said of them in the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Without a window and without pyplot's state; ``savefig`` writes it.
    """
    if not reports:
        raise TomolearnError("reports: expected at least one, got none")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.5), layout="constrained")
    covered, length = figure.subplots(1, 2)
    covered.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="as asked for")
    for name, one in reports.items():
        levels = [at.level for at in one.levels]
        (line,) = covered.plot(levels, [at.coverage for at in one.levels], marker="o", label=name)
        raw = [at.raw_coverage for at in one.levels]
        covered.plot(levels, raw, ":", color=line.get_color(), label=f"{name}, not calibrated")
        length.semilogy(
            levels, [at.length for at in one.levels], marker="o", color=line.get_color(), label=name
        )
    first = next(iter(reports.values()))
    length.semilogy(
        [at.level for at in first.levels],
        [at.constant_length for at in first.levels],
        "--",
        color="0.4",
        label="one width for all pixels",
    )
    covered.set(xlabel="level", ylabel="part of the pixels covered", xlim=(0.4, 1), ylim=(0, 1.02))
    length.set(xlabel="level", ylabel="mean length of the intervals", xlim=(0.4, 1))
    for axes in (covered, length):
        axes.grid(which="both", alpha=0.3)
        axes.legend(fontsize=8)
    return figure
