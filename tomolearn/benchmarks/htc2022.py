"""Limited arcs of the Helsinki tomography challenge 2022, with the challenge's score.

Scans are read from a folder with files of the challenge, doi:10.5281/zenodo.6984868: of each disc
``htc2022_DISC_truth.png``, the organisers' segmentation, and ``htc2022_DISC_*.mat`` as published,
or ``htc2022_DISC_*.npz`` with the arrays ``sinogram`` and ``angles_deg``.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from tomolearn._core.errors import TomolearnError, TrainedElsewhereWarning
from tomolearn.catalogue import FromWeights, get_method
from tomolearn.data.arrays import opened_array
from tomolearn.data.images import read_image
from tomolearn.evaluation.benchmarking.run import (
    FORMAT,
    BenchmarkResults,
    machine,
    with_intervals,
)
from tomolearn.evaluation.results import summary_dict
from tomolearn.geometry import CoverageWarning, FanBeam, Grid
from tomolearn.measurements import read
from tomolearn.methods import FBP, Method, TotalVariation, Variational
from tomolearn.metrics import Summary, matthews_correlation
from tomolearn.operators import RayTransform

ARCS = (90.0, 60.0, 30.0)
"""Lengths in degrees that are scored."""
_SIZE, _BINS, _BIN = 512, 560, 0.2
_MAGNIFICATION = 553.74 / 410.66
_PIXEL = _BIN / _MAGNIFICATION
# as `calibrate` finds them from a disc itself
_SOURCE, _OFFSET = 408.7, 0.04
_COARSENESS = 2  # of the images of methods without weights
_EVERY = 2  # views of half a degree
_GAP = math.radians(0.75)
_NAME = re.compile(r"htc2022_([^_]+)_.*\.(mat|npz)", re.IGNORECASE)


def _directional(middle: float) -> Method:
    return Variational(
        f"directional-tv(angle={middle}, anisotropy=0.5)", weight=0.05, iterations=100, minimum=0.0
    )


CONTENDERS: Mapping[str, Callable[[float], Method]] = {
    "fbp": lambda middle: FBP(filter="hann"),
    "tv": lambda middle: TotalVariation(weight=0.1, iterations=100, nonnegative=True),
    "directional-tv": _directional,
}
"""Methods with settings that suit these discs, by name, for the angle in the middle of an arc.

All others are as `get_method` has them.
"""
DEFAULT = (*CONTENDERS, "htc2022-unet")


@dataclass(frozen=True, eq=False)
class Arc:
    """Views of a disc over a limited arc.

    Parameters
    ----------
    disc : str
        Its name.
    degrees : float
        Length of the arc.
    sinogram : torch.Tensor, shape (views, 560)
        Line integrals of bins of 0.2 mm.
    angles : numpy.ndarray, shape (views,)
        In radians.
    truth : torch.Tensor, shape (512, 512)
        Whether a pixel is acrylic, in the orientation of our images.
    """

    disc: str
    degrees: float
    sinogram: torch.Tensor
    angles: NDArray[np.float64]
    truth: torch.Tensor

    @property
    def middle(self) -> float:
        """Angle of its middle in radians."""
        return float(self.angles[0] + self.angles[-1]) / 2

    def coarsened(self, factor: int) -> tuple[torch.Tensor, RayTransform]:
        """Return line integrals and scanner with so many bins, and pixels, merged into one."""
        merged = self.sinogram.unflatten(-1, (-1, factor)).mean(-1)
        return merged, scanner(self.angles, factor)

    def score(self, image: torch.Tensor) -> float:
        """Return the Matthews correlation of an image, interpolated to 512 x 512, segmented."""
        fine = interpolate(image[None, None], self.truth.shape, mode="bilinear")[0, 0]
        return matthews_correlation(fine, self.truth.to(fine))


@dataclass(frozen=True)
class Score:
    """What a method reached on an arc: Matthews correlation, and seconds that it took."""

    disc: str
    degrees: float
    method: str
    matthews: float
    seconds: float


def scanner(angles: Sequence[float] | NDArray[Any], factor: int = 1) -> RayTransform:
    """Return the challenge's ray transform for views in radians, bins and pixels merged."""
    scan = FanBeam(
        angles=angles,
        n_detectors=_BINS // factor,
        detector_spacing=_BIN * factor,
        detector_offset=_OFFSET,
        source_to_isocenter=_SOURCE,
        source_to_detector=_SOURCE * _MAGNIFICATION,
    )
    n = _SIZE // factor
    return RayTransform(Grid((n, n), _PIXEL * factor), scan)


def find_arcs(folder: Path, degrees: Sequence[float] = ARCS) -> list[Arc]:
    """Return the arcs of these lengths of all discs in a folder, every second view of them.

    Each is the first arc of a scan that is long enough and has no view missing.

    Raises
    ------
    OSError, ValueError
        If the folder is not there or has no scan with a truth; if a file is damaged or not of the
        challenge's shape.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    found = []
    for path in sorted(folder.iterdir()):
        named = _NAME.fullmatch(path.name)
        if named is None:
            continue
        truth_file = path.with_name(f"htc2022_{named[1]}_truth.png")
        if not truth_file.is_file():
            continue
        sinogram, angles = (_mat if named[2].lower() == "mat" else _npz)(path)
        if sinogram.shape != (len(angles), _BINS):
            raise TomolearnError(
                f"{path}: expected a sinogram of shape ({len(angles)}, {_BINS}), got "
                f"{sinogram.shape}"
            )
        truth = _truth(truth_file)
        for length in degrees:
            views = _first_arc(angles, math.radians(length))
            if views is not None:
                part = torch.from_numpy(sinogram[views].astype(np.float32))
                found.append(Arc(named[1], length, part, angles[views], truth))
    if not found:
        raise TomolearnError(
            f"{folder}: expected htc2022_DISC_*.mat or .npz with an arc of "
            f"{', '.join(f'{one:g}' for one in degrees)} degrees, and htc2022_DISC_truth.png"
        )
    return found


def measure(arcs: Sequence[Arc], methods: Sequence[str] = DEFAULT) -> Iterator[Score]:
    """Reconstruct each arc by each method, and yield the scores.

    Methods without weights reconstruct bins and pixels merged in twos; those with weights, merged
    to the pixels of their training.

    Parameters
    ----------
    arcs : sequence of Arc
    methods : sequence of str
        Names in `CONTENDERS`, or as for `get_method`.

    Raises
    ------
    TypeError, ValueError, OSError
        As `get_method`; or if weights are of a grid whose pixels are not merged ones of this.
    """
    chosen = {
        name: CONTENDERS[name] if name in CONTENDERS else _constant(get_method(name))
        for name in methods
    }
    with warnings.catch_warnings():
        # that views are missing is the point, and weights are tried on what they were not made for
        warnings.simplefilter("ignore", CoverageWarning)
        warnings.simplefilter("ignore", TrainedElsewhereWarning)
        for arc in arcs:
            for name, method_of in chosen.items():
                method = method_of(arc.middle)
                sinogram, operator = arc.coarsened(_coarseness(method))
                start = time.perf_counter()
                with torch.no_grad():
                    image = method(sinogram, operator)
                seconds = time.perf_counter() - start
                yield Score(arc.disc, arc.degrees, name, arc.score(image), seconds)


def results_of(scores: Sequence[Score], data: str) -> BenchmarkResults:
    """Return scores as results of a benchmark, whose images are the arcs."""
    places = list(dict.fromkeys((score.disc, score.degrees) for score in scores))
    lengths = sorted({degrees for _, degrees in places}, reverse=True)
    metrics = {"matthews": lengths} | {f"matthews_{one:g}": [one] for one in lengths}
    rows = []
    for name in dict.fromkeys(score.method for score in scores):
        own = {(one.disc, one.degrees): one for one in scores if one.method == name}
        found = {
            metric: summary_dict(
                Summary(
                    torch.tensor(
                        [own[at].matthews if at[1] in kept else math.nan for at in places],
                        dtype=torch.float64,
                    )
                )
            )
            for metric, kept in metrics.items()
        }
        seconds = [one.seconds for one in own.values()]
        rows.append(
            {
                "method": name,
                "network": None,
                "metrics": found,
                "seconds": seconds,
                "milliseconds": 1e3 * statistics.median(seconds),
                "parameters": _parameters(name),
                "failures": {},
            }
        )
    columns = [
        {
            "metric": metric,
            "head": "all arcs" if metric == "matthews" else f"{kept[0]:g} degrees",
            "digits": 3,
            "unit": "",
            "main": True,
        }
        for metric, kept in metrics.items()
    ]
    values = {
        "format": FORMAT,
        "task": {
            "name": "htc2022",
            "description": "measured discs with holes over limited arcs: Matthews correlation of "
            "the segmented image with the truth",
            "reference": "Helsinki tomography challenge 2022, doi:10.5281/zenodo.6984868",
            "hounsfield": None,
        },
        "data": data,
        "settings": {"split": "measured", "images": len(places)},
        "columns": columns,
        "labels": [f"{disc}, {degrees:g} degrees" for disc, degrees in places],
        "score": "matthews",
        "rows": with_intervals(rows, "matthews"),
        "published": [],
        "curves": [],
        "machine": machine(),
    }
    return BenchmarkResults(values)


def _parameters(name: str) -> int:
    method = None if name in CONTENDERS else get_method(name)
    return int(method.card["parameters"]) if isinstance(method, FromWeights) else 0


def _constant(method: Method) -> Callable[[float], Method]:
    return lambda middle: method


def _coarseness(method: Method) -> int:
    if not isinstance(method, FromWeights) or method.card["grid"] is None:
        return _COARSENESS
    spacing = float(np.ravel(method.card["grid"]["spacing"])[0])
    factor = round(spacing / _PIXEL)
    if factor < 1 or _BINS % factor or not math.isclose(spacing, factor * _PIXEL, rel_tol=1e-3):
        raise TomolearnError(
            f"{method.name}: expected weights for pixels of a multiple of {_PIXEL:.4g} mm, got "
            f"{spacing:.4g}"
        )
    return factor


def _mat(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    found = read(path, format="fips")
    if found.line_integrals is None or not isinstance(found.scan, FanBeam):
        raise TomolearnError(f"{path}: expected a fan beam with angles, as the challenge's files")
    return found.line_integrals, found.scan.view_angles


def _npz(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    arrays = []
    for name in ("sinogram", "angles_deg"):
        with opened_array(path, name) as stored:
            arrays.append(np.asarray(stored[()]))
    return arrays[0], np.deg2rad(arrays[1].astype(np.float64))


def _truth(path: Path) -> torch.Tensor:
    image = read_image(path, scale=1.0)
    if image.shape != (_SIZE, _SIZE):
        raise TomolearnError(f"{path}: expected {_SIZE} x {_SIZE} pixels, got {image.shape}")
    return torch.from_numpy(np.rot90(image > 0, -1).copy())


def _first_arc(angles: NDArray[np.float64], length: float) -> NDArray[np.intp] | None:
    """Return the numbers of every second view of the first arc without a gap, None if too short."""
    starts = [0, *(np.flatnonzero(np.diff(angles) > _GAP) + 1).tolist(), len(angles)]
    for first, last in itertools.pairwise(starts):
        run = angles[first:last] - angles[first]
        if run[-1] >= length - 1e-6:
            return first + np.flatnonzero(run <= length + 1e-6)[::_EVERY]
    return None
