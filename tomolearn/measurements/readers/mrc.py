"""Tilt series of electron tomography: MRC, with the tilt angles in .rawtlt or .tlt beside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tomolearn._core.errors import TomolearnError
from tomolearn.measurements.readers.angles import read_angles
from tomolearn.measurements.readers.frames import frames_of
from tomolearn.measurements.readers.packages import needed
from tomolearn.measurements.readers.reader import Reader
from tomolearn.measurements.readers.recording import Recording, noted

_MM = 1e-7  # of an angstrom
_ANGLES = (".rawtlt", ".tlt")


@contextmanager
def _opened(path: Path) -> Iterator[Recording]:
    mrcfile = needed("mrcfile", "reading MRC")
    with path.open("rb"):  # Python's own error names the file
        pass
    try:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
            # permissive: names of machines and of versions are often wrong, sizes are checked
            file = mrcfile.mmap(path, mode="r", permissive=True)
    except (ValueError, OSError) as error:
        raise TomolearnError(f"{path}: expected a complete file of MRC, got {error}") from error
    with file:
        if file.data is None or file.data.ndim != 3:
            shape = None if file.data is None else file.data.shape
            raise TomolearnError(
                f"{path}: expected a complete stack of views, (views, rows, columns), got {shape}"
            )
        # views are the sections, whose spacing is none of the detector
        rows, columns = float(file.voxel_size.y) * _MM, float(file.voxel_size.x) * _MM
        beside = next((one for end in _ANGLES if (one := path.with_suffix(end)).is_file()), None)
        integers = file.data.dtype.kind in "iu"
        yield Recording(
            frames_of(file.data, str(path)),
            is_counts=integers or None,
            angles=None if beside is None else read_angles(beside, "degree"),
            detector_spacing=(rows, columns) if rows > 0 and columns > 0 else None,
            notes={
                "format": "mrc",
                "angles": None if beside is None else beside.name,
                "labels": [noted(label) for label in file.get_labels()],
            },
        )


READER = Reader((".mrc", ".st", ".ali"), _opened)
