"""Search for CT series in a tree of files, and the index of what was found."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from pydicom.tag import Tag

from tomolearn.dicom.headers import header_of
from tomolearn.dicom.identity import (
    IDENTITY_KEYWORDS,
    Identity,
    differing_elements,
    identity_groups,
)
from tomolearn.dicom.opening import opened
from tomolearn.dicom.pixels import check_unit, pixels_of
from tomolearn.dicom.series import Series, make_series
from tomolearn.dicom.skipping import NotASlice, SkipReason
from tomolearn.dicom.slices import SeriesAttributes, SliceInfo, series_attributes, slices_of
from tomolearn.dicom.stack_geometry import Finding, FindingKind

_TAGS: Final = tuple(
    Tag(keyword)
    for keyword in (
        "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Manufacturer",
        "StudyDescription", "SeriesDescription", "ManufacturerModelName", *IDENTITY_KEYWORDS,
        "BodyPartExamined", "SliceThickness", "GantryDetectorTilt", "ConvolutionKernel",
        "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
        "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID",
        "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns",
        "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "RescaleType",
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    )
)  # fmt: skip
_File = tuple[tuple[SliceInfo, ...], SeriesAttributes]
# A file that ends too soon may have lost any of these; one without geometry alone has not ended.
_LOST: Final = {
    SkipReason.DAMAGED, SkipReason.UNREADABLE, SkipReason.NO_IMAGE, SkipReason.NO_IDENTIFIER,
    SkipReason.CONFLICT,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file or folder that belongs to no series.

    Parameters
    ----------
    path : pathlib.Path
        Which one.
    reason : SkipReason
        Why, in a word.
    detail : str
        Why, in a sentence with tag and value.
    """

    path: Path
    reason: SkipReason
    detail: str


@dataclass(frozen=True)
class SeriesIndex:
    """Series and skipped files of a tree, as `find_series` returns them.

    Parameters
    ----------
    root : pathlib.Path
        Where it looked.
    series : tuple of Series
        In the order of patient, study, series number and identifier.
    skipped : tuple of SkippedFile
        Files in no series, in the order of their paths.
    n_files : int
        Number of files looked at.
    """

    root: Path
    series: tuple[Series, ...]
    skipped: tuple[SkippedFile, ...]
    n_files: int

    @property
    def lost(self) -> tuple[SkippedFile, ...]:
        """Skipped files that may have been slices: they belong to no series, and should."""
        return tuple(one for one in self.skipped if one.reason in _LOST)

    @property
    def counts(self) -> dict[str, int]:
        """Number of skipped files by reason, the most frequent first."""
        counts = Counter(str(one.reason) for one in self.skipped)
        return dict(counts.most_common())


def find_series(
    root: str | os.PathLike[str],
    *,
    without: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SeriesIndex:
    """Find the CT series in a tree of files.

    Only headers are read. Files are told by their contents, never by their names. Links are
    followed, and each folder is entered once, whatever links lead to it. A series is what has one
    SeriesInstanceUID, one patient and one study. Patients are told apart by PatientID and who gave
    it, name, date of birth and sex; a file that does not state all of them is of the patient of
    the others, if these agree among each other and with it. Of several files of a series with one
    SOPInstanceUID the first in the order of paths is kept, of those that state most of patient and
    study; whether the others are copies is judged by their headers.

    Parameters
    ----------
    root : path
        A folder, or a single file.
    without : path, optional
        A folder that is skipped, by whatever link it or something in it is reached.
    progress : callable, optional
        Called as ``progress(done, total)`` after each file.

    Returns
    -------
    SeriesIndex
        Every file is either in one of its series or skipped with a reason.

    Raises
    ------
    OSError
        If `root` does not exist or cannot be listed. Anything below it that cannot be read is
        skipped.
    """
    root = Path(root)
    skipped: list[SkippedFile] = []
    if not stat.S_ISDIR(os.stat(root).st_mode):
        files = [root]
    else:
        os.scandir(root).close()
        files, skipped = _files(root, None if without is None else Path(without).resolve())
    found: dict[str, list[_File]] = {}
    for done, path in enumerate(files, start=1):
        try:
            file = _read(path)
        except NotASlice as error:
            skipped.append(SkippedFile(path, error.reason, error.detail))
        except OSError as error:
            skipped.append(SkippedFile(path, SkipReason.UNREADABLE, str(error)))
        else:
            found.setdefault(file[1].uid, []).append(file)
        if progress is not None:
            progress(done, len(files))
    series: list[Series] = []
    for alike in found.values():
        divided, repeated = _divided(alike)
        series += divided
        skipped += repeated
    series.sort(key=lambda s: (s.patient_id, s.study_uid, s.series_number or 0, s.uid))
    skipped.sort(key=lambda one: one.path)
    return SeriesIndex(root, tuple(series), tuple(skipped), len(files))


def _read(path: Path) -> _File:
    with opened(path) as stream:
        try:
            header = header_of(stream, _TAGS)
            pixels = pixels_of(header)
            slices = slices_of(header, pixels, path)
            for one in slices:
                check_unit(header, one.frame or 0)
            return slices, series_attributes(header)
        except NotASlice:
            raise
        except ValueError as error:  # an element that names and identifiers are read from
            raise NotASlice(SkipReason.DAMAGED, error) from error


def _divided(files: Sequence[_File]) -> tuple[list[Series], list[SkippedFile]]:
    """Return the series of files with one SeriesInstanceUID, which several may share.

    Files with the SOPInstanceUID of an earlier one in their series are skipped.
    """
    stating: dict[Identity, list[_File]] = {}
    for file in files:
        stating.setdefault(file[1].identity, []).append(file)
    groups = identity_groups(stating)
    series, skipped = [], []
    for identity, members in groups:
        group = [file for one in members for file in stating[one]]
        # what states most has the first word
        group.sort(key=lambda file: (-file[1].identity.n_stated, file[0][0].path))
        first: dict[str, _File] = {}
        for file in group:
            earlier = first.setdefault(file[0][0].sop_instance_uid, file)
            if earlier is not file:
                skipped.append(_repeated(file, earlier))
        slices = [one for kept in first.values() for one in kept[0]]
        series.append(
            replace(
                make_series(slices, [kept[1] for kept in first.values()]),
                patient_id=identity.patient_id,
                study_uid=identity.study_uid,
                identity=identity,
            )
        )
    if len(series) == 1:
        return series, skipped
    elements = differing_elements(identity for identity, _ in groups)
    shared = Finding(
        FindingKind.SHARED_IDENTIFIER,
        f"SeriesInstanceUID (0020,000E) {series[0].uid} is that of {len(series)} series, of "
        f"different patients or studies: files of it differ in {', '.join(elements)}.",
    )
    return [replace(one, findings=(shared, *one.findings)) for one in series], skipped


def _repeated(file: _File, earlier: _File) -> SkippedFile:
    """Return why a file is skipped that has the identifier of an earlier one."""
    (slices, attributes), (others, other_attributes) = file, earlier
    own, other = attributes.identity, other_attributes.identity
    differing = _differing(replace(attributes, identity=other), other_attributes)
    if replace(own, study_uid=other.study_uid, patient_id=other.patient_id) != other:
        differing.append("statement of the patient")
    if len(slices) == len(others):
        for one, another in zip(slices, others, strict=True):
            differing += _differing(replace(one, path=another.path), another)
    else:
        differing.append("number of frames")
    return SkippedFile(
        slices[0].path,
        SkipReason.CONFLICT if differing else SkipReason.COPY,
        f"SOPInstanceUID (0008,0018): expected a new one, got {slices[0].sop_instance_uid}, that "
        f"of {others[0].path}"
        + (f", which has another {', '.join(dict.fromkeys(differing))}" if differing else ""),
    )


def _differing(one: Any, other: Any) -> list[str]:
    """Return the names of the fields in which two values of one class differ."""
    names = (field.name for field in fields(one))
    return [name.replace("_", " ") for name in names if getattr(one, name) != getattr(other, name)]


def _files(root: Path, without: Path | None) -> tuple[list[Path], list[SkippedFile]]:
    """Return all files below a folder, sorted, and what is not entered or cannot be listed."""
    files: list[Path] = []
    skipped: list[SkippedFile] = []
    waiting, links = [root], list[Path]()
    entered: set[tuple[int, int]] = set()

    def exclude(path: Path) -> None:
        detail = f"expected a path outside of {without}, got one in it"
        skipped.append(SkippedFile(path, SkipReason.EXCLUDED, detail))

    while waiting or links:
        # Links come last, so that a folder keeps its own name if a link leads to it as well.
        place = waiting.pop() if waiting else links.pop(0)
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            if without is not None and without.exists() and place.samefile(without):
                exclude(place)
                continue
            with os.scandir(place) as listing:
                entries = sorted(listing, key=lambda one: one.name)
        except OSError as error:
            skipped.append(SkippedFile(place, SkipReason.UNREADABLE, str(error)))
            continue
        for entry in entries:
            path, is_link = Path(entry.path), entry.is_symlink()
            if is_link and without is not None and path.resolve().is_relative_to(without):
                exclude(path)
                continue
            try:
                kind = (links if is_link else waiting) if entry.is_dir() else files
                kind.append(path)
            except OSError as error:
                skipped.append(SkippedFile(path, SkipReason.UNREADABLE, str(error)))
    return sorted(files), skipped
