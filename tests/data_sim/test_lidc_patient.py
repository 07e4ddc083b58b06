"""Synthetic patients: what they depend on, place of the slices, variety, noise."""

import dataclasses

import numpy as np
import pytest
from lidc_trees import PATIENTS, SEED

from data_sim import lidc_patient
from data_sim.lidc.images import stored_slice
from data_sim.lidc.scanner import SCANNERS
from data_sim.resolution import kernel_noise

SHAPE = (96, 96)


@pytest.fixture(scope="module")
def many():
    return [lidc_patient(index, seed=3, slices=8) for index in range(1, 61)]


def anatomy(patient):
    return [dataclasses.astuple(lesion) for lesion in patient.lesions]


def test_anatomy_depends_on_number_and_seed_alone():
    one = lidc_patient(2, SEED, slices=8)
    image = one.thorax.slice(0.0, (40, 40), 9.0)
    for options in ({"slices": 1}, {"slices": 8, "shape": (64, 80)}):
        other = lidc_patient(2, SEED, **options)
        assert anatomy(one) == anatomy(other)
        assert np.array_equal(image, other.thorax.slice(0.0, (40, 40), 9.0))
        assert one.protocol.scanner == other.protocol.scanner
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
    assert len(set(found)) == len(found)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in found)


def test_slices_meet_nodules_where_there_are_any(many):
    for patient in many:
        low, high = patient.thorax.extent
        assert low <= min(patient.heights) <= max(patient.heights) <= high
        steps = np.diff(patient.heights)
        assert steps == pytest.approx(patient.protocol.interval, abs=1e-9)
        within = [x for x in patient.lesions if low < x.nodule.centre[2] < high]
        met = [x for x in patient.lesions if any(map(x.nodule.scale, patient.heights))]
        assert met or not within
        # large ones before small ones
        if not all(lesion.is_small for lesion in within):
            assert not all(lesion.is_small for lesion in met)


def test_many_slices_fit_the_chest():
    for index in range(1, 20):
        patient = lidc_patient(index, slices=300)
        assert 0.6 <= patient.protocol.interval <= 0.8
        low, high = patient.thorax.extent
        assert low <= patient.heights[0] < patient.heights[-1] <= high


def test_patients_are_varied(many):
    scans = [patient.protocol for patient in many]
    assert {scan.scanner for scan in scans} == set(SCANNERS)
    assert {(scan.position, scan.descending) for scan in scans} == {
        (position, descending) for position in ("HFS", "FFS") for descending in (False, True)
    }
    # z is counted from the middle, or from far below
    assert {scan.origin[2] > 1000 for scan in scans} == {False, True}
    assert all(0.5 <= patient.spacing <= 0.9 for patient in many)
    assert all(0.6 <= scan.interval <= scan.thickness <= 3 for scan in scans)
    # 60 draws of probability 1/3 have a standard deviation of 3.7
    assert 9 <= sum(patient.has_radiograph for patient in many) <= 31
    lesions = [lesion for patient in many for lesion in patient.lesions]
    assert {lesion.is_small for lesion in lesions} == {False, True}
    assert any(lesion.cavity is not None for lesion in lesions)


# The last one has a field of view that is wider than drawn, for a nodule's sake.
@pytest.mark.parametrize(("size", "seed", "numbers"), [(64, 0, range(1, 50)), (32, 1, [81])])
def test_every_nodule_is_in_the_scanned_circle(size, seed, numbers):
    for index in numbers:
        patient = lidc_patient(index, seed, slices=1, shape=(size, size))
        for nodule in (lesion.nodule for lesion in patient.lesions):
            reach = np.hypot(*nodule.centre[:2]) + max(nodule.semi_axes[:2])
            assert reach + 3 * patient.spacing < size / 2 * patient.spacing


@pytest.mark.parametrize("index", range(1, PATIENTS + 1))
def test_stored_values_are_the_thorax_with_noise(index):
    patient = lidc_patient(index, SEED, slices=2, shape=(128, 100))
    scanner = patient.protocol.scanner
    stored, other = (stored_slice(patient, i).astype(float) for i in (1, 0))
    inside = stored != (9999 if scanner.padding is None else scanner.padding)
    assert inside.all() == (scanner.padding is None)
    difference = stored + scanner.intercept - patient.hounsfield(1)
    # a disc of 20 mm in the middle, where the level hardly falls
    x, y = ((np.arange(n) - (n - 1) / 2) * patient.spacing for n in patient.shape)
    middle = difference[np.hypot(x[:, None], y) < 20]
    assert abs(difference[inside].mean()) < 0.05 * patient.protocol.kernel.noise
    assert middle.std() == pytest.approx(patient.protocol.kernel.noise, rel=0.25)
    # each slice has its own
    second = other + scanner.intercept - patient.hounsfield(0)
    assert abs(np.corrcoef(difference[inside], second[inside])[0, 1]) < 0.1


@pytest.mark.parametrize("shape", [(256, 256), (128, 201)])
def test_noise_has_the_spectrum_of_filtered_back_projection(shape, numpy_rng):
    drawn = [kernel_noise(numpy_rng, shape, 0.3) for _ in range(8)]
    power = np.mean([np.abs(np.fft.fft2(one)) ** 2 for one in drawn], 0)
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


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: lidc_patient(0, slices=1), ValueError, "index: expected an integer >= 1, got 0"),
        (lambda: lidc_patient(10000, slices=1), ValueError, "index: expected 1 to 9999, got 10000"),
        (lambda: lidc_patient(1.0, slices=1), TypeError, "index: expected an integer"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
