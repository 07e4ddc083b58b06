"""Tasks made of a folder of images and a scan: own data without a line of Python."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import resolved
from tomolearn._core.reading import read_json
from tomolearn.data.images import FoundImages, ImageFile, ImageFolder, find_images
from tomolearn.geometry import Grid, load_geometry
from tomolearn.methods import FBP, method_from_dict
from tomolearn.metrics import MetricConvention
from tomolearn.simulation import Acquisition, GaussianNoise, PhotonNoise, Refinement
from tomolearn.simulation.noise import Noise
from tomolearn.tasks.task import Split, Task

TASK_FILE = "task.json"
"""What a training leaves of such a task."""
_FORMAT = "tomolearn task of a folder"
_SPLITS = ("train", "validation", "test")
_PART = 0.1  # of the groups, for validation and for testing
_SAME_SPACING = 1e-3  # relative: DICOM has decimal strings, people round them


class SkippedImagesWarning(UserWarning):
    """Files of a folder are no images, or damaged, and were left out."""


def folder_task(
    folder: str | os.PathLike[str],
    scan: str | os.PathLike[str],
    *,
    photons: float | None = None,
    noise: float | None = None,
    attenuation: float | None = None,
    image_scale: float | None = None,
    resize: bool = False,
    split_by: str | None = None,
    refinement: int = 2,
    seed: int = 0,
) -> Task:
    """Make a task of the images in a folder, for training and for comparisons.

    A tenth of the patients, folders or files is for validation, a tenth for testing, at least one
    of each; hash values of their names and `seed` choose them. All images are read once.

    Parameters
    ----------
    folder, scan : path-like
        Arrays (rows, columns) or (n, rows, columns), pictures or CT series as DICOM files; and a
        file of grid and scan, see `geometry.save_geometry`.
    photons, noise : float, optional
        Photons per detector element, or the standard deviation of Gaussian noise in multiples of
        each sinogram's mean. Default: no noise.
    attenuation : float, optional
        What an image value of one stands for, in 1/mm. `photons` needs it, unless the images are
        DICOM files.
    image_scale : float, optional
        What stored values, or for DICOM attenuation in 1/mm, are multiplied by. Default: one;
        images of integers have none.
    resize : bool
        Whether images of another shape, or size of pixels, are stretched to the grid.
    split_by : {"patient", "folder", "file"}, optional
        What no split tears apart. Default: patients of DICOM files, or else files.
    refinement, seed : int
        Sinograms are simulated on interpolated pixels so much finer than the images'; the seed is
        that of splits and noise.

    Raises
    ------
    OSError, ValueError
        If folder or file are not there; if there are no images, or too few of one kind to split; if
        they do not suit the grid; if an argument is out of range or missing.

    Warns
    -----
    SkippedImagesWarning
        If files are no images, or damaged; it names the first few.
    """
    grid, geometry = load_geometry(scan)
    if grid.ndim != 2:
        raise TomolearnError(f"{scan}: expected a grid of two dimensions, got {grid}")
    check_int("refinement", refinement, minimum=1)
    found = find_images(Path(folder), scale=image_scale, split_by=split_by)
    if found.skipped:
        warnings.warn(f"{folder}: {found.skipped_in_words}", SkippedImagesWarning, stacklevel=2)
    if not resize:
        _check_fit(found, grid, scan)
    check_int("seed", seed, minimum=0)
    parts = split_groups((file.group for file in found.files), seed=seed)
    sources = {}
    for name, groups in parts.items():
        files = tuple(file for file in found.files if file.group in groups)
        sources[name] = ImageFolder(found.folder, files, image_scale, resize, seed)
    counts = ", ".join(f"{len(parts[name])} for {name}" for name in _SPLITS)
    low, high = found.values
    if low == high:
        raise TomolearnError(f"{folder}: expected images of more than one value, all are {low:g}")
    return Task(
        name=resolved(found.folder).name,
        description=f"{found}; split by {found.split_by}: {counts}",
        reference="images of your own",
        grid=grid,
        acquisition=Acquisition(
            geometry,
            _noise(photons, noise, attenuation, image_scale, is_dicom=found.is_dicom),
            Refinement("linear", refinement) if refinement > 1 else None,
        ),
        convention=MetricConvention(
            "range of all images", psnr_range=high - low, ssim_range=high - low
        ),
        splits={
            name: Split(source, seed=3 * seed + k, size=len(source))
            for k, (name, source) in enumerate(sources.items())
        },
        baselines={"fbp": FBP(filter="hann")},
    )


def split_groups(groups: Iterable[str], *, seed: int = 0) -> dict[str, frozenset[str]]:
    """Divide patients, folders or files by hash values of the seed and their names alone."""
    ordered = sorted(
        set(groups), key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest()
    )
    if len(ordered) < len(_SPLITS):
        raise TomolearnError(
            "split_by: expected at least three to divide among training, validation and test, "
            f"got {len(ordered)}: {', '.join(ordered)}"
        )
    n = max(1, round(_PART * len(ordered)))
    parts = ordered[2 * n :], ordered[n : 2 * n], ordered[:n]
    return dict(zip(_SPLITS, map(frozenset, parts), strict=True))


def _noise(
    photons: float | None,
    noise: float | None,
    attenuation: float | None,
    scale: float | None,
    *,
    is_dicom: bool,
) -> Noise | None:
    if photons is not None and noise is not None:
        raise TomolearnError(f"photons, noise: expected one of the two, got {photons} and {noise}")
    if attenuation is not None and (is_dicom or photons is None):
        what = "DICOM files have their own" if is_dicom else "without photons"
        raise TomolearnError(f"attenuation: expected none, {what}, got {attenuation}")
    if photons is None:
        return None if noise is None else GaussianNoise(noise)
    if is_dicom:
        attenuation = 1.0 if scale is None else 1.0 / scale
    if attenuation is None:
        raise TomolearnError(
            "attenuation: expected what an image value of one stands for in 1/mm, since photons "
            "are absorbed by it (1 if the images are in 1/mm; water has 0.02), got none"
        )
    return PhotonNoise(photons, attenuation)


def _check_fit(found: FoundImages, grid: Grid, scan: str | os.PathLike[str]) -> None:
    shapes = [file for file in found.files if file.shape[1:] != grid.shape]
    if shapes:
        raise TomolearnError(
            f"{found.folder}: expected images of {_by(grid.shape)} pixels, as {scan} has them, got "
            f"{len(shapes)} of {len(found.files)} files with others, {shapes[0].name} with "
            f"{_by(shapes[0].shape[1:])}; resize stretches them to the grid"
        )
    sizes = [file for file in found.files if not _same_spacing(file, grid)]
    if sizes:
        raise TomolearnError(
            f"{found.folder}: expected pixels of {_by(grid.spacing)} mm, as {scan} has them, got "
            f"{len(sizes)} of {len(found.files)} files with others, {sizes[0].name} with "
            f"{_by(sizes[0].spacing or ())} mm; resize takes them as if they had the grid's"
        )


def _same_spacing(file: ImageFile, grid: Grid) -> bool:
    return file.spacing is None or np.allclose(
        file.spacing, grid.spacing, rtol=_SAME_SPACING, atol=0
    )


def _by(numbers: Iterable[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)


def is_folder_task(task: Task) -> bool:
    """Return whether `task_json` can write a task down: all its images lie in a folder."""
    return all(isinstance(split.source, ImageFolder) for split in task.splits.values())


def task_json(task: Task) -> str:
    """Return a task of a folder as JSON, which `read_task` reads.

    Splits are written down file by file: they stay what they are when the folder grows.
    """
    values = {"format": _FORMAT, **task.to_dict(), "convention": asdict(task.convention)}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def read_task(path: str | os.PathLike[str]) -> Task:
    """Read a task from the ``task.json`` of a training, or from the training's folder."""
    file = Path(path)
    if file.is_dir():
        file /= TASK_FILE
    values = read_json(file, "a task of a folder")
    try:
        if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
            raise TomolearnError("expected a task that a training of a folder wrote")
        return _task(values)
    except (AttributeError, KeyError, TypeError) as error:
        raise TomolearnError(f"{file}: expected a task of a folder, {error}") from error
    except TomolearnError as error:
        raise TomolearnError(f"{file}: {error}") from error


def _task(values: Mapping[str, Any]) -> Task:
    fields = {
        "grid": Grid.from_dict(values["grid"]),
        "acquisition": Acquisition.from_dict(values["acquisition"]),
        "convention": MetricConvention(**values["convention"]),
        "splits": {
            name: Split(**{**split, "source": ImageFolder.from_dict(split["source"])})
            for name, split in values["splits"].items()
        },
        "baselines": {name: method_from_dict(one) for name, one in values["baselines"].items()},
    }
    return Task(**{**values, **fields})
