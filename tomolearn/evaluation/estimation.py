"""Images and scores of a method that tells its errors, on the pairs of a task."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError, TrainedElsewhereWarning
from tomolearn._core.random_state import RandomStream
from tomolearn._core.reading import read_json
from tomolearn._core.tensors import check_device
from tomolearn.data.phantoms import ImageDataset
from tomolearn.evaluation.calibration import (
    ConformalCalibration,
    conformal_calibration,
    fewest_images,
)
from tomolearn.evaluation.methods import choose_methods
from tomolearn.evaluation.uncertainty import (
    LABELS,
    LEVELS,
    Estimates,
    UncertaintyReport,
    judge_uncertainty,
)
from tomolearn.methods import Method, Moments, UncertainMethod
from tomolearn.tasks import Task

Progress = Callable[[str, int], None]
"""Called with what is reconstructed and the number of images that are done."""

HELD_OUT, HALF_DOSE = "held out", "half the dose"
"""The images that intervals are judged by."""

# another seed than any split's: pairs of the calibration's distribution
_HELD_OUT_SEED = 1_000_003


class SavedCalibration(NamedTuple):
    """What a file says of calibrated scores: of which method, on which task, with which floor."""

    method: dict[str, Any]
    sha256: str | None
    task: str
    floor: float
    factors: ConformalCalibration


@dataclass(frozen=True, eq=False)
class CalibratedUncertainty:
    """What `calibrate_uncertainty` returns.

    Parameters
    ----------
    method : UncertainMethod
        What tells how large its errors may be.
    task : Task
        What it was calibrated on.
    floor : float
        That of the scores, see `tomolearn.methods.Moments.scores`.
    calibration : ConformalCalibration
        Factors of the scores.
    reports : mapping of str to UncertaintyReport
        What intervals cover on other images: "held out", of the calibration's distribution, "half
        the dose", and the task's test split.
    """

    method: UncertainMethod
    task: Task
    floor: float
    calibration: ConformalCalibration
    reports: dict[str, UncertaintyReport]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "method": self.method.to_dict(),
            "sha256": getattr(self.method, "sha256", None),
            "task": self.task.name,
            "floor": self.floor,
            "calibration": self.calibration.to_dict(),
            "reports": {name: one.to_dict() for name, one in self.reports.items()},
        }


def calibrate_uncertainty(
    method: str | UncertainMethod,
    task: Task,
    *,
    images: int = 40,
    level: float = 0.9,
    regions: str | None = None,
    floor: float = 0.01,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> CalibratedUncertainty:
    """Calibrate an uncertain method on a task's validation split, and judge it on other images.

    Parameters
    ----------
    method : str or UncertainMethod
        What samples, or tells standard deviations, by its name: for example
        "ensemble(members=[lpd-ellipses,lgd-ellipses])" or weights of a heteroscedastic network.
    task : Task
        One whose images are drawn.
    images : int
        Number of pairs to calibrate with, and as many at most of each kind to judge by.
    level : float
        Level of the calibration that is returned; the reports have `LEVELS`, without those that
        are too high for so few images.
    regions : {"pixels", "labels"}, optional
        A factor for each pixel, or for each organ of images whose source knows them, as
        `RandomThorax` does. Default: one for the image. Where regions are known, the reports have
        them in any case, nodules apart.
    floor : float
        See `tomolearn.methods.Moments.scores`.
    device, progress
        As for `compare`.

    Raises
    ------
    TypeError, ValueError
        If the method tells no errors, there are too few images for the level, or no end of data.
    """
    check_int("images", images, minimum=1)
    check_float("floor", floor, nonnegative=True)
    source = task.splits["validation"].source
    if source is None or isinstance(source, ImageDataset):
        raise TomolearnError(f"task: expected one whose images are drawn, got {task.name}")
    place = check_device("device", device)
    named = {method: method} if isinstance(method, str) else {method.name: method}
    ((name, chosen),) = choose_methods(task, named, place).items()
    if not isinstance(chosen, UncertainMethod):
        raise TomolearnTypeError(
            "method: expected one that samples, such as ensemble(members=[...]), or weights of a "
            f"heteroscedastic network, got {name}"
        )
    half = replace(task, acquisition=task.acquisition.at_dose(0.5))
    found: dict[str, Estimates] = {}
    for what, tried, split, seed in (
        ("calibration", task, "validation", None),
        (HELD_OUT, task, "validation", _HELD_OUT_SEED),
        (HALF_DOSE, half, "validation", _HELD_OUT_SEED),
        ("test split", task, "test", None),
    ):
        size = task.splits[split].size
        count = images if size is None else min(images, size)
        told = None if progress is None else lambda done, what=what: progress(what, done)
        found[what] = _estimates(chosen, tried, split, count, seed, floor, place, told)
    own = found.pop("calibration")
    if regions == LABELS and own.labels is None:
        raise TomolearnError(
            f"regions: expected a task of images whose regions are known, got {task.name}"
        )
    calibration = conformal_calibration(
        own.residuals,
        own.scores,
        level=level,
        regions=own.calibrated if regions == LABELS else regions,
    )
    # by regions, of the one that the fewest images have
    possible = [one for one in LEVELS if fewest_images(one) <= calibration.n]
    reports = judge_uncertainty(own, found, levels=possible, regions=regions)
    return CalibratedUncertainty(chosen, task, floor, calibration, reports)


def read_calibration(path: Path) -> SavedCalibration:
    """Read what was written of a `CalibratedUncertainty`.

    Raises
    ------
    OSError, TypeError, ValueError
        If the file cannot be read, or is none of those.
    """
    values = read_json(path)
    parts = {"method", "sha256", "task", "floor", "calibration"}
    if not isinstance(values, dict) or not parts <= set(values):
        raise TomolearnError(f"{path}: expected what `tomolearn uncertainty --out` writes")
    try:
        factors = ConformalCalibration.from_dict(values["calibration"])
        floor = check_float("floor", values["floor"], nonnegative=True)
    except TomolearnError as error:
        raise type(error)(f"{path}: {error}") from error
    return SavedCalibration(values["method"], values["sha256"], str(values["task"]), floor, factors)


def calibration_for(path: Path, method: Method) -> SavedCalibration:
    """Read a calibration, which has to be that of a method, whatever the scale of its images.

    Raises
    ------
    OSError, TypeError, ValueError
        As `read_calibration`, or if it is another method's, or that of other weights.
    """
    known = read_calibration(path)
    settings = [
        {name: value for name, value in one.items() if name != "image_scale"}
        for one in (known.method, method.to_dict())
    ]
    if settings[0] != settings[1] or known.sha256 != getattr(method, "sha256", None):
        raise TomolearnError(
            f"{path}: expected the calibration of {method} with these weights, got that of "
            f"{known.method}"
        )
    return known


def half_widths(moments: Moments, known: SavedCalibration | None) -> tuple[torch.Tensor, str]:
    """Return half-widths, shape (..., *image shape), and what they are.

    Without a calibration they are the standard deviations.
    """
    if known is None:
        what = "standard deviations, not calibrated: they cover what they may"
        return moments.standard_deviation, what
    scores = moments.scores(known.floor)
    stack = known.factors.half_widths(scores.reshape(-1, *scores.shape[-moments.ndim :]))
    what = f"half-widths for the level {known.factors.level:g}, calibrated on {known.task}"
    return stack.reshape(scores.shape), what


def _estimates(
    method: UncertainMethod,
    task: Task,
    split: str,
    count: int,
    seed: int | None,
    floor: float,
    place: torch.device,
    progress: Callable[[int], None] | None,
) -> Estimates:
    pairs, operator = task.pairs(split, size=count, seed=seed), task.operator()
    source = task.splits[split].source
    random, residuals, scores, labels = RandomStream(), [], [], []
    known = getattr(pairs, "regions", None) if hasattr(source, "regions") else None
    for index in range(count):
        sinogram, truth = pairs[index]
        with random.drawn(), warnings.catch_warnings():
            # the shift is on purpose
            warnings.simplefilter("ignore", TrainedElsewhereWarning)
            found = method.moments(sinogram[None].to(place), operator)
        residuals.append(found.mean[0, 0].cpu() - truth[0])
        scores.append(found.scores(floor)[0, 0].cpu())
        if known is not None:
            labels.append(known(index)[0])
        if progress is not None:
            progress(index + 1)
    stacked = torch.stack(labels) if labels else None
    organs = getattr(source, "organs", None)
    groups = None if stacked is None or organs is None else torch.tensor(organs)[stacked]
    return Estimates(torch.stack(residuals), torch.stack(scores), stacked, groups)
