"""Annotations: what is read, and that nothing else is."""

import re

import pytest

from tomolearn.data.lidc import read_annotations
from tomolearn.data.lidc.annotations import annotated_series
from tomolearn.data.lidc.folders import AnnotationFiles
from tomolearn.dicom import Series, SeriesIndex

RATINGS = "".join(
    f"<{name}>{value}</{name}>"
    for name, value in (("subtlety", 5), ("internalStructure", 1), ("malignancy", 4))
)


def edge(row, column):
    return f"<edgeMap><xCoord>{column}</xCoord><yCoord>{row}</yCoord></edgeMap>"


def roi(points, uid="1.2.3", z="-10.5", inclusion="TRUE"):
    edges = "".join(edge(*point) for point in points)
    return (
        f"<roi><imageZposition>{z} </imageZposition><imageSOP_UID>{uid}</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{edges}</roi>"
    )


def nodule(name, *rois, ratings=RATINGS):
    chars = "" if ratings is None else f"<characteristics>{ratings}</characteristics>"
    return (
        f"<unblindedReadNodule><noduleID>{name}</noduleID>{chars}{''.join(rois)}"
        "</unblindedReadNodule>"
    )


OTHER = (
    "<nonNodule><nonNoduleID>7</nonNoduleID><imageZposition>3</imageZposition>"
    "<imageSOP_UID>1.2.9</imageSOP_UID><locus><xCoord>11</xCoord><yCoord>12</yCoord></locus>"
    "</nonNodule>"
)
SQUARE = [(4, 10), (4, 14), (8, 14), (8, 10)]


def message(*sessions, root="LidcReadMessage", head="<?xml version='1.0' encoding='UTF-8'?>"):
    found = "".join(f"<readingSession>{session}</readingSession>" for session in sessions)
    return (
        f'{head}<{root} xmlns="http://www.nih.gov"><ResponseHeader>'
        "<SeriesInstanceUid>1.2.840.1</SeriesInstanceUid>"
        f"<StudyInstanceUID>1.2.840.2</StudyInstanceUID></ResponseHeader>{found}</{root}>"
    )


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "069.xml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def test_all_of_a_message_is_read(write):
    first = nodule("Nodule 001", roi(SQUARE), roi([(5, 11), (6, 12)], "1.2.4", "-8", "FALSE"))
    path = write(message(first + OTHER, nodule("0", roi([(7, 9)]), ratings=None)))
    found = read_annotations(path)
    assert (found.series_uid, found.study_uid, found.n_readers) == ("1.2.840.1", "1.2.840.2", 2)
    large, small = found.nodules
    assert (large.reader, large.id, large.is_small) == (0, "Nodule 001", False)
    assert dict(large.characteristics) == {"subtlety": 5, "internalStructure": 1, "malignancy": 4}
    outline, hole = large.contours
    # x is the column, y the row
    assert outline.points == tuple(SQUARE)
    assert (outline.z, outline.sop_instance_uid, outline.inclusion) == (-10.5, "1.2.3", True)
    assert (hole.z, hole.inclusion) == (-8.0, False)
    assert (small.reader, small.is_small, dict(small.characteristics)) == (1, True, {})
    assert small.contours[0].points == ((7, 9),)
    (other,) = found.non_nodules
    assert (other.reader, other.id, other.point, other.z) == (0, "7", (12, 11), 3.0)
    assert found.outlined == (large,)
    assert annotated_series(path) == "1.2.840.1"


def test_empty_ratings_count_as_none(write):
    small = nodule("1", roi([(7, 9)]), ratings="<subtlety>0</subtlety><malignancy/>")
    assert dict(read_annotations(write(message(small))).nodules[0].characteristics) == {}


def test_marks_of_a_radiograph_are_no_series(write):
    path = write(message(root="IdriReadMessage"))
    assert annotated_series(path) is None
    with pytest.raises(ValueError, match=r"069\.xml: expected the element LidcReadMessage, got Id"):
        read_annotations(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected XML"),
        (message()[:-5], "expected XML"),
        (message(head="<?xml version='1.0' encoding='no-such'?>"), "expected XML"),
        (message().replace("<SeriesInstanceUid>1.2.840.1", "<SeriesInstanceUid>"), "SeriesInstanc"),
        (
            message().replace("ResponseHeader", "Head"),
            "ResponseHeader/SeriesInstanceUid: expected a",
        ),
        (message(nodule("9")), "reader 0, noduleID 9: roi: expected at least one, got none"),
        (message(nodule("9", roi([]))), "noduleID 9: edgeMap: expected at least one"),
        (message("", nodule("9", roi(SQUARE, z="far"))), "reader 1, .* imageZposition: .* 'far'"),
        (message(nodule("9", roi(SQUARE, z="nan"))), "imageZposition: expected a number in mm"),
        (message(nodule("9", roi([(-1, 2)]))), "yCoord: expected the number of a pixel, got '-1'"),
        (message(nodule("9", roi([(1, 2.5)]))), r"xCoord: expected the number .* got '2\.5'"),
        (message(nodule("9", roi([(1, 10**12)]))), "xCoord: expected the number of a pixel"),
        (message(nodule("9", roi(SQUARE, inclusion="?"))), "inclusion: expected TRUE or FALSE"),
        (message(nodule("9", roi(SQUARE, uid=""))), "imageSOP_UID: expected a value in roi, got"),
        (message(nodule("", roi(SQUARE))), "noduleID: expected a value"),
        (message(OTHER.replace("locus", "place")), "nonNoduleID 7: locus/yCoord: expected a val"),
    ],
)
def test_malformed(write, text, words):
    with pytest.raises(ValueError, match=r"069\.xml: ") as found:
        read_annotations(write(text))
    assert found.match(words)


GOOD = nodule("1", roi(SQUARE)) + OTHER


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (nodule("9"), "reader 0, noduleID 9: roi: expected at least one"),
        (nodule("9", roi(SQUARE, z="far")), "noduleID 9: imageZposition: .* 'far'"),
        (nodule("9", roi([*SQUARE[:2], (1, "x")])), "noduleID 9: xCoord: .* 'x'"),
        (nodule("9", roi([(1, "")])), "noduleID 9: xCoord: expected a value"),
        (nodule("", roi(SQUARE)), "noduleID: expected a value"),
        (OTHER.replace("locus", "place"), "nonNoduleID 7: locus/yCoord: expected a value"),
    ],
)
def test_marks_that_cannot_be_read_cost_themselves(write, spoilt, words):
    for session in (spoilt + GOOD, GOOD + spoilt):
        found = read_annotations(write(message(session, GOOD)))
        assert [one.id for one in found.nodules] == ["1", "1"]
        assert len(found.non_nodules) == 2
        (problem,) = found.problems
        assert re.search(words, problem)


def test_a_point_costs_itself_and_an_outline_the_others_not(write):
    edges = [*SQUARE, (6, "8.5"), (5, "None")]
    other = roi(SQUARE, uid="1.2.4")
    bad = roi(SQUARE, uid="1.2.5", inclusion="maybe")
    found = read_annotations(write(message(nodule("9", roi(edges), bad, other))))
    (mark,) = found.nodules
    assert [one.points for one in mark.contours] == [tuple(SQUARE), tuple(SQUARE)]
    assert [one.sop_instance_uid for one in mark.contours] == ["1.2.3", "1.2.4"]
    assert len(found.problems) == 3


@pytest.mark.parametrize("value", ["None", "nan", "4.5", "-1", "100"])
def test_a_rating_costs_itself(write, value):
    rated = nodule("9", roi(SQUARE), ratings=f"{RATINGS}<margin>{value}</margin>")
    found = read_annotations(write(message(rated)))
    assert dict(found.nodules[0].characteristics) == {
        "subtlety": 5, "internalStructure": 1, "malignancy": 4
    }  # fmt: skip
    assert found.problems == (
        f"reader 0, noduleID 9: margin: expected a small integer, got {value!r}",
    )


def test_what_is_left_out_of_marks_is_counted_and_said(write):
    path = write(message(nodule("9", roi(SQUARE), ratings="<margin>None</margin>") + OTHER))
    files = AnnotationFiles(path.parent)
    series = Series("1.2.840.1")
    index = SeriesIndex(path.parent, (series,), (), 1)
    assert len(files.read(series, index).nodules) == 1
    (said,) = files.problems.values()
    assert said.startswith(f"{path}: left out 1 parts of marks, first reader 0, noduleID 9: margin")


BOMB = "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;'>]>"


@pytest.mark.parametrize(
    "document",
    [
        f"<?xml version='1.0'?>{BOMB}<LidcReadMessage>&b;</LidcReadMessage>".encode(),
        f"<?xml version='1.0' encoding='UTF-16'?>{BOMB}<LidcReadMessage/>".encode("utf-16"),
        b"<!DOCTYPE r SYSTEM 'file:///etc/hostname'><r/>",
    ],
)
def test_entities_are_refused(write, document):
    path = write(document)
    for read in (read_annotations, annotated_series):
        with pytest.raises(ValueError, match="expected XML without a DOCTYPE"):
            read(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_annotations(tmp_path / "none.xml")
