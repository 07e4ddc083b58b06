"""Processing of slices and volumes: simulated scan and reconstruction, in Hounsfield units."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn.batch.settings import SLICES_PER_CALL, BatchSettings
from tomolearn.catalogue import FromWeights
from tomolearn.dicom import (
    CTSlice,
    FindingKind,
    SliceInfo,
    attenuation_to_hounsfield,
    heights_of,
    hounsfield_to_attenuation,
    step_of,
    unevenness,
)
from tomolearn.evaluation.estimation import half_widths
from tomolearn.geometry import CoverageWarning, Grid, Scan
from tomolearn.methods import Method, UncertainMethod
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.simulation import Acquisition

_BONE = 2.0  # times water


def process(slices: Sequence[CTSlice], settings: BatchSettings) -> list[NDArray[np.float32]]:
    """Return Hounsfield units, shape (rows, columns), of slices scanned and reconstructed.

    See `process_uncertain`.
    """
    return _processed(slices, settings)[0]


def process_uncertain(
    slices: Sequence[CTSlice], settings: BatchSettings
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], str]:
    """Return Hounsfield units of slices, their half-widths in HU, and what those are."""
    return _processed(slices, settings)


def _processed(
    slices: Sequence[CTSlice], settings: BatchSettings
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], str]:
    """Return slices in Hounsfield units, their half-widths if there are some, and what they are.

    Slices are 1 to `SLICES_PER_CALL` of one shape and spacing; each result depends on its own slice
    alone, bit by bit.
    """
    meaning = ""
    kinds = {(ct.hounsfield.shape, ct.spacing) for ct in slices}
    if len(kinds) != 1 or len(slices) > SLICES_PER_CALL:
        raise TomolearnError(
            f"slices: expected 1 to {SLICES_PER_CALL} of one shape and spacing, got "
            f"{len(slices)} of {len(kinds)} kinds"
        )
    ((shape, spacing),) = kinds
    images = torch.zeros((SLICES_PER_CALL, 1, *shape))
    for lane, ct in zip(images, slices, strict=False):
        lane[0] = torch.from_numpy(
            hounsfield_to_attenuation(ct.hounsfield, mu_water=settings.mu_water)
        )
    # not inference mode: priors that are networks are differentiated by the image
    with torch.no_grad():
        if settings.acquisition is None:
            method = _in_attenuation(settings.method, settings)
            data, function = images, _alone(method.denoiser(settings.mu_water / 1000))
        else:
            data, method, operator = _measured(
                images, slices, Grid(shape, spacing), settings, settings.acquisition
            )
            if settings.uncertainty and isinstance(method, UncertainMethod):
                function = _with_half_widths(method, operator, settings)
                meaning = half_width_meaning(settings)
            else:
                function = _alone(lambda lanes: method(lanes, operator))
        if settings.method.side_by_side:
            # sums over lanes depend on their number
            found = function(data)
        else:
            lanes = [function(lane[None]) for lane in data[: len(slices)]]
            found = tuple(torch.cat(parts) for parts in zip(*lanes, strict=True))
    image, *widths = (one[: len(slices), 0] for one in found)
    hounsfield = attenuation_to_hounsfield(image, mu_water=settings.mu_water)
    half = [1000 / settings.mu_water * one for one in widths]
    return list(hounsfield.numpy()), [one.numpy() for part in half for one in part], meaning


Function = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


def _alone(reconstruct: Callable[[torch.Tensor], torch.Tensor]) -> Function:
    return lambda lanes: (reconstruct(lanes),)


def _with_half_widths(
    method: UncertainMethod, operator: LinearOperator, settings: BatchSettings
) -> Function:
    def function(lanes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        moments = method.moments(lanes, operator)
        return moments.mean, half_widths(moments, settings.calibration)[0]

    return function


def half_width_meaning(settings: BatchSettings) -> str:
    """Return in ASCII what half-widths are."""
    known = settings.calibration
    if known is None:
        return "Standard deviation, not calibrated"
    return f"Half-width for the level {known.factors.level:g}"


def process_volume(
    slices: Sequence[CTSlice], places: Sequence[SliceInfo], settings: BatchSettings
) -> list[NDArray[np.float32]]:
    """Return Hounsfield units of slices that are scanned and reconstructed as one volume.

    The volume's middle lies on the rotation axis, the slices across it. `places` says where the
    slices lie; a gantry's tilt shears the volume, as it does for whoever looks at the series.
    """
    findings = unevenness(places)
    curable = (FindingKind.UNEVEN_SPACING, FindingKind.MISSING_SLICES)
    refused = [one for one in findings if not (settings.resample and one.kind in curable)]
    if refused:
        remedy = (
            ""
            if any(one.kind not in curable for one in refused)
            else ("; --resample interpolates them to even distances (resample=True)")
        )
        said = " ".join(f"{one.kind}: {one.detail}" for one in refused)
        raise TomolearnError(
            f"series: expected evenly spaced slices of one size and direction, got {said}{remedy}"
        )
    heights = heights_of(places)
    even, distance = _even(heights, places, resampled=bool(findings))
    # air where nothing was measured, as in slices
    volume = np.stack(
        [hounsfield_to_attenuation(ct.hounsfield, mu_water=settings.mu_water) for ct in slices]
    )
    volume = _interpolated(volume, heights, even)
    grid = Grid(volume.shape, (distance, *slices[0].spacing))
    if settings.acquisition is None:
        raise TomolearnError("acquisition: expected one in space, got none")
    with torch.no_grad():
        sinogram, method, operator = _measured(
            torch.from_numpy(volume)[None, None], [slices], grid, settings, settings.acquisition
        )
        found = method(sinogram, operator)[0, 0].numpy()
    images = attenuation_to_hounsfield(
        torch.from_numpy(_interpolated(found, even, heights)), mu_water=settings.mu_water
    )
    return list(images.numpy())


def _even(
    heights: NDArray[np.float64], places: Sequence[SliceInfo], *, resampled: bool
) -> tuple[NDArray[np.float64], float]:
    """Return evenly spaced heights of as many slices as fit between the outermost, and the step."""
    if len(heights) == 1:
        return heights, float(np.linalg.norm(step_of(places)))
    n = len(heights)
    if resampled:
        gaps = np.sort(np.diff(heights))
        n = 1 + round(float((heights[-1] - heights[0]) / gaps[(gaps.size - 1) // 2]))
    even, step = np.linspace(heights[0], heights[-1], n, retstep=True)
    # evenly spaced slices are where they are, but for the rounding of decimals
    return (even if resampled else heights), float(step)


def _interpolated(
    volume: NDArray[np.float32], at: NDArray[np.float64], to: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return slices at other heights, linearly between those that there are."""
    if np.array_equal(at, to):
        return volume
    above = np.clip(np.searchsorted(at, to), 1, len(at) - 1)
    share = ((to - at[above - 1]) / (at[above] - at[above - 1])).astype(np.float32)
    share = share[:, None, None]
    mixed: NDArray[np.float32] = (1 - share) * volume[above - 1] + share * volume[above]
    return mixed


def _measured(
    images: torch.Tensor,
    slices: Sequence[CTSlice | Sequence[CTSlice]],
    grid: Grid,
    settings: BatchSettings,
    acquisition: Acquisition,
) -> tuple[torch.Tensor, Method, LinearOperator]:
    """Return the sinograms of images, what reconstructs them, and their operator."""
    keys = [_key(ct) for ct in slices] + [0] * (len(images) - len(slices))
    rngs = [np.random.default_rng((settings.seed, key)) for key in keys]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        sinograms = acquisition.measure(images, grid, rngs)
        operator = acquisition.operator(grid)
    for warning in _coverage_warnings(grid, operator.scan):
        warnings.warn(warning, stacklevel=3)
    method = _in_attenuation(settings.method.informed(acquisition.noise), settings)
    return sinograms, method, operator


def _in_attenuation(method: Method, settings: BatchSettings) -> Method:
    """Return a method that knows what images of CT are: bone has about twice water's attenuation.

    Not those of each slice: one warning for a series is enough.
    """
    if isinstance(method, FromWeights):
        return method.used_on(level=_BONE * settings.mu_water)
    return method


@lru_cache(maxsize=2)
def _coverage_warnings(grid: Grid, scan: Scan) -> tuple[Warning | str, ...]:
    """Return the warnings of a ray transform: its own cache gives them to the first slice only."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        RayTransform(grid, scan)
    return tuple(one.message for one in caught)


def _key(what: CTSlice | Sequence[CTSlice]) -> int:
    """Return a number that identifies a slice, or a volume by all of its slices."""
    slices = [what] if isinstance(what, CTSlice) else what
    # the frames of a file share its identifier
    name = "\n".join(
        ct.sop_instance_uid if ct.frame is None else f"{ct.sop_instance_uid}/{ct.frame}"
        for ct in slices
    )
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
