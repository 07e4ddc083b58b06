"""Radiologists' marks from the XML files of LIDC-IDRI."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from xml.etree import ElementTree
from xml.parsers import expat

from tomolearn._core.errors import TomolearnError
from tomolearn._core.reading import read_bytes

CHARACTERISTICS = (
    *("subtlety", "internalStructure", "calcification", "sphericity", "margin"),
    *("lobulation", "spiculation", "texture", "malignancy"),
)
"""What readers rate of a nodule of 3 mm or more, most from 1 to 5."""

_ROOT = "LidcReadMessage"
# A mark is one pixel of an image. Above it, no image has pixels.
_LARGEST_COORDINATE = 65535
_FEWEST_POINTS = 3  # of an outline of which some cannot be read

T = TypeVar("T")


@dataclass(frozen=True)
class Contour:
    """One outline on one slice.

    Parameters
    ----------
    sop_instance_uid, z : str, float
        The slice, and its position in mm along the patient, as the file has it.
    points : tuple of (int, int)
        Row and column of the outline's pixels, in order. They are the first pixels *outside* of
        what is outlined. A single point is the centre of a nodule below 3 mm.
    inclusion : bool
        Whether the inside belongs to the nodule, or is a hole in it.
    """

    sop_instance_uid: str
    z: float
    points: tuple[tuple[int, int], ...]
    inclusion: bool = True


@dataclass(frozen=True)
class Nodule:
    """What one reader marked as one nodule.

    Parameters
    ----------
    reader, id : int, str
        Number of the reading session in the file, from 0 on, and the reader's own name for it:
        other readers have other names for the same nodule.
    contours : tuple of Contour
        In the order of the file.
    characteristics : mapping of str to int
        Ratings by name, see `CHARACTERISTICS`; empty for nodules below 3 mm.
    """

    reader: int
    id: str
    contours: tuple[Contour, ...]
    characteristics: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "characteristics", MappingProxyType(dict(self.characteristics)))

    @property
    def is_small(self) -> bool:
        """Whether it is below 3 mm: its centre is marked, not its outline."""
        return all(len(contour.points) == 1 for contour in self.contours)


@dataclass(frozen=True)
class NonNodule:
    """A point that a reader marked as a lesion that is no nodule.

    Parameters
    ----------
    reader, id, sop_instance_uid, z
        As for `Nodule` and `Contour`.
    point : (int, int)
        Row and column.
    """

    reader: int
    id: str
    sop_instance_uid: str
    z: float
    point: tuple[int, int]


@dataclass(frozen=True)
class Annotations:
    """All marks of one CT series.

    Parameters
    ----------
    path, series_uid, study_uid : Path, str, str
        The file, and what was read.
    n_readers : int
        Number of reading sessions, usually four.
    nodules, non_nodules : tuple of Nodule, tuple of NonNodule
        Nodules of all readers, and other lesions.
    problems : tuple of str
        What of the marks could not be read and is left out: points, outlines, ratings, marks.
    """

    path: Path
    series_uid: str
    study_uid: str
    n_readers: int
    nodules: tuple[Nodule, ...]
    non_nodules: tuple[NonNodule, ...]
    problems: tuple[str, ...] = ()

    @property
    def outlined(self) -> tuple[Nodule, ...]:
        """The nodules of 3 mm or more."""
        return tuple(nodule for nodule in self.nodules if not nodule.is_small)


def read_annotations(path: str | os.PathLike[str]) -> Annotations:
    """Read the marks of one series from an XML file as published with LIDC-IDRI.

    A point, outline, rating or mark that cannot be read is left out, and named in
    `Annotations.problems`.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, is no XML, defines entities, is no complete message of this
        kind, or has marks of which none can be read. The message names file and element.
    """
    path = Path(path)
    root = _root(path)
    if _name(root) != _ROOT:
        raise TomolearnError(f"{path}: expected the element {_ROOT}, got {_name(root)}")
    with _named(path):
        return _annotations(path, root)


def annotated_series(path: str | os.PathLike[str]) -> str | None:
    """Return the SeriesInstanceUID of an XML file; None if it is no message about a CT series."""
    path = Path(path)
    root = _root(path)
    if _name(root) != _ROOT:
        # the marks on radiographs are an IdriReadMessage
        return None
    with _named(path):
        return _text(root, "ResponseHeader", "SeriesInstanceUid")


class _Malformed(TomolearnError):
    """What is wrong with an element."""


def _root(path: Path) -> ElementTree.Element:
    data = read_bytes(path)

    # An entity can stand for gigabytes of text, or for another file: no such message has any.
    def refuse(name: str, *rest: object) -> None:
        raise TomolearnError(f"{path}: expected XML without a DOCTYPE, got one ({name})")

    checker = expat.ParserCreate()
    checker.StartDoctypeDeclHandler = refuse
    try:
        checker.Parse(data, True)
        return ElementTree.fromstring(data)
    # a LookupError is about the encoding that the file claims to have
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise TomolearnError(f"{path}: expected XML, got {error}") from error


def _annotations(path: Path, root: ElementTree.Element) -> Annotations:
    sessions = root.findall("{*}readingSession")
    names = ("SeriesInstanceUid", "StudyInstanceUID")
    series_uid, study_uid = (_text(root, "ResponseHeader", name) for name in names)
    nodules: list[Nodule] = []
    others: list[NonNodule] = []
    problems: list[str] = []
    for reader, session in enumerate(sessions):
        marks = session.findall("{*}unblindedReadNodule")
        nodules += _readable(
            marks, functools.partial(_nodule, reader=reader, problems=problems), problems
        )
        marks = session.findall("{*}nonNodule")
        others += _readable(marks, functools.partial(_non_nodule, reader=reader), problems)
    if problems and not nodules and not others:
        raise _Malformed(problems[0])
    found = tuple(nodules), tuple(others)
    return Annotations(path, series_uid, study_uid, len(sessions), *found, tuple(problems))


def _readable(
    elements: Iterable[ElementTree.Element],
    read: Callable[[ElementTree.Element], T],
    problems: list[str],
    place: str = "",
) -> list[T]:
    """Return what can be read of elements; note the others as problems."""
    found = []
    for element in elements:
        try:
            found.append(read(element))
        except _Malformed as error:
            problems.append(f"{place}{error}")
    return found


def _nodule(element: ElementTree.Element, reader: int, problems: list[str]) -> Nodule:
    name = _text(element, "noduleID")
    place = f"reader {reader}, noduleID {name}: "
    rois = element.findall("{*}roi")
    if not rois:
        raise _Malformed(f"{place}roi: expected at least one, got none")
    within: list[str] = []
    contours = _readable(rois, functools.partial(_contour, problems=within), within)
    problems += [f"{place}{problem}" for problem in within]
    if not contours:
        raise _Malformed(problems.pop())
    ratings = _readable(element.iterfind("{*}characteristics/*"), _rating, problems, place)
    return Nodule(reader, name, tuple(contours), dict(filter(None, ratings)))


def _contour(element: ElementTree.Element, problems: list[str]) -> Contour:
    edges = element.findall("{*}edgeMap")
    if not edges:
        raise _Malformed("edgeMap: expected at least one, got none")
    inclusion = _text(element, "inclusion").upper()
    if inclusion not in ("TRUE", "FALSE"):
        raise _Malformed(f"inclusion: expected TRUE or FALSE, got {inclusion!r}")
    uid, z = _text(element, "imageSOP_UID"), _z(element)
    unread: list[str] = []
    points = tuple(_readable(edges, _point, unread))
    # what is left of an outline must not pass for the centre of a small nodule
    if unread and len(points) < _FEWEST_POINTS:
        raise _Malformed(unread[0])
    problems += unread
    return Contour(uid, z, points, inclusion == "TRUE")


def _non_nodule(element: ElementTree.Element, reader: int) -> NonNodule:
    name = _text(element, "nonNoduleID")
    with _named(f"reader {reader}, nonNoduleID {name}"):
        uid, z = _text(element, "imageSOP_UID"), _z(element)
        return NonNodule(reader, name, uid, z, _point(element, "locus"))


def _rating(element: ElementTree.Element) -> tuple[str, int] | None:
    text = (element.text or "").strip()
    # some small nodules have the elements, with nothing or 0 in them
    if text in ("", "0"):
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 2:
        raise _Malformed(f"{_name(element)}: expected a small integer, got {text!r}")
    return _name(element), int(text)


def _point(element: ElementTree.Element, *path: str) -> tuple[int, int]:
    row, column = (_coordinate(_text(element, *path, name), name) for name in ("yCoord", "xCoord"))
    return row, column


def _coordinate(text: str, name: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 9 and int(text) <= _LARGEST_COORDINATE:
        return int(text)
    raise _Malformed(f"{name}: expected the number of a pixel, got {text!r}")


def _z(element: ElementTree.Element) -> float:
    text = _text(element, "imageZposition")
    try:
        z = float(text)
    except ValueError:
        z = math.nan
    if not math.isfinite(z):
        raise _Malformed(f"imageZposition: expected a number in mm, got {text!r}")
    return z


def _text(element: ElementTree.Element, *path: str) -> str:
    """Return what the first element of this path holds, in whatever namespace."""
    text = (element.findtext("/".join(f"{{*}}{name}" for name in path)) or "").strip()
    if not text:
        raise _Malformed(f"{'/'.join(path)}: expected a value in {_name(element)}, got none")
    return text


@contextmanager
def _named(place: str | Path) -> Iterator[None]:
    """Begin messages with where it is."""
    try:
        yield
    except _Malformed as error:
        raise _Malformed(f"{place}: {error}") from error


def _name(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]
