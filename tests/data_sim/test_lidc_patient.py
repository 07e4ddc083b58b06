"""Synthetic patients: anatomy, scanner, place of the slices, noise, and the truth's geometry."""

import dataclasses
import pickle
from collections import Counter

import numpy as np
import pytest
from lidc_trees import PATIENTS, SEED

from data_sim import SyntheticPatient, lidc_patient
from data_sim.lidc.images import noise, stored_slice
from data_sim.lidc.scanner import SCANNERS

SHAPE = (96, 96)


@pytest.fixture(scope="module")
def many():
    return [lidc_patient(index, seed=3, slices=8) for index in range(1, 101)]


def anatomy(patient):
    return [dataclasses.astuple(lesion) for lesion in patient.lesions]


def test_anatomy_depends_on_number_and_seed_alone():
    one = lidc_patient(2, SEED, slices=8)
    for other in (
        lidc_patient(2, SEED, slices=1),
        lidc_patient(2, SEED, slices=8, shape=(64, 80)),
    ):
        assert anatomy(one) == anatomy(other)
        image, again = (p.thorax.slice(0.0, (40, 40), 9.0) for p in (one, other))
        assert np.array_equal(image, again)
        assert one.acquisition.scanner == other.acquisition.scanner
    for other in (lidc_patient(3, SEED, slices=8), lidc_patient(2, SEED + 1, slices=8)):
        assert not np.array_equal(image, other.thorax.slice(0.0, (40, 40), 9.0))


def test_uids_tell_different_images_apart():
    options = [(1, 0, 3, (64, 64)), (2, 0, 3, (64, 64)), (1, 1, 3, (64, 64))]
    options += [(1, 0, 4, (64, 64)), (1, 0, 3, (64, 65))]
    found = []
    for index, seed, slices, shape in options:
        patient = lidc_patient(index, seed, slices=slices, shape=shape)
        found += [patient.study_instance_uid, patient.series_instance_uid]
        found += [patient.sop_instance_uid(i) for i in range(slices)]
        again = lidc_patient(index, seed, slices=slices, shape=shape)
        assert again.series_instance_uid == patient.series_instance_uid
    assert len(set(found)) == len(found)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in found)


def test_slices_meet_nodules_where_there_are_any(many):
    for patient in many:
        low, high = patient.thorax.extent
        assert low <= min(patient.heights)
        assert max(patient.heights) <= high
        steps = np.diff(patient.heights)
        assert steps == pytest.approx(patient.acquisition.interval, abs=1e-9)
        within = [x for x in patient.lesions if low < x.nodule.centre[2] < high]
        met = [lesion for lesion in patient.lesions if patient.met(lesion)]
        assert met or not within
        # large ones before small ones
        if not all(lesion.is_small for lesion in within):
            assert not all(lesion.is_small for lesion in met)


def test_many_slices_fit_the_chest():
    for index in range(1, 20):
        patient = lidc_patient(index, slices=300)
        assert 0.6 <= patient.acquisition.interval <= 0.8
        assert patient.thorax.extent[0] <= patient.heights[0]
        assert patient.heights[-1] <= patient.thorax.extent[1]


def test_patients_are_as_varied_as_the_published_ones(many):
    scans = [patient.acquisition for patient in many]
    assert {scan.scanner for scan in scans} == set(SCANNERS)
    assert {scan.position for scan in scans} == {"HFS", "FFS"}
    assert {scan.descending for scan in scans} == {False, True}
    assert {scan.kvp for scan in scans} == {120, 140}
    assert all(0.5 <= patient.spacing <= 0.9 for patient in many)
    assert all(0.6 <= scan.interval <= scan.thickness <= 3 for scan in scans)
    radiographs = Counter(patient.radiograph for patient in many)
    # 100 draws of probability 1/3 have a standard deviation of 4.7
    assert 19 <= radiographs["CR"] + radiographs["DX"] <= 48
    assert min(radiographs["CR"], radiographs["DX"]) > 0
    lesions = [lesion for patient in many for lesion in patient.lesions]
    assert {lesion.is_small for lesion in lesions} == {False, True}
    assert any(lesion.cavity is not None for lesion in lesions)


# The last one has a field of view that is wider than drawn, for a nodule's sake.
@pytest.mark.parametrize(
    ("size", "seed", "numbers"), [(64, 0, range(1, 50)), (512, 0, range(1, 50)), (32, 1, [81])]
)
def test_every_nodule_is_in_the_scanned_circle(size, seed, numbers):
    for index in numbers:
        patient = lidc_patient(index, seed, slices=1, shape=(size, size))
        radius = size / 2 * patient.spacing
        for lesion in patient.lesions:
            reach = np.hypot(*lesion.nodule.centre[:2]) + max(lesion.nodule.semi_axes[:2])
            assert reach + 3 * patient.spacing < radius


def test_truth_is_where_the_affine_map_says():
    tried = 0
    for index in range(1, 40):
        patient = lidc_patient(index, slices=3, shape=(320, 300))
        for k, lesion in enumerate(patient.lesions):
            # two thirds of the patients have three slices through a nodule of this size
            if lesion.nodule.diameter < 5 or not patient.met(lesion):
                continue
            i = min(
                patient.met(lesion), key=lambda i: abs(patient.heights[i] - lesion.nodule.centre[2])
            )
            outline = lesion.nodule.outline(patient.heights[i], 400)
            middle = np.append(outline.mean(axis=0), patient.heights[i])
            rows, columns = np.nonzero(patient.nodule_mask(k, i))
            place = patient.affine @ (i, rows.mean(), columns.mean(), 1)
            # a mask's centroid is known to a fraction of a pixel
            assert place[:3] == pytest.approx(patient.to_patient(middle), abs=0.8 * patient.spacing)
            assert patient.affine @ (i, 0, 0, 1) == pytest.approx(
                (*patient.position(i), 1), abs=1e-6
            )
            tried += 1
    assert tried > 8


def test_cavities_are_no_part_of_the_nodule():
    patient = lidc_patient(2, SEED, slices=5, shape=(256, 256))
    lesion = patient.lesions[0]
    assert lesion.cavity is not None
    i = 2
    mask, image = patient.nodule_mask(0, i), patient.hounsfield(i)
    row, column = np.array(lesion.nodule.centre[:2]) / patient.spacing + 127.5
    assert not mask[round(row), round(column)]
    assert image[round(row), round(column)] < -800
    assert np.median(image[mask]) > -200
    area = mask.sum() * patient.spacing**2
    z = patient.heights[i]
    expected = lesion.nodule.area(z) - lesion.cavity.area(z)
    # the border's pixels, each counted as in or out, err like the root of their number
    assert area == pytest.approx(expected, abs=8 * patient.spacing**2)


@pytest.mark.parametrize("index", range(1, PATIENTS + 1))
def test_stored_values_are_the_thorax_with_noise(index):
    patient = lidc_patient(index, SEED, slices=2, shape=(128, 100))
    scanner = patient.acquisition.scanner
    stored = stored_slice(patient, 1)
    assert stored.dtype == (np.int16 if scanner.signed else np.uint16)
    assert (stored[patient.outside] == (scanner.padding or 0)).all()
    assert patient.outside.any() == (scanner.padding is not None)
    inside = ~patient.outside
    difference = (stored.astype(float) + scanner.intercept - patient.hounsfield(1))[inside]
    level = patient.noise_level[inside]
    relative = difference / level
    # some 10^4 pixels, correlated over a few
    assert abs(relative.mean()) < 0.05
    assert relative.std() == pytest.approx(1, abs=0.06)
    assert level.max() == pytest.approx(patient.acquisition.kernel.noise, rel=0.01)


def test_noise_of_a_slice_is_its_own():
    patient = lidc_patient(2, SEED, slices=3, shape=(64, 64))
    scanner = patient.acquisition.scanner
    first, second = (
        stored_slice(patient, i).astype(float) + scanner.intercept - patient.hounsfield(i)
        for i in range(2)
    )
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1
    assert np.array_equal(stored_slice(patient, 1), stored_slice(patient, 1))


@pytest.mark.parametrize("shape", [(256, 256), (128, 201)])
def test_noise_has_the_spectrum_of_filtered_back_projection(shape, numpy_rng):
    power = np.mean([np.abs(np.fft.fft2(noise(numpy_rng, shape, 0.3))) ** 2 for _ in range(8)], 0)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    # Parseval: a variance of 1
    assert power.sum() / np.prod(shape) ** 2 == pytest.approx(1, rel=0.02)

    def density(low, high):
        return power[(low <= frequency) & (frequency < high)].mean()

    # |f exp(-(f / 0.3)^2)|^2: a ramp, highest at 0.3 / sqrt(2), then falling
    assert density(0.02, 0.04) < 0.15 * density(0.19, 0.23)
    assert density(0.45, 0.5) < 0.3 * density(0.19, 0.23)


def test_values_beyond_twelve_bits_are_clipped():
    for scanner in SCANNERS:
        stored = scanner.stored(np.array([-5000.0, -1024.4, -0.6, 3071.2, 9000.0]))
        assert (stored.astype(int) + scanner.intercept).tolist() == [-1024, -1024, -1, 3071, 3071]


def test_patients_travel_between_processes():
    patient = lidc_patient(1, slices=2, shape=SHAPE)
    again = pickle.loads(pickle.dumps(patient))
    assert isinstance(again, SyntheticPatient)
    assert np.array_equal(again.hounsfield(1), patient.hounsfield(1))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: lidc_patient(0, slices=1), ValueError, "index: expected an integer >= 1, got 0"),
        (lambda: lidc_patient(10000, slices=1), ValueError, "index: expected a patient number"),
        (lambda: lidc_patient(1.0, slices=1), TypeError, "index: expected an integer"),
        (lambda: lidc_patient(1, -1, slices=1), ValueError, "seed: expected an integer >= 0"),
        (lambda: lidc_patient(1, slices=0), ValueError, "slices: expected an integer >= 1"),
        (lambda: lidc_patient(1, slices=301), ValueError, "slices: expected 1 to 300"),
        (
            lambda: lidc_patient(1, slices=1, shape=(31, 64)),
            ValueError,
            r"shape\[0\]: expected an integer >= 32, got 31",
        ),
        (lambda: lidc_patient(1, slices=1, shape=64), TypeError, "shape: expected a pair"),
        (
            lambda: lidc_patient(1, slices=2, shape=SHAPE).hounsfield(2),
            ValueError,
            "i: expected one of 2 slices, got 2",
        ),
        (
            lambda: lidc_patient(1, slices=2, shape=SHAPE).position(-1),
            ValueError,
            "i: expected an integer >= 0",
        ),
        (
            lambda: lidc_patient(1, slices=2, shape=SHAPE).nodule_mask(99, 0),
            ValueError,
            "lesion: expected one of this patient's",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
