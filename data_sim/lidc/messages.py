"""Readings as XML, in the format in which LIDC-IDRI publishes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from data_sim.lidc.patient import SyntheticPatient
from data_sim.lidc.reading import Mark, Reading

_READ = "1 - Reading complete"


def ct_message(patient: SyntheticPatient, readings: Sequence[Reading]) -> bytes:
    """Return the file with the readings of a patient's CT series, an ``LidcReadMessage``."""
    root = Element("LidcReadMessage", uid=patient.uid("reading"), xmlns="http://www.nih.gov")
    _fill(
        SubElement(root, "ResponseHeader"),
        Version="1.8.1",
        TaskDescription="Second unblinded read",
        SeriesInstanceUid=patient.series_instance_uid,
        ResponseDescription=_READ,
        StudyInstanceUID=patient.study_instance_uid,
    )
    for reading in readings:
        session = SubElement(root, "readingSession")
        _fill(session, annotationVersion="3.12", servicingRadiologistID=reading.reader)
        for mark in reading.marks:
            _add_mark(session, patient, mark)
        for other in reading.non_nodules:
            found = SubElement(session, "nonNodule")
            _fill(found, nonNoduleID=other.name, **_place(patient, other.slice))
            _add_points(found, "locus", [other.point])
    return _bytes(root)


def radiograph_message(patient: SyntheticPatient) -> bytes:
    """Return the file with the reading of a patient's radiograph, an ``IdriReadMessage``.

    It has no marks: who reads CT series has to tell that it is about none.
    """
    root = Element("IdriReadMessage", xmlns="http://www.nih.gov/idri")
    _fill(
        SubElement(root, "ResponseHeader"),
        CTSeriesInstanceUid=patient.series_instance_uid,
        ResponseDescription=_READ,
        StudyInstanceUID=patient.uid("radiograph study"),
        CXRSeriesInstanceUid=patient.uid("radiograph series"),
    )
    return _bytes(root)


def _add_mark(session: Element, patient: SyntheticPatient, mark: Mark) -> None:
    found = SubElement(session, "unblindedReadNodule")
    _fill(found, noduleID=mark.name)
    if mark.characteristics:
        _fill(SubElement(found, "characteristics"), **mark.characteristics)
    for contour in mark.contours:
        region = SubElement(found, "roi")
        inclusion = "TRUE" if contour.inclusion else "FALSE"
        _fill(region, **_place(patient, contour.slice), inclusion=inclusion)
        _add_points(region, "edgeMap", contour.points)


def _place(patient: SyntheticPatient, i: int) -> dict[str, str]:
    return {
        "imageZposition": f"{patient.position(i)[2]:.6f}",
        "imageSOP_UID": patient.sop_instance_uid(i),
    }


def _add_points(parent: Element, tag: str, points: Iterable[Sequence[int]]) -> None:
    """Add points (row, column): x is the column, y the row."""
    for row, column in points:
        _fill(SubElement(parent, tag), xCoord=column, yCoord=row)


def _fill(parent: Element, **children: object) -> None:
    for tag, value in children.items():
        SubElement(parent, tag).text = str(value)


def _bytes(root: Element) -> bytes:
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"
