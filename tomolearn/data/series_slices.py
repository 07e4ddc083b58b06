"""Slices of CT series in a folder, as LoDoPaB-CT makes images of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import resolved
from tomolearn.data.lodopab.recipe import Recipe


class SeriesSlices:
    """Middle 362 x 362 pixels of all slices of all CT series below a folder, series by series.

    Parameters
    ----------
    path : path
        The folder.

    Raises
    ------
    ValueError
        If there is no CT series, or an image of another shape is asked for.
    """

    def __init__(self, path: Path) -> None:
        from tomolearn.dicom import find_series

        self.path, self._recipe = path, Recipe()
        found = find_series(path)
        self._slices = [info for series in found.series for info in series.slices]
        if not self._slices:
            raise TomolearnError(f"{path}: expected CT series as DICOM files, got none")

    def __len__(self) -> int:
        return len(self._slices)

    def image(
        self, index: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return one image; `rng` draws what is below a Hounsfield unit."""
        from tomolearn.dicom import read_slice

        info = self._slices[index]
        # units were judged when the series was found
        read = read_slice(info.path, frame=info.frame or 0, assume_hu=True)
        if tuple(shape) != (self._recipe.size,) * 2:
            raise TomolearnError(
                f"shape: expected {(self._recipe.size,) * 2}, as LoDoPaB-CT has, got {shape}"
            )
        return self._recipe.image(read.hounsfield, rng, padding=read.padding)

    def to_dict(self) -> dict[str, Any]:
        """Return kind and folder, ready for JSON."""
        return {"type": type(self).__name__, "folder": str(resolved(self.path))}
