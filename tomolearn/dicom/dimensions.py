"""Dimensions of a slice beside space: time, energy, kernel, acquisition."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from pydicom.dataset import Dataset

from tomolearn.dicom.elements import number, sequence_items, text
from tomolearn.dicom.headers import Header

UNASSIGNED: Final = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
"""Where a converted image keeps what has no place in the functional groups of enhanced ones."""

TEMPORAL_POSITION: Final = ("TemporalPositionIndex", "TemporalPositionIdentifier")
"""Number of a phase, in enhanced and in classic images."""


class Axis(StrEnum):
    """Kinds of dimensions, in the order in which series are divided by them."""

    IMAGE_TYPE = "image types"
    KERNEL = "kernels"
    ENERGY = "energies"
    PHASE = "phases"
    STACK = "stacks"
    ACQUISITION = "acquisitions"


class _Element(NamedTuple):
    axis: Axis
    macro: str
    keywords: tuple[str, ...]
    read: Callable[[Dataset, str], Any]


# In each functional group the element of an enhanced image, then that of a classic one.
_ELEMENTS: Final = (
    _Element(Axis.IMAGE_TYPE, "CTImageFrameTypeSequence", ("FrameType", "ImageType"), text),
    _Element(Axis.KERNEL, "CTReconstructionSequence", ("ConvolutionKernel",), text),
    _Element(
        Axis.ENERGY,
        "MultienergyCTCharacteristicsSequence",
        ("MonoenergeticEnergyEquivalent",),
        number,
    ),
    _Element(Axis.ENERGY, "CTXRayDetailsSequence", ("KVP",), number),
    _Element(
        Axis.PHASE,
        "FrameContentSequence",
        TEMPORAL_POSITION,
        number,
    ),
    _Element(Axis.PHASE, "TemporalPositionSequence", ("TemporalPositionTimeOffset",), number),
    _Element(
        Axis.PHASE,
        "CardiacSynchronizationSequence",
        ("NominalPercentageOfCardiacPhase",),
        number,
    ),
    _Element(
        Axis.PHASE,
        "CardiacSynchronizationSequence",
        ("NominalCardiacTriggerDelayTime", "TriggerTime"),
        number,
    ),
    _Element(
        Axis.PHASE,
        "RespiratorySynchronizationSequence",
        ("NominalPercentageOfRespiratoryPhase",),
        number,
    ),
    _Element(
        Axis.PHASE,
        "RespiratorySynchronizationSequence",
        ("NominalRespiratoryTriggerDelayTime",),
        number,
    ),
    _Element(Axis.STACK, "FrameContentSequence", ("StackID",), text),
    _Element(
        Axis.ACQUISITION,
        "FrameContentSequence",
        ("FrameAcquisitionNumber", "AcquisitionNumber"),
        number,
    ),
)
# Date and time, or both in one element, when what is shown was measured, and when it was made.
_MOMENTS: Final = {
    "acquired": (
        *("FrameReferenceDateTime", "FrameAcquisitionDateTime", "AcquisitionDateTime"),
        *("AcquisitionDate", "AcquisitionTime"),
    ),
    "made": ("ContentDate", "ContentTime"),
}

DIMENSION_KEYWORDS: Final = (
    *(keyword for element in _ELEMENTS for keyword in element.keywords),
    *(keyword for keywords in _MOMENTS.values() for keyword in keywords),
    *dict.fromkeys(element.macro for element in _ELEMENTS),
)
"""Elements that dimensions are read from."""

Value = float | str


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Values of a slice along each dimension but space, as far as its file states them.

    Parameters
    ----------
    values : tuple of (str, float or str)
        Keyword and value, in the order in which series are divided by them.
    acquired, made : str
        Date and time when it was measured, and when the image was made.
    """

    values: tuple[tuple[str, Value], ...] = ()
    acquired: str = ""
    made: str = ""


def axis_of(keyword: str) -> Axis:
    """Return the kind of dimension that an element is of."""
    return next(one.axis for one in _ELEMENTS if keyword in one.keywords)


AXIS_KEYWORDS: Final = tuple(one.keywords for one in _ELEMENTS)
"""Elements of one meaning together, in the order in which series are divided by them."""


def dimensions_of(header: Header, frame: int) -> Dimensions:
    """Return what a frame's header says of it beside its place; what cannot be read is absent."""
    found = []
    for element in _ELEMENTS:
        for keyword in element.keywords:
            value = _first(header, frame, element.macro, keyword, element.read)
            if value is not None:
                found.append((keyword, value))
                break
    moments = {
        name: " ".join(
            _first(header, frame, "FrameContentSequence", keyword, text) or ""
            for keyword in keywords
        ).strip()
        for name, keywords in _MOMENTS.items()
    }
    return _shared(Dimensions(tuple(found), **moments))


def _first(
    header: Header,
    frame: int,
    macro: str,
    keyword: str,
    read: Callable[[Dataset, str], Any],
) -> Any:
    places = header.places(frame, macro)
    if header.enhanced:
        for group in UNASSIGNED:
            places += header.places(frame, group)
    else:  # a classic image has some of the groups as sequences
        with contextlib.suppress(ValueError):
            places += sequence_items(header.dataset, macro)
    for place in places:
        with contextlib.suppress(ValueError):
            value = read(place, keyword)
            if value not in (None, ""):
                return value
    return None


@functools.lru_cache(maxsize=4096)
def _shared(dimensions: Dimensions) -> Dimensions:
    """Return one object for equal values: slices of a series have mostly the same."""
    return dimensions
