"""CT series: sorted slices, spacing and affine, volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnError
from tomolearn.dicom.reading import CTSlice, read_listed
from tomolearn.dicom.skipping import SkippedFile
from tomolearn.dicom.slices import SeriesAttributes, SliceInfo
from tomolearn.dicom.stack_geometry import (
    IRREGULAR,
    Finding,
    FindingKind,
    affine_of,
    examine,
    sort,
    step_of,
)


@dataclass(frozen=True, eq=False)
class Volume:
    """The slices of a series in one array.

    Parameters
    ----------
    hounsfield : numpy.ndarray of float32, shape (slices, rows, columns)
        Hounsfield units; air where nothing was measured.
    padding : numpy.ndarray of bool, shape (slices, rows, columns)
        Where the files say that nothing was measured.
    affine : numpy.ndarray, shape (4, 4)
        From (slice, row, column, 1) to (x, y, z, 1), the patient's coordinates in mm: x to the
        left, y to the back, z to the head.
    """

    hounsfield: NDArray[np.float32]
    padding: NDArray[np.bool_]
    affine: NDArray[np.float64]


@dataclass(frozen=True)
class Series(SeriesAttributes):
    """A CT series without its pixels: attributes, slices and findings; small, and can be pickled.

    Parameters
    ----------
    uid, ..., kernel
        As in `SeriesAttributes`.
    slices : tuple of SliceInfo
        In the order of their positions along their normal.
    findings : tuple of Finding
        What is odd about it.
    lost : tuple of SkippedFile
        Files and frames that belong to it and cannot be used.
    """

    slices: tuple[SliceInfo, ...] = ()
    findings: tuple[Finding, ...] = ()
    lost: tuple[SkippedFile, ...] = ()

    def __len__(self) -> int:
        return len(self.slices)

    @property
    def n_lost(self) -> int:
        """Number of slices that it should have besides those that it has."""
        return sum(one.n_slices for one in self.lost)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances in mm of neighbouring slices along the normal, of rows and of columns.

        Raises
        ------
        ValueError
            If the series is no regular stack; the message has the findings.
        """
        self._check_regular()
        first = self.slices[0]
        normal = np.cross(first.orientation[:3], first.orientation[3:])
        distance = float(step_of(self.slices) @ normal / np.linalg.norm(normal))
        return distance, *first.spacing

    @property
    def affine(self) -> NDArray[np.float64]:
        """Matrix from (slice, row, column, 1) to the patient's (x, y, z, 1) in mm, shape (4, 4).

        Exact for stacks with a tilted gantry as well: their slices are not stacked along the
        normal.

        Raises
        ------
        ValueError
            If the series is no regular stack; the message has the findings.
        """
        self._check_regular()
        return affine_of(self.slices)

    def read(self, index: int, *, strict: bool = False) -> CTSlice:
        """Read one slice.

        Parameters
        ----------
        index : int
            Its place in `slices`.
        strict : bool
            Whether a deviation from the standard is an error instead of a warning.

        Raises
        ------
        IndexError
            If there is no such slice.
        OSError, ValueError
            As `read_slice`; also if the file holds another image than when the series was found.
        """
        return read_listed(self.slices[index], strict=strict)

    def volume(self, *, strict: bool = False) -> Volume:
        """Read all slices.

        Raises
        ------
        OSError
            If a file cannot be read.
        ValueError
            If the series is no regular stack, or a file is damaged.
        """
        affine = self.affine
        shape = (len(self), *self.slices[0].shape)
        hounsfield = np.empty(shape, dtype=np.float32)
        padding = np.empty(shape, dtype=bool)
        for index in range(len(self)):
            ct = self.read(index, strict=strict)
            hounsfield[index], padding[index] = ct.hounsfield, ct.padding
        return Volume(hounsfield, padding, affine)

    def _check_regular(self) -> None:
        reasons = [one for one in self.findings if one.kind in IRREGULAR]
        if reasons:
            raise TomolearnError(
                f"series {self.uid}: expected evenly spaced slices of one size and direction, got "
                + " ".join(f"{one.kind}: {one.detail}" for one in reasons)
            )


def make_series(slices: Sequence[SliceInfo], attributes: Sequence[SeriesAttributes]) -> Series:
    """Return the series of slices in any order, with the attributes of the first of its files."""
    shared: dict[SeriesAttributes | None, SeriesAttributes | None] = {}
    # what most slices have in common is sent to workers once
    ordered = sort(
        [
            replace(one, attributes=shared.setdefault(one.attributes, one.attributes))
            for one in slices
        ]
    )
    of_first = {field.name: getattr(attributes[0], field.name) for field in fields(attributes[0])}
    return Series(**of_first, slices=ordered, findings=examine(ordered, attributes))


def with_lost(series: Series, lost: Sequence[SkippedFile]) -> Series:
    """Return a series that has lost slices, more than it has lost before, and a finding."""
    if not lost:
        return series
    every = tuple(sorted((*series.lost, *lost), key=lambda one: (one.path, one.frame or 0)))
    first, n_lost = every[0], sum(one.n_slices for one in every)
    frame = "" if first.frame is None else f", frame {first.frame}"
    finding = Finding(
        FindingKind.LOST_SLICES,
        f"{n_lost} of {len(series) + n_lost} slices cannot be used, the first {first.path}{frame}: "
        f"{first.detail}",
    )
    others = [one for one in series.findings if one.kind is not FindingKind.LOST_SLICES]
    return replace(series, lost=every, findings=(finding, *others))
