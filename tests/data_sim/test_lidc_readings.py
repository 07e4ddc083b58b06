"""Readings against the true outlines, and their XML against what was read."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from lidc_trees import SEED, enclosed
from scipy import ndimage

from data_sim import Nodule, lidc_patient
from data_sim.lidc import Lesion, read
from data_sim.lidc.messages import ct_message
from data_sim.lidc.reading import _other_places as other_places

RATINGS = {"internalStructure": 4, "calcification": 6}  # of all others the highest is 5
EIGHT = np.ones((3, 3), dtype=bool)
CT = "{http://www.nih.gov}"


@pytest.fixture(scope="module")
def readings():
    """Patients on the published grid with their readings; no image is drawn for them."""
    patients = [lidc_patient(k, seed, slices=9) for seed in (SEED, 17) for k in range(1, 13)]
    return [(patient, read(patient)) for patient in patients]


def marks(readings, *, small):
    for patient, found in readings:
        for mark in (mark for one in found for mark in one.marks):
            if patient.lesions[mark.lesion].is_small == small:
                yield patient, mark, patient.lesions[mark.lesion]


def test_contours_enclose_the_true_outline(readings):
    """Each reader's contour, filled, differs from the truth in a ring of pixels at its border."""
    tried, excluded, areas = 0, 0, []
    for patient, mark, lesion in marks(readings, small=False):
        chains = np.concatenate([contour.points for contour in mark.contours])
        # a window is enough, and much faster
        corner, size = chains.min(axis=0) - 8, np.ptp(chains, axis=0) + 17
        x, y = (
            ((k - (n - 1) / 2 + np.arange(m)) * patient.spacing)
            for k, m, n in zip(corner, size, patient.shape, strict=True)
        )
        drawn = {}
        for contour in mark.contours:
            inside = enclosed(contour.points - corner, size)
            if contour.inclusion:
                drawn[contour.slice] = inside
            else:
                excluded += 1
                assert lesion.cavity is not None
                # neither the hole nor its chain reaches beyond the nodule
                assert (inside <= drawn[contour.slice]).all()
                assert drawn[contour.slice][tuple((contour.points - corner).T)].all()
                drawn[contour.slice] = drawn[contour.slice] & ~inside
        for i, mask in drawn.items():
            z = patient.heights[i]
            scale = lesion.nodule.scale(z)
            if scale < 0.7:
                continue  # near the poles a section's size changes fast
            truth = lesion.nodule.distance(x[:, None], y, z) <= 0
            if lesion.cavity is not None:
                truth &= lesion.cavity.distance(x[:, None], y, z) > 0
            # Sizes differ by 4 % and places by 0.25 mm, at most twice that along each axis; at a
            # scale s the growth along z counts 1 / s^2 times.
            slack = 0.083 / scale**2 * max(lesion.nodule.semi_axes[:2]) + 0.5 * 2**0.5
            ring = int(np.ceil(slack / patient.spacing))
            assert (mask <= ndimage.binary_dilation(truth, EIGHT, ring)).all()
            assert (ndimage.binary_erosion(truth, EIGHT, ring) <= mask).all()
            areas.append(mask.sum() / truth.sum())
            tried += 1
    assert (tried > 50, excluded > 5) == (True, True)
    # the readers agree with the truth on average; the closed contours are a little larger
    assert np.mean(areas) == pytest.approx(1, abs=0.05)


def test_large_nodules_are_outlined_on_every_slice(readings):
    for patient, mark, lesion in marks(readings, small=False):
        slices = {contour.slice for contour in mark.contours if contour.inclusion}
        # all that are well within; the reader's own outline decides at the poles
        well = {i for i, z in enumerate(patient.heights) if lesion.nodule.scale(z) > 0.5}
        assert well <= slices
        assert len(mark.characteristics) == 9
        assert all(
            1 <= value <= RATINGS.get(name, 5) for name, value in mark.characteristics.items()
        )


def test_small_nodules_are_single_points_near_the_centre(readings):
    tried = 0
    for patient, mark, lesion in marks(readings, small=True):
        (contour,) = mark.contours
        assert (contour.inclusion, contour.points.shape, mark.characteristics) == (True, (1, 2), {})
        place = (contour.points[0] - (np.array(patient.shape) - 1) / 2) * patient.spacing
        # half a pixel, and twice 0.25 mm, along both axes
        limit = np.hypot(*2 * [0.5 * patient.spacing + 0.5])
        assert np.hypot(*(place - lesion.nodule.centre[:2])) <= limit
        apart = np.abs(np.array(patient.heights) - lesion.nodule.centre[2])
        assert apart[contour.slice] == apart.min()
        tried += 1
    assert tried > 5


def test_readers_see_most_nodules_each_in_their_own_way(readings):
    seen = possible = 0
    sizes = []
    for patient, found in readings:
        for k, lesion in enumerate(patient.lesions):
            if max(map(lesion.nodule.scale, patient.heights)) <= 0.7:
                continue
            own = [mark for one in found for mark in one.marks if mark.lesion == k]
            possible, seen = possible + 4, seen + len(own)
            if lesion.nodule.diameter > 6:
                sizes.append(len({c.points.tobytes() for mark in own for c in mark.contours[:1]}))
    # 0.85, with a standard deviation of 0.36 / sqrt(n)
    assert possible > 80
    assert seen / possible == pytest.approx(0.85, abs=0.12)
    assert np.mean(sizes) > 2.5


def test_other_marks_lie_in_the_lungs(readings):
    tried = 0
    for patient, found in readings[:6]:
        for other in (other for one in found for other in one.non_nodules):
            row, column = other.point
            image = patient.hounsfield(other.slice)
            around = image[row - 4 : row + 5, column - 4 : column + 5]
            assert np.percentile(around, 20) < -600
            tried += 1
    assert tried > 3


def test_other_marks_lie_in_the_image_and_apart_from_nodules(readings):
    tried = 0
    for patient, _ in readings:
        centre = patient.thorax.lung_points(np.random.default_rng(0), 1)[0]
        large = Nodule(tuple(centre), (40.0, 40.0, 40.0), 0.0, "solid", 0.0, 0.0)
        # an image of the middle of the chest
        narrow = replace(patient, lesions=(Lesion(large),), spacing=patient.spacing / 3)
        for i, *pixel in other_places(narrow):
            # a margin of two, since readers differ by one
            assert 2 <= min(pixel) <= max(pixel) < 510
            place = (np.array(pixel) - 255.5) * narrow.spacing
            # 64 mm, less half a pixel and half of the distance of slices
            assert np.linalg.norm([*(place - centre[:2]), narrow.heights[i] - centre[2]]) > 60
            tried += 1
    assert tried > 3


def test_coarse_pixels_hold_no_nodule_that_they_miss_and_no_hole_beyond_it():
    for index in range(1, 30):
        patient = lidc_patient(index, SEED, slices=3, shape=(32, 32))
        for mark in (mark for reading in read(patient) for mark in reading.marks):
            small = patient.lesions[mark.lesion].is_small
            for contour in mark.contours:
                assert len(contour.points) == 1 if small else len(contour.points) >= 5
                assert 0 <= contour.points.min() <= contour.points.max() < 32
            drawn = {c.slice: enclosed(c.points, (32, 32)) for c in mark.contours if c.inclusion}
            for hole in (contour for contour in mark.contours if not contour.inclusion):
                assert drawn[hole.slice][tuple(hole.points.T)].all()


def test_xml_has_all_that_was_read(readings):
    def texts(element, *names):
        return [element.find(CT + name).text for name in names]

    for patient, found in readings[:6]:
        root = ElementTree.fromstring(ct_message(patient, found))
        uids = [patient.study_instance_uid, patient.series_instance_uid]
        assert texts(root[0], "StudyInstanceUID", "SeriesInstanceUid") == uids
        sessions = root.findall(f"{CT}readingSession")
        for session, reading in zip(sessions, found, strict=True):
            nodules = session.findall(f"{CT}unblindedReadNodule")
            for nodule, mark in zip(nodules, reading.marks, strict=True):
                assert texts(nodule, "noduleID") == [mark.name]
                rated = {c.tag: int(c.text) for c in nodule.findall(f"{CT}characteristics/*")}
                assert rated == {CT + name: value for name, value in mark.characteristics.items()}
                regions = nodule.findall(f"{CT}roi")
                for roi, contour in zip(regions, mark.contours, strict=True):
                    z, uid, inclusion = texts(roi, "imageZposition", "imageSOP_UID", "inclusion")
                    assert float(z) == patient.position(contour.slice)[2]
                    assert uid == patient.sop_instance_uid(contour.slice)
                    assert inclusion == str(contour.inclusion).upper()
                    chain = [texts(e, "yCoord", "xCoord") for e in roi.findall(f"{CT}edgeMap")]
                    assert np.array_equal(np.array(chain, dtype=int), contour.points)
            others = session.findall(f"{CT}nonNodule")
            for element, other in zip(others, reading.non_nodules, strict=True):
                place = texts(element.find(f"{CT}locus"), "yCoord", "xCoord")
                assert tuple(map(int, place)) == other.point
