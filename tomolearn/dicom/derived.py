"""A CT series made from another one, as files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.errors import TomolearnTypeError
from tomolearn.dicom.deidentification import Deidentification
from tomolearn.dicom.derivation import Derivation
from tomolearn.dicom.derived_slice import LARGEST_INTEGER, DerivedSlice
from tomolearn.dicom.series import Series
from tomolearn.dicom.uids import derived_uid

__all__ = ["DerivedSeries"]


class DerivedSeries:
    """A CT series with the geometry and the patient of another one, and pixels of its own.

    Its files are of the class CT Image Storage in explicit VR little endian, one for each slice of
    the source, classic or enhanced. Identifiers are made from those of the source and from the
    derivation, and no file has the time of its writing: the same series derived again gives the
    same bytes.

    Taken over from the source, byte by byte, are patient, study, equipment, acquisition, geometry
    and display window; not taken over are private elements, overlays, signatures, thumbnails and
    references without target, see `tomolearn.dicom.element_copy`. Images are numbered as in the
    source if each slice has a number of its own, else they count along the normal.

    Parameters
    ----------
    source : Series
        Of whose slices the new ones are made.
    derivation : Derivation
        How they are made.
    deidentify : Deidentification, optional
        Removes the patient's identity.

    Raises
    ------
    TypeError
        If an argument is of another type.
    """

    def __init__(
        self,
        source: Series,
        derivation: Derivation,
        *,
        deidentify: Deidentification | None = None,
    ) -> None:
        _check_type("source", source, Series)
        _check_type("derivation", derivation, Derivation)
        if deidentify is not None:
            _check_type("deidentify", deidentify, Deidentification)
        self.source = source
        self.derivation = derivation
        self.deidentify = deidentify
        # not the series' own identifier alone: patients and studies may share it by mistake
        self._made = derived_uid(
            "series",
            source.patient_id,
            source.study_uid,
            source.uid,
            derivation.to_dict(),
            None if deidentify is None else deidentify.patient_id,
        )
        self._study = source.study_uid or derived_uid("StudyInstanceUID", source.uid)
        numbers = {one.instance_number for one in source.slices}
        self._renumber = len(numbers) < len(source) or not all(
            number is not None and abs(number) <= LARGEST_INTEGER for number in numbers
        )

    def __len__(self) -> int:
        return len(self.source)

    @property
    def uid(self) -> str:
        """SeriesInstanceUID of the new series."""
        return self._replaced(self._made)

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID of the new series: the source's, unless identities are removed."""
        return self._replaced(self._study)

    def sop_instance_uid(self, index: int) -> str:
        """SOPInstanceUID of the slice that is made from slice `index` of the source."""
        return self.slice(index).sop_instance_uid

    def slice(self, index: int) -> DerivedSlice:
        """Return the slice that is made from slice `index` of the source.

        Raises
        ------
        IndexError
            If the source has no such slice.
        """
        one = self.source.slices[index]
        number = 1000 * max(0, self.source.series_number or 0) + self.derivation.number
        own = None if self._renumber else one.instance_number
        return DerivedSlice(
            one,
            self.source.patient_id,
            self._study,
            self._made,
            number if number <= LARGEST_INTEGER else self.derivation.number,
            index + 1 if own is None else own,
            self.derivation,
            self.deidentify,
        )

    def write(
        self,
        index: int,
        hounsfield: NDArray[Any],
        path: str | os.PathLike[str],
        *,
        padding: NDArray[np.bool_] | None = None,
    ) -> int:
        """Write one slice; the file appears under its name when it is complete.

        Parameters
        ----------
        index : int
            From which slice of the source it was made.
        hounsfield : numpy.ndarray, shape (rows, columns)
            Hounsfield units, rounded to whole ones.
        path : path
            The file; one that is there is replaced.
        padding : numpy.ndarray of bool, shape (rows, columns), optional
            Where nothing was measured. There the file has its PixelPaddingValue, whatever
            `hounsfield` is.

        Returns
        -------
        int
            How many pixels outside `padding` were beyond `HOUNSFIELD_RANGE` and were clipped.

        Raises
        ------
        IndexError
            If the source has no such slice.
        OSError
            If the source cannot be read or the file not be written.
        TypeError
            If an array is none.
        ValueError
            If an array has another shape than the source's slice, or values that are not finite,
            if the source is damaged, or another file than when the series was found. The message
            names the argument, or file and tag.
        """
        return self.slice(index).write(hounsfield, path, padding=padding)

    def _replaced(self, uid: str) -> str:
        return uid if self.deidentify is None else self.deidentify.uid(uid)


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TomolearnTypeError(f"{name}: expected a {kind.__name__}, got {type(value).__name__}")
