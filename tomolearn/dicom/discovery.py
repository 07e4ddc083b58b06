"""Search for CT series in a tree of files, and the index of what was found."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydicom.tag import Tag

from tomolearn._core.files import resolved
from tomolearn.dicom.copies import FoundFile, choose_copy
from tomolearn.dicom.dimensions import DIMENSION_KEYWORDS
from tomolearn.dicom.elements import texts
from tomolearn.dicom.headers import header_of
from tomolearn.dicom.identity import (
    IDENTITY_KEYWORDS,
    Identity,
    differing_elements,
    identity_groups,
)
from tomolearn.dicom.opening import opened
from tomolearn.dicom.pixels import pixels_of
from tomolearn.dicom.provenance import PROVENANCE_KEYWORDS, is_own_result
from tomolearn.dicom.reading import has_hounsfield_units
from tomolearn.dicom.salvage import identifiers_in, is_part_of, kind_of_name, may_be_slice
from tomolearn.dicom.selection import SeriesFilter
from tomolearn.dicom.series import Series, make_series, with_lost
from tomolearn.dicom.skipping import NotASlice, SkippedFile, SkipReason
from tomolearn.dicom.slices import (
    series_attributes,
    slices_of,
)
from tomolearn.dicom.stack_geometry import Finding, FindingKind, sort
from tomolearn.dicom.unstated_units import no_unit_error

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
        *DIMENSION_KEYWORDS,
        *PROVENANCE_KEYWORDS, "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    )
)  # fmt: skip
# What tells nothing of how the images in its folder are called.
_NO_IMAGES: Final = {
    SkipReason.NOT_DICOM, SkipReason.UNREADABLE, SkipReason.DICOMDIR, SkipReason.EXCLUDED,
    SkipReason.ARCHIVE,
}  # fmt: skip
# What is no CT image by intent. Anything else would have been one, had nothing gone wrong.
_NO_SLICES: Final = {
    SkipReason.DICOMDIR, SkipReason.SECONDARY_CAPTURE, SkipReason.STRUCTURED_REPORT,
    SkipReason.PRESENTATION_STATE, SkipReason.OTHER_CLASS, SkipReason.LOCALIZER, SkipReason.COPY,
    SkipReason.OWN_RESULT, SkipReason.EXCLUDED, SkipReason.FILTERED,
}  # fmt: skip
_OWN: Final = (
    "ContributingEquipmentSequence (0018,A001): expected an image of a scanner, got one derived by "
    "tomolearn: include_derived=True, --include-derived on the command line, takes it"
)

# Series of a single slice, alike in all but its place, that may be slices of one.
_FEWEST_ALIKE: Final = 4


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
        Files without a slice, in the order of their paths.
    n_files : int
        Number of files looked at.
    """

    root: Path
    series: tuple[Series, ...]
    skipped: tuple[SkippedFile, ...]
    n_files: int

    @property
    def lost(self) -> tuple[SkippedFile, ...]:
        """Skipped files that may have been slices, of one of the series or of none."""
        return tuple(one for one in self.skipped if one.is_lost)

    @property
    def counts(self) -> dict[str, int]:
        """Number of skipped files by reason, the most frequent first."""
        counts = Counter(str(one.reason) for one in self.skipped)
        return dict(counts.most_common())


def find_series(
    root: str | os.PathLike[str],
    *,
    without: str | os.PathLike[str] | None = None,
    assume_hu: bool = False,
    include_derived: bool = True,
    select: SeriesFilter | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SeriesIndex:
    """Find the CT series in a tree of files.

    Only headers are read, the pixels of files with one SOPInstanceUID, and up to three images of a
    series that does not state its unit (RescaleType US): it is taken if one of them looks like
    Hounsfield units. Files are told by their contents, never by their names. Links are followed,
    and each folder is entered once, whatever links lead to it. A series is what has one
    SeriesInstanceUID, one patient and one study. Patients are told apart by PatientID and who gave
    it, name, date of birth and sex; a file that does not state all of them is of the patient of the
    others, if these agree among each other and with it. Of several files of a series with one
    SOPInstanceUID one is kept that can be decoded, preferably without loss, of those the one that
    states most of patient and study, of those the first in the order of paths; others with the same
    pixels are its copies, which are read where it cannot be. A file that should be a slice and
    cannot be read as one is lost from its series, if it still says which, or if all slices in its
    folder are of a single one.

    Parameters
    ----------
    root : path
        A folder, or a single file.
    without : path, optional
        A folder that is skipped, by whatever link it or something in it is reached.
    assume_hu : bool
        Whether values of an unstated unit are taken as Hounsfield units, whatever they look like.
    include_derived : bool
        Whether images that were derived by this toolkit are slices too, be they renamed or
        de-identified, or have come back from an archive.
    select : SeriesFilter, optional
        Which files and series are taken; the files of others are skipped. Default: all.
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
        files, skipped = _files(root, None if without is None else resolved(without))
    select = SeriesFilter() if select is None else select
    found: dict[str, list[FoundFile]] = {}
    for done, path in enumerate(files, start=1):
        try:
            select.check_path(path, root)
            file = _read(path, select, assume_hu=assume_hu, include_derived=include_derived)
        except NotASlice as error:
            skipped.append(SkippedFile(path, error.reason, error.detail, n_slices=error.n_slices))
        except OSError as error:
            skipped.append(SkippedFile(path, SkipReason.UNREADABLE, str(error)))
        else:
            found.setdefault(file.attributes.uid, []).append(file)
        if progress is not None:
            progress(done, len(files))
    series: list[Series] = []
    repeats: list[SkippedFile] = []
    for alike in found.values():
        divided, repeated = _divided(alike, assume_hu=assume_hu)
        series += divided
        repeats += repeated
    series, skipped = _assigned(series, _doubted(skipped, found.values()))
    series, refused = select.check_series(series)
    known = {(one.path, one.frame) for one in refused}
    skipped = [one for one in skipped if (one.path, one.frame) not in known] + refused
    skipped += repeats
    series = _with_hints(series)
    series.sort(key=lambda s: (s.patient_id, s.study_uid, s.series_number or 0, s.uid))
    skipped.sort(key=lambda one: one.path)
    return SeriesIndex(root, tuple(series), tuple(skipped), len(files))


def _read(path: Path, select: SeriesFilter, *, assume_hu: bool, include_derived: bool) -> FoundFile:
    with opened(path) as stream:
        try:
            header = header_of(stream, _TAGS)
            if not include_derived and is_own_result(header.dataset):
                raise NotASlice(SkipReason.OWN_RESULT, _OWN)
            pixels = pixels_of(header)
            attributes = series_attributes(header)
            select.check_image(attributes, texts(header.dataset, "ImageType"))
            slices, lost = slices_of(header, pixels, path, attributes, assume_hu=assume_hu)
            return FoundFile(slices, attributes, lost)
        except NotASlice:
            raise
        except ValueError as error:  # an element that names and identifiers are read from
            raise NotASlice(SkipReason.DAMAGED, error) from error


def _doubted(
    skipped: Sequence[SkippedFile], found: Iterable[Sequence[FoundFile]]
) -> list[SkippedFile]:
    """Return skipped files with a judgement on which of them may have been slices."""
    names: dict[Path, set[str]] = {}
    images = [file.slices[0].path for alike in found for file in alike]
    images += [one.path for one in skipped if one.reason not in _NO_IMAGES]
    for path in images:
        names.setdefault(path.parent, set()).add(kind_of_name(path))
    return [
        replace(
            one,
            is_lost=may_be_slice(one.path, names.get(one.path.parent, ()))
            if one.reason in (SkipReason.NOT_DICOM, SkipReason.ARCHIVE)
            else one.reason not in _NO_SLICES,
        )
        for one in skipped
    ]


def _assigned(
    series: Sequence[Series], skipped: Sequence[SkippedFile]
) -> tuple[list[Series], list[SkippedFile]]:
    """Return series with the slices that they have lost, and skipped files as these turn out."""
    of_series: dict[str, list[int]] = {}
    of_image: dict[str, list[tuple[int, Path]]] = {}
    of_folder: dict[Path, set[int]] = {}
    for place, one in enumerate(series):
        of_series.setdefault(one.uid, []).append(place)
        for info in one.slices:
            of_image.setdefault(info.sop_instance_uid, []).append((place, info.path))
            of_folder.setdefault(info.path.parent, set()).add(place)
    unwanted = (SkipReason.OWN_RESULT, SkipReason.FILTERED)
    not_taken = {
        identifiers_in(one.path).series_uid: one.reason
        for one in skipped
        if one.reason in unwanted and any(other.is_lost for other in skipped)
    }
    lost: dict[int, list[SkippedFile]] = {}
    judged = []
    for file in skipped:
        if not file.is_lost:
            judged.append(file)
            continue
        known = identifiers_in(file.path)
        owners = set(of_series.get(known.series_uid, ()))
        if not known.series_uid and not file.path.is_dir():
            neighbours = of_folder.get(file.path.parent, set())
            owners = {place for place, _ in of_image.get(known.sop_instance_uid, ())} or neighbours
            if owners is neighbours and len(neighbours) == 1:
                detail = f"{file.detail}; it lies among slices of this series"
                file = replace(file, detail=detail)
        owners = {place for place in owners if known.may_be_of(series[place])}
        if not owners and known.series_uid and known.series_uid in not_taken:
            judged.append(replace(file, reason=not_taken[known.series_uid], is_lost=False))
            continue
        if len(owners) != 1:
            # in a series of other units it is no loss
            is_lost = file.reason is not SkipReason.NO_HOUNSFIELD_UNITS
            judged.append(replace(file, is_lost=is_lost))
            continue
        (owner,) = owners
        whole = [path for place, path in of_image.get(known.sop_instance_uid, ()) if place == owner]
        if not known.sop_instance_uid:
            paths = (one.path for one in series[owner].slices)
            whole = [path for path in paths if is_part_of(file.path, path)]
        if whole:
            detail = f"{file.detail}; {whole[0]} is a copy without that fault"
            reason = SkipReason.DAMAGED_COPY
            file = replace(file, reason=reason, detail=detail, is_lost=False)
        else:
            lost.setdefault(owner, []).append(file)
        judged.append(file)
    return [with_lost(one, lost.get(place, ())) for place, one in enumerate(series)], judged


def _divided(
    files: Sequence[FoundFile], *, assume_hu: bool
) -> tuple[list[Series], list[SkippedFile]]:
    """Return the series of files with one SeriesInstanceUID, which several may share.

    Files with the SOPInstanceUID of an earlier one in their series are skipped.
    """
    stating: dict[Identity, list[FoundFile]] = {}
    for file in files:
        stating.setdefault(file.attributes.identity, []).append(file)
    groups = identity_groups(stating)
    series, skipped = [], []
    for identity, members in groups:
        group = [file for one in members for file in stating[one]]
        # what states most has the first word
        group.sort(key=lambda file: (-file.attributes.identity.n_stated, file.slices[0].path))
        alike: dict[str, list[FoundFile]] = {}
        for file in group:
            alike.setdefault(file.slices[0].sop_instance_uid, []).append(file)
        chosen, repeated = [], list[SkippedFile]()
        for copies in alike.values():
            first, others = (copies[0], []) if len(copies) == 1 else choose_copy(copies)
            chosen.append(first)
            repeated += others
        judged = chosen if assume_hu else _without_other_units(chosen)
        kept = [file for file in judged if file.slices]
        refused = [one for file in judged if not file.slices for one in file.lost]
        # in a series of other units nothing is a loss
        skipped += [
            replace(one, is_lost=one.is_lost and bool(kept)) for one in (*repeated, *refused)
        ]
        if not kept:
            continue
        lost = [one for file in judged for one in file.lost]
        lost += [one for one in repeated if one.is_lost]
        slices = [one for file in kept for one in file.slices]
        made = replace(
            make_series(slices, [file.attributes for file in kept]),
            patient_id=identity.patient_id,
            study_uid=identity.study_uid,
            identity=identity,
        )
        series.append(with_lost(made, lost))
    if len(series) <= 1:
        return series, skipped
    elements = differing_elements(one.identity for one in series)
    shared = Finding(
        FindingKind.SHARED_IDENTIFIER,
        f"SeriesInstanceUID (0020,000E) {series[0].uid} is that of {len(series)} series, of "
        f"different patients or studies: files of it differ in {', '.join(elements)}.",
    )
    return [replace(one, findings=(shared, *one.findings)) for one in series], skipped


def _with_hints(series: Sequence[Series]) -> list[Series]:
    """Return series, with a finding on those that seem to be the slices of a single one."""
    alike: dict[tuple[object, ...], list[Series]] = {}
    for one in series:
        if len(one) == 1:
            (only,) = one.slices
            kind = (only.shape, only.spacing, only.orientation, only.frame_of_reference_uid)
            key = (one.patient_id, one.study_uid, one.description, kind)
            alike.setdefault(key, []).append(one)
    hints: dict[int, Finding] = {}
    for group in alike.values():
        places = {one.slices[0].position for one in group}
        if len(places) == len(group) >= _FEWEST_ALIKE:
            hint = Finding(
                FindingKind.SERIES_PER_SLICE,
                f"{len(group)} series of this study have one slice each, of one kind in different "
                "places: each slice seems to have a SeriesInstanceUID (0020,000E) of its own.",
            )
            hints.update({id(one): hint for one in group})
    return [
        replace(one, findings=(*one.findings, hints[id(one)])) if id(one) in hints else one
        for one in series
    ]


def _without_other_units(files: Sequence[FoundFile]) -> list[FoundFile]:
    """Return the files of a series; slices without a unit are lost if none looks like HU."""
    unstated = [one for file in files for one in file.slices if one.unit]
    if not unstated:
        return list(files)
    ordered = sort(unstated)
    chosen = {ordered[k].label: ordered[k] for k in (len(ordered) // 2, 0, -1)}
    if any(map(has_hounsfield_units, chosen.values())):
        return list(files)
    judged = []
    for slices, attributes, lost in files:
        kept = tuple(one for one in slices if not one.unit)
        refused = [
            SkippedFile(
                one.path,
                SkipReason.NO_HOUNSFIELD_UNITS,
                str(no_unit_error(one.unit)),
                frame=one.frame,
                is_lost=True,
            )
            for one in slices
            if one.unit
        ]
        if kept or not refused:
            judged.append(FoundFile(kept, attributes, (*lost, *refused)))
        else:
            whole = replace(refused[0], frame=None, n_slices=len(refused) + len(lost))
            judged.append(FoundFile(kept, attributes, (whole,)))
    return judged


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
            if is_link and without is not None and resolved(path).is_relative_to(without):
                exclude(path)
                continue
            try:
                kind = (links if is_link else waiting) if entry.is_dir() else files
                kind.append(path)
            except OSError as error:
                skipped.append(SkippedFile(path, SkipReason.UNREADABLE, str(error)))
    return sorted(files), skipped
