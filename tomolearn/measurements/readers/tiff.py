"""TIFF: a folder of views, a file of many, or a sinogram as one picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tomolearn.measurements.readers.pictures import SUFFIXES, frames_in
from tomolearn.measurements.readers.reader import Reader
from tomolearn.measurements.readers.recording import Recording


@contextmanager
def _opened(path: Path) -> Iterator[Recording]:
    frames = frames_in(path)
    integers = frames.dtype.kind in "iu"
    yield Recording(frames, is_counts=integers or None, notes={"format": "tiff"})


READER = Reader(SUFFIXES, _opened)
