"""The CT series in a tree of files."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.tag import Tag

from tomolearn.dicom.headers import NotASlice, Reason, header_of, opened
from tomolearn.dicom.pixels import pixels_of
from tomolearn.dicom.series import Series, make_series
from tomolearn.dicom.slices import Identity, SliceInfo, identity_of, slices_of

__all__ = ["Catalogue", "LeftOut", "find_series"]

_TAGS: Final = tuple(
    Tag(keyword)
    for keyword in (
        "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Manufacturer",
        "StudyDescription", "SeriesDescription", "ManufacturerModelName", "PatientID",
        "BodyPartExamined", "SliceThickness", "GantryDetectorTilt", "ConvolutionKernel",
        "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
        "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID",
        "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns",
        "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that is in no series.

    Parameters
    ----------
    path : pathlib.Path
        Which one.
    reason : Reason
        Why, in a word.
    detail : str
        Why, in a sentence with tag and value.
    """

    path: Path
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Catalogue:
    """What `find_series` found.

    Parameters
    ----------
    root : pathlib.Path
        Where it looked.
    series : tuple of Series
        In the order of patient, study, series number and identifier.
    left_out : tuple of LeftOut
        Files in no series, in the order of their paths.
    n_files : int
        Number of files looked at.
    """

    root: Path
    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]
    n_files: int

    @property
    def counts(self) -> dict[str, int]:
        """How many files were left out for which reason, the most frequent first."""
        return {
            str(reason): n for reason, n in Counter(x.reason for x in self.left_out).most_common()
        }


def find_series(
    root: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
) -> Catalogue:
    """Find the CT series in a tree of files.

    Only headers are read. Files are told by their contents, never by their names. Links are
    followed, and each folder is entered once, whatever links lead to it. Of several files with one
    SOPInstanceUID the first in the order of paths is kept; whether the others are copies is judged
    by their headers.

    Parameters
    ----------
    root : path
        A folder, or a single file.
    progress : callable, optional
        Called as ``progress(done, total)`` after each file.

    Returns
    -------
    Catalogue
        Every file is either in one of its series or left out with a reason.

    Raises
    ------
    OSError
        If `root` does not exist or cannot be listed. Anything below it that cannot be read is left
        out.
    """
    root = Path(root)
    left_out: list[LeftOut] = []
    if not stat.S_ISDIR(os.stat(root).st_mode):
        files = [root]
    else:
        os.scandir(root).close()
        files, left_out = _files(root)
    members: dict[str, list[tuple[SliceInfo, Identity]]] = {}
    seen: dict[str, tuple[tuple[SliceInfo, ...], Identity]] = {}
    for done, path in enumerate(files, start=1):
        try:
            slices, identity = _read(path)
            _check_new(slices, identity, seen)
        except NotASlice as error:
            left_out.append(LeftOut(path, error.reason, error.detail))
        except OSError as error:
            left_out.append(LeftOut(path, Reason.UNREADABLE, str(error)))
        else:
            seen[slices[0].sop_instance_uid] = slices, identity
            members.setdefault(identity.series_uid, []).extend((one, identity) for one in slices)
        if progress is not None:
            progress(done, len(files))
    series = [make_series(*map(list, zip(*found, strict=True))) for found in members.values()]
    series.sort(key=lambda s: (s.patient_id, s.study_uid, s.series_number or 0, s.uid))
    left_out.sort(key=lambda one: one.path)
    return Catalogue(root, tuple(series), tuple(left_out), len(files))


def _read(path: Path) -> tuple[tuple[SliceInfo, ...], Identity]:
    with opened(path) as stream:
        try:
            header = header_of(stream, _TAGS)
            pixels = pixels_of(header)
            return slices_of(header, pixels, path), identity_of(header)
        except NotASlice:
            raise
        except ValueError as error:  # an element that names and identifiers are read from
            raise NotASlice(Reason.DAMAGED, str(error)) from error


def _check_new(
    slices: tuple[SliceInfo, ...],
    identity: Identity,
    seen: dict[str, tuple[tuple[SliceInfo, ...], Identity]],
) -> None:
    """Check that no file with the same identifier came before.

    Raises
    ------
    NotASlice
        If one did.
    """
    uid = slices[0].sop_instance_uid
    if uid not in seen:
        return
    others, other_identity = seen[uid]
    same = identity == other_identity and _without_path(slices) == _without_path(others)
    raise NotASlice(
        Reason.COPY if same else Reason.CONFLICT,
        f"SOPInstanceUID (0008,0018): expected a new one, got {uid}, that of {others[0].path}"
        + ("" if same else ", which has another position, size or series"),
    )


def _without_path(slices: tuple[SliceInfo, ...]) -> list[tuple[object, ...]]:
    return [
        (one.frame, one.position, one.orientation, one.shape, one.spacing, one.instance_number)
        for one in slices
    ]


def _files(root: Path) -> tuple[list[Path], list[LeftOut]]:
    """Return all files below a folder, sorted, and what cannot be listed."""
    files: list[Path] = []
    left_out: list[LeftOut] = []
    for found in _walk(root, set()):
        if isinstance(found, LeftOut):
            left_out.append(found)
        else:
            files.append(found)
    return sorted(files), left_out


def _walk(folder: Path, entered: set[tuple[int, int]]) -> Iterator[Path | LeftOut]:
    waiting = [folder]
    links: list[Path] = []
    while waiting or links:
        # Links come last, so that a folder keeps its own name if a link leads to it as well.
        place = waiting.pop() if waiting else links.pop(0)
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(place) as listing:
                entries = list(listing)
        except OSError as error:
            yield LeftOut(place, Reason.UNREADABLE, str(error))
            continue
        for entry in sorted(entries, key=lambda one: one.name):
            path = Path(entry.path)
            try:
                is_folder = entry.is_dir()
            except OSError as error:
                yield LeftOut(path, Reason.UNREADABLE, str(error))
                continue
            if not is_folder:
                yield path
            elif entry.is_symlink():
                links.append(path)
            else:
                waiting.append(path)
