"""Readings as XML, in the two formats in which LIDC-IDRI publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray

from data_sim.lidc.identity import digits
from data_sim.lidc.patient import SyntheticPatient
from data_sim.lidc.reading import Contour, Mark, NonNodule, Reading

_SCHEMAS = "http://troll.rad.med.umich.edu/lidc"
_DATE, _TIME = "2000-01-01", "00:00:00"


def ct_message(patient: SyntheticPatient, readings: Sequence[Reading]) -> bytes:
    """Return the file with the readings of a patient's CT series, an ``LidcReadMessage``.

    Parameters
    ----------
    patient : SyntheticPatient
        Whose series it is.
    readings : sequence of Reading
        From `data_sim.lidc.reading.read`.

    Returns
    -------
    bytes
        UTF-8.
    """
    root = _root("LidcReadMessage", "http://www.nih.gov", patient.uid("reading"))
    header = SubElement(root, "ResponseHeader")
    _fill(
        header,
        ("Version", "1.8.1"),
        ("MessageId", digits(patient.uid("message"), 7)),
        ("DateRequest", _DATE),
        ("TimeRequest", _TIME),
        ("RequestingSite", "removed"),
        ("ServicingSite", "removed"),
        ("TaskDescription", "Second unblinded read"),
        ("CtImageFile", "removed"),
        ("SeriesInstanceUid", patient.series_instance_uid),
        ("DateService", _DATE),
        ("TimeService", _TIME),
        ("ResponseDescription", "1 - Reading complete"),
        ("StudyInstanceUID", patient.study_instance_uid),
    )
    for reading in readings:
        session = SubElement(root, "readingSession")
        _fill(session, ("annotationVersion", "3.12"), ("servicingRadiologistID", reading.reader))
        for mark in reading.marks:
            _add_mark(session, patient, mark)
        for other in reading.non_nodules:
            _add_non_nodule(session, patient, other)
    return _bytes(root)


def radiograph_message(
    patient: SyntheticPatient, readings: Sequence[Reading], places: dict[int, tuple[int, int]]
) -> bytes:
    """Return the file with the readings of a patient's radiograph, an ``IdriReadMessage``.

    Parameters
    ----------
    patient : SyntheticPatient
        Whose radiograph it is.
    readings : sequence of Reading
        Of the CT series; here the same nodules of 3 mm or more are marked.
    places : dict of int to (int, int)
        Row and column of each lesion in the radiograph; those that it does not show are missing.

    Returns
    -------
    bytes
        UTF-8.
    """
    root = _root("IdriReadMessage", "http://www.nih.gov/idri", patient.uid("radiograph reading"))
    header = SubElement(root, "ResponseHeader")
    _fill(
        header,
        ("Version", "1.8.1"),
        ("MessageId", digits(patient.uid("radiograph message"), 7)),
        ("DateRequest", _DATE),
        ("TimeRequest", _TIME),
        ("TaskDescription", "CXR read"),
        ("CTSeriesInstanceUid", patient.series_instance_uid),
        ("DateService", _DATE),
        ("TimeService", _TIME),
        ("ResponseDescription", "1 - Reading complete"),
        ("StudyInstanceUID", patient.uid("radiograph study")),
        ("CXRSeriesInstanceUid", patient.uid("radiograph series")),
        ("Modality", "CXR"),
    )
    for reading in readings:
        session = SubElement(root, "CXRreadingSession")
        _fill(session, ("annotationVersion", "3.12"), ("servicingRadiologistID", reading.reader))
        for mark in reading.marks:
            if mark.lesion not in places or not mark.characteristics:
                continue
            found = SubElement(session, "unblindedRead")
            _fill(found, ("noduleID", mark.name))
            subtlety = mark.characteristics["subtlety"]
            _fill(
                SubElement(found, "characteristics"),
                ("confidence", min(subtlety + 1, 5)),
                ("subtlety", subtlety),
                ("obscuration", 6 - subtlety),
            )
            region = SubElement(found, "roi")
            _fill(region, ("imageSOP_UID", patient.uid("radiograph image", 0)))
            _add_points(region, "edgeMap", [places[mark.lesion]])
    return _bytes(root)


def _add_mark(session: Element, patient: SyntheticPatient, mark: Mark) -> None:
    found = SubElement(session, "unblindedReadNodule")
    _fill(found, ("noduleID", mark.name))
    if mark.characteristics:
        _fill(SubElement(found, "characteristics"), *mark.characteristics.items())
    for contour in mark.contours:
        _add_region(found, patient, contour)


def _add_region(found: Element, patient: SyntheticPatient, contour: Contour) -> None:
    region = SubElement(found, "roi")
    _fill(
        region,
        *_place(patient, contour.slice),
        ("inclusion", "TRUE" if contour.inclusion else "FALSE"),
    )
    _add_points(region, "edgeMap", contour.points)


def _add_non_nodule(session: Element, patient: SyntheticPatient, other: NonNodule) -> None:
    found = SubElement(session, "nonNodule")
    _fill(found, ("nonNoduleID", other.name), *_place(patient, other.slice))
    _add_points(found, "locus", [other.point])


def _place(patient: SyntheticPatient, i: int) -> tuple[tuple[str, object], ...]:
    return (
        ("imageZposition", f"{patient.position(i)[2]:.6f}"),
        ("imageSOP_UID", patient.sop_instance_uid(i)),
    )


def _add_points(
    parent: Element, tag: str, points: NDArray[np.intp] | Sequence[tuple[int, int]]
) -> None:
    """Add points (row, column): x is the column, y the row."""
    for row, column in points:
        _fill(SubElement(parent, tag), ("xCoord", column), ("yCoord", row))


def _root(tag: str, namespace: str, uid: str) -> Element:
    # Written as plain attributes: registering a prefix would change all of ElementTree.
    return Element(
        tag,
        {
            "uid": uid,
            "xmlns": namespace,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{namespace} {_SCHEMAS}/{tag}.xsd",
        },
    )


def _fill(parent: Element, *children: tuple[str, object]) -> None:
    for tag, value in children:
        SubElement(parent, tag).text = str(value)


def _bytes(root: Element) -> bytes:
    ElementTree.indent(root, " ")
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()
