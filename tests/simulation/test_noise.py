"""Photon noise against the exact moments of its law."""

import numpy as np
import pytest
import torch
from scipy import stats

from tomolearn import TomolearnError
from tomolearn.simulation import (
    Acquisition,
    CoveringScan,
    GaussianNoise,
    PhotonNoise,
    PolychromaticNoise,
    Spectrum,
)
from tomolearn.simulation.noise import noise_from_dict

ATTENUATION = 0.08136


@pytest.mark.parametrize(("length", "photons"), [(0.0, 1e4), (50.0, 1e4), (90.0, 1e4), (90.0, 3e3)])
def test_line_integrals_have_mean_and_variance_of_counted_photons(numpy_rng, length, photons):
    noise = PhotonNoise(photons, ATTENUATION, 1e-8)
    clean = np.full((200, 300), length)
    measured = noise(clean, numpy_rng)
    # the moments as sums over all counts that occur, no photon at all among them
    expected = photons * np.exp(-ATTENUATION * length)
    counts = np.arange(int(expected + 20 * np.sqrt(expected) + 50))
    weight = stats.poisson.pmf(counts, expected)
    value = -np.log(np.maximum(counts / photons, 1e-8)) / ATTENUATION
    mean = weight @ value
    central = [weight @ (value - mean) ** k for k in (2, 4)]
    n = clean.size
    assert abs(measured.mean() - mean) < 5 * np.sqrt(central[0] / n)
    assert abs(measured.var() - central[0]) < 5 * np.sqrt((central[1] - central[0] ** 2) / n)
    if expected > 1000:
        # for many photons: 1 / (expected attenuation^2)
        assert measured.var() == pytest.approx(1 / (expected * ATTENUATION**2), rel=0.03)


def test_no_photon_is_read_as_the_floor(numpy_rng):
    dark = PhotonNoise(100.0, ATTENUATION, 1e-3)(np.full((2, 3), 1e3), numpy_rng)
    assert dark == pytest.approx(-np.log(1e-3) / ATTENUATION)


def test_input_is_left_alone_and_type_is_kept(numpy_rng):
    clean = np.ones((3, 4), dtype=np.float32)
    measured = PhotonNoise(1e4, ATTENUATION)(clean, numpy_rng)
    assert measured.dtype == np.float32
    assert (clean == 1).all()
    assert not np.array_equal(measured, clean)


def test_a_tenth_of_a_photon_is_the_least_by_default(numpy_rng):
    dark = PhotonNoise(100.0, ATTENUATION)(np.full((2, 3), 1e3), numpy_rng)
    assert dark == pytest.approx(-np.log(0.1 / 100) / ATTENUATION)


def test_gaussian_deviation_is_a_part_of_the_mean_of_the_whole(numpy_rng):
    # views of a volume that differ have noise of one deviation
    clean = np.stack([np.full((60, 60), level) for level in (0.0, 1.0, 2.0, 5.0)])
    errors = GaussianNoise(0.1)(clean, numpy_rng) - clean
    for one in errors:
        assert one.std() == pytest.approx(0.2, rel=5 / np.sqrt(2 * one.size))


def test_description():
    noise = PhotonNoise(10_000, ATTENUATION, electronic_std=2)
    assert str(noise) == "10,000 photons, electronic noise 2, 81.36 / m per unit"
    assert noise == PhotonNoise(1e4, ATTENUATION, None, 2.0)
    values = {"photons": 1e4, "attenuation": ATTENUATION, "floor": None, "electronic_std": 2.0}
    assert noise.to_dict() == {"type": "PhotonNoise", **values}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.0, 1.0), ValueError, "photons: expected a positive"),
        ((1.0, -1.0), ValueError, "attenuation: expected a positive"),
        ((1.0, 1.0, 0.0), ValueError, "floor: expected a positive"),
        ((1.0, 1.0, 1.0), ValueError, "floor: expected a fraction below 1"),
        (("many", 1.0), TypeError, "photons: expected a"),
        ((1e16,), ValueError, "photons: expected at most 1e\\+15, got 1e\\+16; leave them out"),
        ((1e4, 1.0, None, -1.0), ValueError, "electronic_std: expected a non-negative"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        PhotonNoise(*arguments)


def test_hardening_is_that_of_a_spectrum_of_two_energies(numpy_rng):
    clean = np.linspace(0, 4, 60).reshape(6, 10)
    measured = PolychromaticNoise(hardening=(0.3, 0.3))(clean, numpy_rng)
    spectrum = Spectrum(energies=(20.0, 40.0), shares=(1.0, 1.0))
    expected = spectrum.line_integrals(torch.from_numpy(clean)[None], [(1.3, 0.7)])
    np.testing.assert_allclose(measured, expected.numpy(), atol=1e-12)


def test_hardening_is_drawn_for_each_sinogram_between_its_bounds(numpy_rng):
    noise = PolychromaticNoise(hardening=(0.2, 0.6))
    clean = np.full((3, 4), 2.0)
    found = np.array([noise(clean, numpy_rng)[0, 0] for _ in range(200)])
    ends = [2.0 - np.log(np.cosh(h * 2.0)) for h in (0.2, 0.6)]
    assert found.max() <= ends[0]
    assert found.min() >= ends[1]
    assert np.ptp(found) > 0.9 * (ends[0] - ends[1])


def test_noise_beside_hardening_is_white(numpy_rng):
    noise = PolychromaticNoise(hardening=(0.0, 0.0), std=0.1)
    clean = np.ones((200, 200), np.float32)
    measured = noise(clean, numpy_rng)
    assert measured.dtype == np.float32
    assert (measured - clean).std() == pytest.approx(0.1, rel=5 / np.sqrt(2 * clean.size))
    assert noise.level(clean) == 0.1


def test_hardening_survives_json():
    noise = PolychromaticNoise(hardening=(0.2, 0.6), std=0.01)
    written = noise.to_dict() | {"hardening": [0.2, 0.6]}
    assert noise_from_dict(written) == noise
    assert "beam hardening 0.2 to 0.6" in str(noise)


@pytest.mark.parametrize("hardening", [(0.5, 0.2), (-0.1, 0.2), (0.1, 1.0), (0.1,)])
def test_hardening_that_is_none_is_refused(hardening):
    with pytest.raises(TomolearnError, match="hardening: expected"):
        PolychromaticNoise(hardening=hardening)


def test_dose_divides_the_variance(numpy_rng):
    clean = np.full((400, 400), 2.0)
    for noise in (
        GaussianNoise(0.05),
        GaussianNoise(std=0.1),
        PhotonNoise(10_000, attenuation=0.5),
    ):
        ratio = noise(clean, numpy_rng).var() / noise.at_dose(4.0)(clean, numpy_rng).var()
        # 160,000 bins: a standard error of 0.5 % of the ratio
        assert ratio == pytest.approx(4, rel=0.02)
    with pytest.raises(ValueError, match="dose: expected a positive number"):
        GaussianNoise(0.05).at_dose(0.0)
    with pytest.raises(ValueError, match="dose: expected noise that depends on it"):
        Acquisition(CoveringScan("parallel", 8)).at_dose(0.5)
