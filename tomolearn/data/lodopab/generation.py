"""LoDoPaB-CT's files from a folder of LIDC-IDRI."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import alone, complete_files, write_bytes
from tomolearn._core.reading import read_json
from tomolearn.data.hdf5 import new_hdf5
from tomolearn.data.lidc.splits import SPLITS, PatientSplits
from tomolearn.data.lodopab.pairs import KINDS, SAMPLES_PER_FILE, file_name
from tomolearn.data.lodopab.recipe import Recipe
from tomolearn.data.lodopab.samples import (
    Progress,
    Sample,
    SampleList,
    selected,
    selection_settings,
)

_LIST = "samples.json"
_LOCK = ".lock"
# samples that are projected together
_BATCH = 4


def make_lodopab(
    root: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    splits: PatientSplits | None = None,
    every: int = 3,
    per_patient: int | None = None,
    series: Collection[str] | None = None,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: str | torch.device = "cpu",
    selecting: Progress | None = None,
    progress: Progress | None = None,
) -> SampleList:
    """Make files like those of LoDoPaB-CT from a folder of LIDC-IDRI.

    In `folder` appear ``{observation,ground_truth}_{train,validation,test}_{000}.hdf5`` with 128
    samples each, but for the last, ``patient_ids_rand_{train,validation,test}.csv`` with the
    number of each sample's patient, and ``samples.json`` with the slice behind each sample. The
    noise of a sample depends on the seed and its slice alone: a run that was stopped continues
    where it was and ends with the same files.

    Parameters
    ----------
    root, splits, every, per_patient, series, seed, recipe
        As for `select_samples`; the seed is that of the noise, too.
    folder, device : path-like, str or torch.device
        Where the files go, made if it is missing; where slices are projected. Files made on a GPU
        differ in the last digits.
    selecting, progress : callable, optional
        Told how many patients' folders have been looked through, and of how many; and how many
        samples are stored, and of how many.

    Raises
    ------
    OSError, ValueError
        If a slice can no longer be read, a file cannot be written or was made with other settings
        or elsewhere, a slice of a continued run is another by now, or as for `select_samples`.
    """
    root, folder = Path(root), Path(folder)
    recipe, splits = recipe or Recipe(), splits or PatientSplits(seed=seed)
    settings = selection_settings(root, splits, every, per_patient, series, seed, recipe)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with alone(folder / _LOCK, folder):
            samples = _known_samples(folder, settings)
            if samples is None:
                samples = selected(root, splits, recipe, settings, selecting)
                for split, numbers in _patient_numbers(samples, seed).items():
                    text = "".join(f"{n}\n" for n in numbers)
                    write_bytes(folder / f"patient_ids_rand_{split}.csv", text.encode())
                # the last of what a continued run takes for granted
                text = json.dumps(samples.to_dict(), indent=1) + "\n"
                write_bytes(folder / _LIST, text.encode())
            for leftover in folder.glob(".*.partial"):
                # of a run that was killed
                leftover.unlink(missing_ok=True)
            done = 0
            for split in SPLITS:
                for number, batch in enumerate(_batches(samples.samples[split], SAMPLES_PER_FILE)):
                    paths = {kind: folder / file_name(kind, split, number) for kind in KINDS}
                    if not all(path.exists() for path in paths.values()):
                        _write_file(root, paths, batch, recipe, seed, device)
                    done += len(batch)
                    if progress is not None:
                        progress(done, len(samples))
    finally:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
    return samples


def _known_samples(folder: Path, settings: Mapping[str, Any]) -> SampleList | None:
    """Return the list of a run that is to be continued; None if there was none."""
    path = folder / _LIST
    if not path.exists():
        if any(folder.glob("*.hdf5")):
            raise TomolearnError(f"{folder}: expected no HDF5 files without {_LIST}, got some")
        return None
    values = read_json(path)
    try:
        known = SampleList.from_dict(values)
    except (AttributeError, KeyError, TypeError) as error:
        raise TomolearnError(f"{path}: expected a list of samples, got {error!r}") from error
    if known.settings != settings:
        before, now = known.settings.get("root"), settings["root"]
        if known.settings == {**settings, "root": before} and before is not None:
            raise TomolearnError(
                f"{folder}: expected files made of {now}, got some of {before}; choose another "
                f"folder, or, if the tree was moved, write its new place as root into {path}"
            )
        others = ", ".join(k for k in settings if known.settings.get(k) != settings[k])
        found = f"some with another {others}; choose another folder"
        raise TomolearnError(f"{folder}: expected files made with the same settings, got {found}")
    return known


def _patient_numbers(samples: SampleList, seed: int) -> dict[str, list[int]]:
    """Return the number of each sample's patient: random, those of a split after another's."""
    numbers: dict[str, list[int]] = {}
    first = 0
    for place, split in enumerate(SPLITS):
        patients = samples.patients(split)
        order = np.random.default_rng((seed, place, 1)).permutation(len(patients))
        number = {patient: first + int(k) for patient, k in zip(patients, order, strict=True)}
        numbers[split] = [number[sample.patient] for sample in samples.samples[split]]
        first += len(patients)
    return numbers


def _write_file(
    root: Path,
    paths: Mapping[str, Path],
    samples: tuple[Sample, ...],
    recipe: Recipe,
    seed: int,
    device: str | torch.device,
) -> None:
    shapes = {"observation": recipe.scan.shape, "ground_truth": recipe.grid.shape}
    with (
        complete_files(paths["ground_truth"], paths["observation"]) as (second, first),
        new_hdf5(first) as observations,
        new_hdf5(second) as images,
    ):
        for place, pair in enumerate(_simulated(root, samples, recipe, seed, device)):
            for kind, made, values in zip(KINDS, (observations, images), pair, strict=True):
                with made.step() as file:
                    if place == 0:
                        shape = (len(samples), *shapes[kind])
                        file.create_dataset("data", shape, np.float32, chunks=(1, *shape[1:]))
                    file["data"][place] = values


def _simulated(
    root: Path,
    samples: tuple[Sample, ...],
    recipe: Recipe,
    seed: int,
    device: str | torch.device,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    from tomolearn.dicom import read_slice

    for batch in _batches(samples, _BATCH):
        images, noise = [], []
        for sample in batch:
            read = read_slice(root / sample.path, frame=sample.frame)
            if read.sop_instance_uid != sample.sop_instance_uid:
                path, expected = root / sample.path, f"{sample.sop_instance_uid} of {_LIST}"
                found = read.sop_instance_uid
                raise TomolearnError(f"{path}: expected the slice {expected}, got {found}")
            # the images of one file have one UID
            frame = "" if sample.frame is None else f".{sample.frame}"
            streams = recipe.streams(seed, sample.sop_instance_uid + frame)
            images.append(recipe.image(read.hounsfield, streams.image, padding=read.padding))
            noise.append(streams.noise)
        yield from zip(recipe.observations(images, noise, device=device), images, strict=True)


def _batches(samples: Iterable[Sample], n: int) -> Iterator[tuple[Sample, ...]]:
    rest = iter(samples)
    while batch := tuple(islice(rest, n)):
        yield batch
