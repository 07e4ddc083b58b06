"""Preloading of all that a worker needs for its first slice, on import.

For the process that workers are forked from, see `forkserver`: libraries that are imported when
first needed, and compiled kernels from the disk, are then there once and for all of them.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from tomolearn.batch.image_errors import measure_errors
from tomolearn.batch.processing import process
from tomolearn.batch.settings import BatchSettings
from tomolearn.batch.thumbnails import write_thumbnail
from tomolearn.batch.work import run_chunk as run_chunk
from tomolearn.batch.worker import run_on_worker as run_on_worker
from tomolearn.dicom import CTSlice
from tomolearn.simulation import Acquisition, CoveringScan


def _process_a_slice() -> None:
    # every worker has one core; a pool of threads would not survive the fork
    torch.set_num_threads(1)
    hounsfield = np.zeros((8, 8), np.float32)
    ct = CTSlice(hounsfield, (40.0, 40.0), hounsfield < 0)
    (image,) = process([ct], BatchSettings(acquisition=Acquisition(CoveringScan(views=8))))
    measure_errors(image, ct.hounsfield, ct.padding)
    with tempfile.TemporaryDirectory() as folder:
        write_thumbnail(Path(folder, "thumbnail.png"), ct, image)


# Whatever is wrong here is met again, and reported, by the slices themselves.
with suppress(Exception):
    _process_a_slice()
