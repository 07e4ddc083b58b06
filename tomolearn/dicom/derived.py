"""Derived CT series: new pixels in the geometry and with the patient of another series."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tomolearn._core.errors import TomolearnTypeError
from tomolearn.dicom.deidentification import Deidentification
from tomolearn.dicom.derivation import Derivation
from tomolearn.dicom.derived_slice import DerivedSlice
from tomolearn.dicom.dimensions import TEMPORAL_POSITION
from tomolearn.dicom.elements import LARGEST_INTEGER
from tomolearn.dicom.phases import values_of
from tomolearn.dicom.series import Series
from tomolearn.dicom.slices import SliceInfo
from tomolearn.dicom.stack_geometry import stacks_of
from tomolearn.dicom.uids import derived_uid


class DerivedSeries:
    """A CT series with the geometry and the patient of another one, and pixels of its own.

    It is the sequence of its slices, one for each slice of the source, classic or enhanced:
    ``derived[k].write(hounsfield, path)`` makes a file of the class CT Image Storage in explicit VR
    little endian. Identifiers are made from those of the source and from the derivation, and no
    file has the time of its writing: the same series derived again gives the same bytes.

    Taken over from the source, byte by byte, are patient, study, equipment, acquisition, geometry
    and display window; not taken over are private elements, overlays, signatures, thumbnails and
    references without target, see `tomolearn.dicom.element_copy`. Images are numbered as in the
    source if each slice has a number of its own, and phases, energies or acquisitions that share
    places follow each other; else they count along the normal, phase by phase.

    Parameters
    ----------
    source : Series
        Of whose slices the new ones are made.
    derivation : Derivation
        How they are made.
    deidentify : Deidentification, optional
        Removes the patient's identity.

    Attributes
    ----------
    uid : str
        SeriesInstanceUID of the new series.
    study_uid : str
        StudyInstanceUID of the new series: the source's, unless identities are removed.

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
        self.source, self.derivation, self.deidentify = source, derivation, deidentify
        # not the series' own identifier alone: patients and studies may share it by mistake
        self._made = derived_uid(
            "series",
            source.patient_id,
            source.study_uid,
            source.uid,
            derivation.to_dict(),
            None if deidentify is None else deidentify.patient_id,
            *([source.identity.person] if source.identity.disputed else ()),
        )
        self._study = source.study_uid or derived_uid("StudyInstanceUID", source.uid)
        self._identity = replace(source.identity, study_uid=self._study)
        replaced = str if deidentify is None else deidentify.uid
        self.uid, self.study_uid = replaced(self._made), replaced(self._study)
        number = 1000 * max(0, source.series_number or 0) + derivation.number
        self._number = number if number <= LARGEST_INTEGER else derivation.number
        numbers = {one.instance_number for one in source.slices}
        self._renumber = (
            len(numbers) < len(source)
            or not all(number is not None and abs(number) <= LARGEST_INTEGER for number in numbers)
            or not _in_turn(stacks_of(source.slices).stacks)
        )
        self._positions = len(values_of(source.slices, TEMPORAL_POSITION))

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[DerivedSlice]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> DerivedSlice:
        place = range(len(self))[index]
        one = self.source.slices[place]
        own = None if self._renumber else one.instance_number
        return DerivedSlice(
            one,
            self._identity,
            self._made,
            self._number,
            place + 1 if own is None else own,
            self.derivation,
            self.deidentify,
            self._positions,
        )


def _in_turn(stacks: Sequence[Sequence[SliceInfo]]) -> bool:
    """Return whether the numbers of each stack are above those of the one before."""
    numbers = [[one.instance_number or 0 for one in stack] for stack in stacks]
    return all(max(one) < min(other) for one, other in itertools.pairwise(numbers))


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TomolearnTypeError(f"{name}: expected a {kind.__name__}, got {type(value).__name__}")
