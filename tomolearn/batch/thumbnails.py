"""Thumbnails for the summary: source and result side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.files import complete_file
from tomolearn.dicom import CTSlice

_WINDOW = (-1000.0, 600.0)
_SIZE = 160


def write_thumbnail(path: Path, source: CTSlice, image: NDArray[np.float32]) -> None:
    """Write a PNG of source (left) and result in Hounsfield units (right), lung window to bone."""
    from PIL import Image

    low, high = _WINDOW
    rows, columns = (n * mm for n, mm in zip(image.shape, source.spacing, strict=True))
    scale = _SIZE / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    sheet = Image.new("L", (2 * size[0] + 2, size[1]))
    for left, values in ((0, source.hounsfield), (size[0] + 2, image)):
        grey = (255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)
        sheet.paste(Image.fromarray(grey).resize(size, Image.Resampling.BOX), (left, 0))
    with complete_file(path) as stream:
        sheet.save(stream, format="PNG")
