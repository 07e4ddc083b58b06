"""Copies among files with one SOPInstanceUID, told by their pixels; which of them is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomolearn.dicom.elements import text
from tomolearn.dicom.headers import opened_header
from tomolearn.dicom.pixels import digest_of, hounsfield_units, lossy_method, pixels_of
from tomolearn.dicom.skipping import SkippedFile, SkipReason
from tomolearn.dicom.slices import SeriesAttributes, SliceInfo, differing_fields

_LOSS: Final = 0.1
"""Largest error of lossy compression, as share of the image's own standard deviation.

JPEG at ratios of 10 to 1, which radiologists accept, is off by 5 to 10 HU in images that vary by
some hundred.
"""


class FoundFile(NamedTuple):
    """Slices and attributes of a file, and the frames of it that cannot be used."""

    slices: tuple[SliceInfo, ...]
    attributes: SeriesAttributes
    lost: tuple[SkippedFile, ...]


@dataclass(frozen=True)
class _Content:
    """Digests of a file's pixel data, and of its images by frame if it can be decoded."""

    digest: str = ""
    is_lossy: bool = False
    images: dict[int | None, str] | None = None


def choose_copy(files: Sequence[FoundFile]) -> tuple[FoundFile, list[SkippedFile]]:
    """Choose one of several files with one SOPInstanceUID; return it, and why others are skipped.

    One that can be decoded goes before one that cannot, more frames before fewer, lossless before
    lossy compression, and what comes first before what comes later. Those with the same image are
    copies, which the slices of the chosen one refer to.
    """
    contents = [_content(file, decode=False) for file in files]
    if len({one.digest for one in contents}) > 1 or not contents[0].digest:
        contents = [_content(file, decode=True) for file in files]
    chosen = min(
        range(len(files)),
        key=lambda place: (
            not contents[place].digest,
            len(files[place].lost),
            contents[place].is_lossy,
            place,
        ),
    )
    copies: dict[int | None, list[SliceInfo]] = {}
    skipped = []
    for place, file in enumerate(files):
        if place == chosen:
            continue
        one = _compared(file, contents[place], files[chosen], contents[chosen])
        skipped.append(one)
        if one.reason is SkipReason.COPY:
            for info in file.slices:
                copies.setdefault(info.frame, []).append(info)
    kept = files[chosen]
    slices = tuple(replace(one, copies=tuple(copies.get(one.frame, ()))) for one in kept.slices)
    return kept._replace(slices=slices), skipped


def _compared(
    file: FoundFile, content: _Content, kept: FoundFile, kept_content: _Content
) -> SkippedFile:
    """Return why a file is skipped that has the identifier of the one that is kept."""
    differing = _differing_headers(file, kept)
    reason, addition = SkipReason.COPY, ""
    if not differing and not content.digest:
        reason, addition = SkipReason.DAMAGED_COPY, ", and cannot be decoded"
    elif not differing and not _same_images(content, kept_content):
        if content.is_lossy and _is_close(file, kept):
            addition = ", with lossy compression"
        else:
            differing = ["image"]
    if differing:
        reason = SkipReason.CONFLICT
        addition = f", which has another {', '.join(dict.fromkeys(differing))}"
    return SkippedFile(
        file.slices[0].path,
        reason,
        f"SOPInstanceUID (0008,0018): expected a new one, got {file.slices[0].sop_instance_uid}, "
        f"that of {kept.slices[0].path}{addition}",
        n_slices=len(file.slices),
        is_lost=reason is SkipReason.CONFLICT,
    )


def _differing_headers(file: FoundFile, kept: FoundFile) -> list[str]:
    own, other = file.attributes.identity, kept.attributes.identity
    differing = differing_fields(replace(file.attributes, identity=other), kept.attributes)
    if replace(own, study_uid=other.study_uid, patient_id=other.patient_id) != other:
        differing.append("statement of the patient")
    if len(file.slices) != len(kept.slices) and not (file.lost or kept.lost):
        return [*differing, "number of frames"]
    for one, another in _pairs(file, kept):
        differing += differing_fields(replace(one, path=another.path), another)
    return differing


def _pairs(file: FoundFile, kept: FoundFile) -> list[tuple[SliceInfo, SliceInfo]]:
    frames = {one.frame: one for one in kept.slices}
    return [(one, frames[one.frame]) for one in file.slices if one.frame in frames]


def _same_images(content: _Content, kept: _Content) -> bool:
    if content.digest == kept.digest:
        return True
    if content.images is None or kept.images is None:
        return False
    common = content.images.keys() & kept.images.keys()
    return all(content.images[frame] == kept.images[frame] for frame in common)


def _content(file: FoundFile, *, decode: bool) -> _Content:
    """Return what a file's pixels are; with no digest if they cannot be read, or not decoded."""
    try:
        with opened_header(file.slices[0].path) as header:
            pixels = pixels_of(header)
            frames = [one.frame for one in file.slices]
            digest = digest_of(header, pixels, [frame or 0 for frame in frames])
            lossy = text(header.dataset, "LossyImageCompression") == "01"
            lossy = lossy or lossy_method(header.transfer_syntax, pixels) is not None
            if not decode:
                return _Content(digest, lossy)
            images = {}
            for frame in frames:
                hounsfield, padding = hounsfield_units(header, pixels, frame or 0, assume_hu=True)
                found = hashlib.sha256(hounsfield.tobytes() + padding.tobytes())
                images[frame] = found.hexdigest()
            return _Content(digest, lossy, images)
    except (OSError, ValueError):
        return _Content()


def _is_close(file: FoundFile, kept: FoundFile) -> bool:
    """Return whether images differ by no more than compression may change them."""
    try:
        for one, another in _pairs(file, kept):
            found, expected = _image(one), _image(another)
            error = float(np.sqrt(np.mean((found - expected) ** 2)))
            if error > _LOSS * float(expected.std()):
                return False
    except (OSError, ValueError):
        return False
    return True


def _image(one: SliceInfo) -> NDArray[np.float64]:
    with opened_header(one.path) as header:
        pixels = pixels_of(header)
        hounsfield, _ = hounsfield_units(header, pixels, one.frame or 0, assume_hu=True)
    return hounsfield.astype(np.float64)
