"""HDF5 file of a cache of slices."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file
from tomolearn._core.reading import parse_json
from tomolearn.data.hdf5 import HDF5Maker, new_hdf5
from tomolearn.data.lidc.slices import FORMAT
from tomolearn.data.lidc.splits import SPLITS

# what each slice has besides its pixels
_TEXTS = ("part", "patient", "series", "sop_instance_uid")
_NUMBERS = {"z": (), "spacing": (2,)}


def create(file: Any, n: int, size: int, *, nodules: bool) -> None:
    """Make the data sets of a cache of `n` slices, which may grow."""
    import h5py

    images = {"hounsfield": np.int16} | ({"nodules": np.uint8} if nodules else {})
    for name, kind in images.items():
        shapes = {"maxshape": (None, size, size), "chunks": (1, size, size)}
        packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        file.create_dataset(name, (n, size, size), kind, **shapes, **packing)
    for name in _TEXTS:
        file.create_dataset(name, (n,), h5py.string_dtype(), maxshape=(None,))
    for name, shape in _NUMBERS.items():
        file.create_dataset(name, (n, *shape), np.float64, maxshape=(None, *shape))


def append(file: Any, values: dict[str, Any]) -> None:
    """Add a slice: a value for each data set, by name."""
    n = len(file["z"])
    resize(file, n + 1)
    for name, value in values.items():
        file[name][n] = value


def resize(file: Any, n: int) -> None:
    """Let a cache have `n` slices."""
    for data in file.values():
        data.resize(n, axis=0)


def attribute(path: Path, name: str) -> Any:
    """Return what a file has as JSON in an attribute; None if there is none, or no such file."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return parse_json(name, str(file.attrs[name]))
    except (OSError, KeyError, TomolearnError):
        return None


def join(
    files: list[Path], path: Path, settings: dict[str, Any], size: int, *, nodules: bool
) -> tuple[dict[str, int], dict[str, int]]:
    """Join caches to one, in their order; return numbers of slices, and of patients, by split.

    Each is removed when it has been copied, so that there is never room needed for all of it twice;
    what is lost if the run is stopped meanwhile is made again.
    """
    import h5py

    n_slices: Counter[str] = Counter()
    patients: dict[str, set[str]] = {}
    with complete_file(path) as stream, new_hdf5(stream) as made:
        file_sizes = [attribute(one, "notes")["n_slices"] for one in files]
        with made.step() as target:
            create(target, sum(file_sizes), size, nodules=nodules)
        begin = 0
        for one, n in zip(files, file_sizes, strict=True):
            with h5py.File(one, "r") as source:
                _copy(source, made, begin, n)
                splits = source["part"].asstr()[()].tolist()
                n_slices.update(splits)
                for split, patient in zip(splits, source["patient"].asstr()[()], strict=True):
                    patients.setdefault(split, set()).add(patient)
            one.unlink()
            begin += n
        with made.step() as target:
            target.attrs["format"] = FORMAT
            target.attrs["settings"] = json.dumps(settings)
    splits = sorted(n_slices, key=lambda split: (*SPLITS, split).index(split))
    n_patients = {split: len(patients[split]) for split in splits}
    return {split: n_slices[split] for split in splits}, n_patients


def _copy(source: Any, made: HDF5Maker, begin: int, n: int) -> None:
    if not n:
        return
    for name, data in source.items():
        if data.ndim == 3:
            # as they are: compressed already
            for k in range(n):
                skipped, chunk = data.id.read_direct_chunk((k, 0, 0))
                with made.step() as target:
                    target[name].id.write_direct_chunk((begin + k, 0, 0), chunk, skipped)
        else:
            with made.step() as target:
                target[name][begin : begin + n] = data[()]
