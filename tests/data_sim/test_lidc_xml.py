"""The readings in the XML files, against LIDC's format and the true outlines."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pydicom
import pytest
from lidc_trees import (
    CT,
    CXR,
    PATIENTS,
    SEED,
    enclosed,
    parse,
    points,
)
from scipy import ndimage

from data_sim import lidc_patient, write_lidc
from data_sim.lidc import patient_files, read
from data_sim.lidc.messages import ct_message

RATINGS = {
    "subtlety": 5,
    "internalStructure": 4,
    "calcification": 6,
    "sphericity": 5,
    "margin": 5,
    "lobulation": 5,
    "spiculation": 5,
    "texture": 5,
    "malignancy": 5,
}
EIGHT = np.ones((3, 3), dtype=bool)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_lidc(tmp_path_factory.mktemp("xml"), PATIENTS, 2, seed=SEED, shape=(64, 64)).root


@pytest.fixture(scope="module")
def read_patients():
    """Patients on the published grid with their parsed readings; no image is drawn for them."""
    found = []
    for seed in (SEED, 17):
        for index in range(1, 13):
            patient = lidc_patient(index, seed, slices=9)
            root = ElementTree.fromstring(ct_message(patient, read(patient)))
            found.append((patient, root))
    return found


def regions(patient, root):
    """Each mark with its true lesion, one reader after the other: (lesion, reader, regions)."""
    for reader, session in enumerate(root.findall(f"{CT}readingSession")):
        for found in session.findall(f"{CT}unblindedReadNodule"):
            rois = []
            for roi in found.findall(f"{CT}roi"):
                uid = roi.find(f"{CT}imageSOP_UID").text
                i = next(k for k in range(len(patient)) if patient.sop_instance_uid(k) == uid)
                inclusion = roi.find(f"{CT}inclusion").text
                rois.append((i, inclusion, points(roi, "edgeMap")))
            i, _, chain = rois[0]
            place = np.append(chain.mean(axis=0) - (np.array(patient.shape) - 1) / 2, 0)
            place = place * patient.spacing + (0, 0, patient.heights[i])
            distance = [np.linalg.norm(place - x.nodule.centre) for x in patient.lesions]
            yield int(np.argmin(distance)), reader, found, rois


def test_files_are_of_the_published_schema(tree):
    files = sorted(tree.rglob("*.xml"))
    assert len(files) == PATIENTS + 2
    for path in files:
        text = path.read_text(encoding="utf-8")
        root = parse(path)
        assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
        data = [pydicom.dcmread(p, stop_before_pixels=True) for p in path.parent.glob("*.dcm")]
        header = {child.tag.split("}")[1]: child.text for child in root[0]}
        assert root[0].tag.endswith("}ResponseHeader")
        assert header["StudyInstanceUID"] == data[0].StudyInstanceUID
        if data[0].Modality == "CT":
            assert root.tag == f"{CT}LidcReadMessage"
            assert (
                "http://www.nih.gov http://troll.rad.med.umich.edu/lidc/LidcReadMessage.xsd" in text
            )
            assert header["SeriesInstanceUid"] == data[0].SeriesInstanceUID
            assert header["TaskDescription"] == "Second unblinded read"
            assert list(header) == [
                "Version",
                "MessageId",
                "DateRequest",
                "TimeRequest",
                "RequestingSite",
                "ServicingSite",
                "TaskDescription",
                "CtImageFile",
                "SeriesInstanceUid",
                "DateService",
                "TimeService",
                "ResponseDescription",
                "StudyInstanceUID",
            ]
            assert [child.tag for child in root[1:]] == 4 * [f"{CT}readingSession"]
        else:
            assert root.tag == f"{CXR}IdriReadMessage"
            assert header["CXRSeriesInstanceUid"] == data[0].SeriesInstanceUID
            assert [child.tag for child in root[1:]] == 4 * [f"{CXR}CXRreadingSession"]
            for uid in root.iter(f"{CXR}imageSOP_UID"):
                assert uid.text == data[0].SOPInstanceUID


def test_sessions_have_the_published_elements(read_patients):
    def names(element):
        return [child.tag.removeprefix(CT) for child in element]

    kinds = set()
    for _, root in read_patients:
        for session in root.findall(f"{CT}readingSession"):
            assert names(session)[:2] == ["annotationVersion", "servicingRadiologistID"]
            assert set(names(session)[2:]) <= {"unblindedReadNodule", "nonNodule"}
            ids = [e.text for e in session.iter() if re.search("[nN]oduleID$", e.tag)]
            assert len(set(ids)) == len(ids)
            for nodule in session.findall(f"{CT}unblindedReadNodule"):
                large = nodule.find(f"{CT}characteristics") is not None
                kinds.add(("nodule", large))
                start = ["noduleID", "characteristics"] if large else ["noduleID"]
                rest = names(nodule)[len(start) :]
                assert names(nodule)[: len(start)] == start
                assert rest
                assert set(rest) == {"roi"}
                if large:
                    rated = {c.tag.removeprefix(CT): int(c.text) for c in nodule[1]}
                    assert list(rated) == list(RATINGS)
                    assert all(1 <= rated[name] <= top for name, top in RATINGS.items())
                for roi in nodule.findall(f"{CT}roi"):
                    assert names(roi)[:3] == ["imageZposition", "imageSOP_UID", "inclusion"]
                    assert set(names(roi)[3:]) == {"edgeMap"}
                    assert all(names(edge) == ["xCoord", "yCoord"] for edge in roi[3:])
            for other in session.findall(f"{CT}nonNodule"):
                kinds.add("other")
                assert names(other) == ["nonNoduleID", "imageZposition", "imageSOP_UID", "locus"]
                assert names(other[3]) == ["xCoord", "yCoord"]
    assert kinds == {("nodule", True), ("nodule", False), "other"}


def test_positions_are_those_of_the_images(tree):
    """Every z and UID in the XML is that of one of the files beside it."""
    tried = 0
    for path in tree.rglob("*.xml"):
        data = [pydicom.dcmread(p, stop_before_pixels=True) for p in path.parent.glob("*.dcm")]
        heights = {d.SOPInstanceUID: d.ImagePositionPatient[2] for d in data if d.Modality == "CT"}
        root = parse(path)
        places = [e for e in root.iter() if e.tag in (f"{CT}roi", f"{CT}nonNodule")]
        for place in places:
            z = float(place.find(f"{CT}imageZposition").text)
            assert z == heights[place.find(f"{CT}imageSOP_UID").text]
            tried += 1
    assert tried > 10


def test_contours_enclose_the_true_outline(read_patients):
    """Each reader's contour, filled, differs from the truth in a ring of pixels at its border."""
    tried, excluded, areas, truths = 0, 0, [], {}
    for patient, root in read_patients:
        for k, _, found, rois in regions(patient, root):
            lesion = patient.lesions[k]
            if lesion.is_small:
                continue
            assert found.find(f"{CT}characteristics") is not None
            # a window is enough, and much faster
            chains = np.concatenate([chain for _, _, chain in rois])
            corner, size = chains.min(axis=0) - 8, np.ptp(chains, axis=0) + 17
            window = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
            drawn = {}
            for i, inclusion, chain in rois:
                assert (chain[0] == chain[-1]).all()
                assert (np.abs(np.diff(chain, axis=0)).max(axis=1) == 1).all()
                inside = enclosed(chain - corner, size)
                if inclusion == "TRUE":
                    drawn[i] = inside
                else:
                    excluded += 1
                    assert lesion.cavity is not None
                    assert (inside <= drawn[i]).all()
                    # the chain is not part of what it excludes
                    assert drawn[i][tuple((chain - corner).T)].all()
                    drawn[i] = drawn[i] & ~inside
            for i, mask in drawn.items():
                scale = lesion.nodule.scale(patient.heights[i])
                if scale < 0.7:
                    continue  # near the poles a section's size changes fast
                if (id(patient), k, i) not in truths:
                    truths[id(patient), k, i] = patient.nodule_mask(k, i)
                truth = truths[id(patient), k, i][window]
                # Sizes differ by 4 % and places by 0.25 mm, at most twice that along each axis;
                # at a scale s the growth along z counts 1 / s^2 times.
                slack = 0.083 / scale**2 * max(lesion.nodule.semi_axes[:2]) + 0.5 * 2**0.5
                ring = int(np.ceil(slack / patient.spacing))
                assert (mask <= ndimage.binary_dilation(truth, EIGHT, ring)).all()
                assert (ndimage.binary_erosion(truth, EIGHT, ring) <= mask).all()
                areas.append(mask.sum() / truth.sum())
                tried += 1
    assert tried > 50
    assert excluded > 5
    # the readers agree with the truth on average; the closed contours are a little larger
    assert np.mean(areas) == pytest.approx(1, abs=0.05)


def test_large_nodules_are_outlined_on_every_slice(read_patients):
    tried = 0
    for patient, root in read_patients:
        for k, _, _, rois in regions(patient, root):
            lesion = patient.lesions[k]
            slices = {i for i, inclusion, _ in rois if inclusion == "TRUE"}
            # all that are well within; the reader's own outline decides at the poles
            well = {i for i, z in enumerate(patient.heights) if lesion.nodule.scale(z) > 0.5}
            if lesion.is_small:
                continue
            assert well <= slices
            tried += len(well)
    assert tried > 50


def test_small_nodules_are_single_points_near_the_centre(read_patients):
    tried = 0
    for patient, root in read_patients:
        for k, _, found, rois in regions(patient, root):
            nodule = patient.lesions[k].nodule
            if nodule.diameter >= 3:
                continue
            ((i, inclusion, chain),) = rois
            assert found.find(f"{CT}characteristics") is None
            assert inclusion == "TRUE"
            assert chain.shape == (1, 2)
            place = (chain[0] - (np.array(patient.shape) - 1) / 2) * patient.spacing
            # half a pixel, and twice 0.25 mm, along both axes
            limit = np.hypot(*2 * [0.5 * patient.spacing + 0.5])
            assert np.hypot(*(place - nodule.centre[:2])) <= limit
            apart = np.abs(np.array(patient.heights) - nodule.centre[2])
            assert apart[i] == apart.min()
            tried += 1
    assert tried > 5


def test_readers_see_most_nodules_each_in_his_own_way(read_patients):
    seen = possible = same = pairs = 0
    for patient, root in read_patients:
        marked = {}
        for k, reader, _, rois in regions(patient, root):
            marked.setdefault(k, {})[reader] = rois
        met = [
            k
            for k, x in enumerate(patient.lesions)
            if max(map(x.nodule.scale, patient.heights)) > 0.7
        ]
        possible += 4 * len(met)
        seen += sum(len(marked.get(k, {})) for k in met)
        for k in met:
            if patient.lesions[k].nodule.diameter < 6:
                continue
            chains = [
                np.concatenate([c for _, _, c in rois]) for rois in marked.get(k, {}).values()
            ]
            for first, second in pairwise(chains):
                pairs += 1
                same += np.array_equal(first, second)
    # 0.85, with a standard deviation of 0.36 / sqrt(n)
    assert possible > 80
    assert seen / possible == pytest.approx(0.85, abs=0.12)
    assert pairs > 10
    assert same < 0.2 * pairs


def test_other_marks_lie_in_the_lungs(read_patients):
    tried = 0
    for patient, root in read_patients[:6]:
        for other in root.iter(f"{CT}nonNodule"):
            uid = other.find(f"{CT}imageSOP_UID").text
            i = next(k for k in range(len(patient)) if patient.sop_instance_uid(k) == uid)
            ((row, column),) = points(other, "locus")
            around = patient.hounsfield(i)[row - 4 : row + 5, column - 4 : column + 5]
            assert np.percentile(around, 20) < -600
            tried += 1
    assert tried > 3


def test_coarse_pixels_that_miss_a_nodule_leave_it_unseen():
    for index in range(1, 30):
        patient = lidc_patient(index, SEED, slices=3, shape=(32, 32))
        for reading in read(patient):
            for mark in reading.marks:
                lesion = patient.lesions[mark.lesion]
                for contour in mark.contours:
                    assert len(contour.points) == 1 if lesion.is_small else len(contour.points) >= 5
                    assert contour.points.min() >= 0
                    assert contour.points.max() < 32


def test_radiograph_readings_mark_large_nodules(tree):
    tried = 0
    for index in range(1, PATIENTS + 1):
        patient = lidc_patient(index, SEED, slices=2, shape=(64, 64))
        path = patient_files(patient, tree).radiograph_annotation
        if path is None:
            continue
        data = pydicom.dcmread(path.parent / "1-1.dcm")
        for found in parse(path).iter(f"{CXR}unblindedRead"):
            assert [child.tag.removeprefix(CXR) for child in found] == [
                "noduleID",
                "characteristics",
                "roi",
            ]
            edge = found.find(f"{CXR}roi/{CXR}edgeMap")
            column, row = (int(value.text) for value in edge)
            assert 0 <= column < data.Columns
            assert 0 <= row < data.Rows
            tried += 1
    assert tried > 0


def test_the_tree_has_what_the_truth_has(tree):
    """The XML on disk is the message of the patient's readings."""
    for index in range(1, PATIENTS + 1):
        patient = lidc_patient(index, SEED, slices=2, shape=(64, 64))
        path = patient_files(patient, tree).annotation
        assert path.read_bytes() == ct_message(patient, read(patient))
