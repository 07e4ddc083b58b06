"""Processing of slices: simulated scan and reconstruction, in Hounsfield units."""

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
from tomolearn.dicom import CTSlice, attenuation_to_hounsfield, hounsfield_to_attenuation
from tomolearn.geometry import CoverageWarning, Grid, Scan
from tomolearn.methods import Method
from tomolearn.operators import RayTransform
from tomolearn.simulation import Acquisition

_BONE = 2.0  # times water


def process(slices: Sequence[CTSlice], settings: BatchSettings) -> list[NDArray[np.float32]]:
    """Return Hounsfield units, shape (rows, columns), of slices scanned and reconstructed.

    They are 1 to `SLICES_PER_CALL` of one shape and spacing; each result depends on its own slice
    alone, bit by bit.
    """
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
            data, function = images, method.denoiser(settings.mu_water / 1000)
        else:
            data, function = _measured(
                images, slices, Grid(shape, spacing), settings, settings.acquisition
            )
        if settings.method.side_by_side:
            # sums over lanes depend on their number
            found = function(data)
        else:
            found = torch.cat([function(lane[None]) for lane in data[: len(slices)]])
    hounsfield = attenuation_to_hounsfield(found[: len(slices), 0], mu_water=settings.mu_water)
    return list(hounsfield.numpy())


def _measured(
    images: torch.Tensor,
    slices: Sequence[CTSlice],
    grid: Grid,
    settings: BatchSettings,
    acquisition: Acquisition,
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Return the sinograms of images, and what reconstructs them."""
    keys = [_key(ct) for ct in slices] + [0] * (len(images) - len(slices))
    rngs = [np.random.default_rng((settings.seed, key)) for key in keys]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        sinograms = acquisition.measure(images, grid, rngs)
        operator = acquisition.operator(grid)
    for warning in _coverage_warnings(grid, operator.scan):
        warnings.warn(warning, stacklevel=3)
    method = _in_attenuation(settings.method.informed(acquisition.noise), settings)
    return sinograms, lambda lanes: method(lanes, operator)


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


def _key(ct: CTSlice) -> int:
    """Return a number that identifies a slice; the frames of a file share its identifier."""
    name = ct.sop_instance_uid if ct.frame is None else f"{ct.sop_instance_uid}/{ct.frame}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
