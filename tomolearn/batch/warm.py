"""Loads all that a worker needs for its first slice, when it is imported.

For the process that workers are copies of, see `_core.forkserver`: libraries that are imported when
first needed, and compiled kernels from the disk, are then there once and for all of them.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from tomolearn.batch.agreement import compare
from tomolearn.batch.processing import process
from tomolearn.batch.settings import BatchSettings, SimulatedScan
from tomolearn.batch.thumbnails import write_thumbnail
from tomolearn.dicom import CTSlice

__all__: list[str] = []


def _process_a_slice() -> None:
    # every worker has one core; a pool of threads would not survive the fork
    torch.set_num_threads(1)
    hounsfield = np.zeros((8, 8), np.float32)
    ct = CTSlice(hounsfield, (40.0, 40.0), hounsfield < 0)
    (image,) = process([ct], BatchSettings("fbp", {}, SimulatedScan(views=8)))
    compare(image, ct.hounsfield, ct.padding)
    with tempfile.TemporaryDirectory() as folder:
        write_thumbnail(Path(folder, "thumbnail.png"), ct, image)


# Whatever is wrong here is met again, and reported, by the slices themselves.
with suppress(Exception):
    _process_a_slice()
