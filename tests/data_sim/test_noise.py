"""Noise: its laws, within five standard errors, and its promises."""

import numpy as np
import pytest

from data_sim import counts_to_line_integrals, gaussian_noise, low_dose, photon_counts

SHAPE = (200, 300)
N = 60_000


def generator(seed=0):
    return np.random.default_rng(seed)


def assert_moments(sample, mean, variance, excess_kurtosis=0.0):
    """Mean and variance within five standard errors."""
    n = sample.size
    assert abs(sample.mean() - mean) < 5 * np.sqrt(variance / n)
    assert abs(sample.var() - variance) < 5 * variance * np.sqrt((2 + excess_kurtosis) / n)


def test_absolute_gaussian_noise():
    clean = np.full(SHAPE, 3.0)
    assert_moments(gaussian_noise(clean, generator(), sigma=0.2), 3.0, 0.04)


def test_relative_gaussian_noise_follows_the_mean_magnitude_of_each_sinogram():
    clean = np.empty((2, 3, *SHAPE))
    clean[:] = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[..., None, None]
    clean[..., ::2] *= -3  # mean magnitude twice the value, plain mean minus the value
    noisy = gaussian_noise(clean, generator(), relative=0.05)
    for index in np.ndindex(2, 3):
        sigma = 0.05 * np.abs(clean[index]).mean()
        assert_moments((noisy - clean)[index], 0.0, sigma**2)


def test_gaussian_noise_is_white():
    noise = gaussian_noise(np.zeros(SHAPE), generator(), sigma=1.0)
    for other in (np.roll(noise, 1, axis=0), np.roll(noise, 1, axis=1)):
        assert abs(np.mean(noise * other)) < 5 / np.sqrt(N)


@pytest.mark.parametrize("attenuation", [0.0, 2.0, 6.0])
def test_counts_are_poisson_and_electronic_noise_adds_its_variance(attenuation):
    clean = np.full(SHAPE, attenuation)
    expected = 1000 * np.exp(-attenuation)
    quantum = photon_counts(clean, generator(), photons=1000)
    assert (quantum == np.round(quantum)).all()
    assert_moments(quantum, expected, expected, 1 / expected)
    both = photon_counts(clean, generator(), photons=1000, electronic_std=4.0)
    assert_moments(both, expected, expected + 16, 1 / expected)


def test_photons_per_detector_and_per_angle():
    clean = np.zeros((2, *SHAPE))
    bow_tie = np.linspace(10, 1000, SHAPE[1])
    counts = photon_counts(clean, generator(), photons=bow_tie)
    standard_error = np.sqrt(bow_tie / (2 * SHAPE[0]))
    assert (np.abs(counts.mean(axis=(0, 1)) - bow_tie) < 5 * standard_error).all()
    tube = np.linspace(10, 1000, SHAPE[0])[:, None]
    counts = photon_counts(clean, generator(), photons=tube)
    standard_error = np.sqrt(tube[:, 0] / (2 * SHAPE[1]))
    assert (np.abs(counts.mean(axis=(0, 2)) - tube[:, 0]) < 5 * standard_error).all()
    # The blank scan divides out again, detector by detector.
    high = low_dose(clean, generator(), photons=bow_tie * 1e8)
    assert np.abs(high).max() < 6 / np.sqrt(10e8)


def test_low_dose_is_unbiased_to_first_order_and_as_noisy_as_its_counts():
    attenuation, photons = 1.5, 1e5
    expected = photons * np.exp(-attenuation)
    noisy = low_dose(np.full(SHAPE, attenuation), generator(), photons=photons)
    # Delta method: E[-log N] = -log c + 1 / (2 c), Var = 1 / c, both up to a factor 1 + O(1 / c).
    assert_moments(noisy, attenuation + 0.5 / expected, 1 / expected)


def test_counts_below_the_floor_are_raised_to_it():
    opaque = np.full((3, 4), 50.0)
    lodopab = low_dose(opaque, generator(), photons=4096)
    np.testing.assert_allclose(lodopab, np.log(4096 / 0.1), rtol=1e-15)
    np.testing.assert_allclose(
        low_dose(opaque, generator(), photons=4096, floor=1.0), np.log(4096), rtol=1e-15
    )
    electronic = low_dose(opaque, generator(), photons=4096, electronic_std=10.0)
    assert np.isfinite(electronic).all()
    assert electronic.max() == lodopab.max()


def test_counts_turn_into_line_integrals():
    counts = np.array([[4096.0, 1024.0, 0.05, -3.0]])
    expected = [[0.0, np.log(4), np.log(40960), np.log(40960)]]
    np.testing.assert_allclose(counts_to_line_integrals(counts, photons=4096), expected, atol=1e-12)


FUNCTIONS = {
    "relative": lambda p, rng: gaussian_noise(p, rng, relative=0.05),
    "absolute": lambda p, rng: gaussian_noise(p, rng, sigma=0.05),
    "counts": lambda p, rng: photon_counts(p, rng, photons=4096, electronic_std=2.0),
    "low dose": lambda p, rng: low_dose(p, rng, photons=4096, electronic_std=2.0),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_type_shape_and_input_are_kept_and_the_seed_decides(function):
    clean = np.linspace(0, 3, 2 * 5 * 7).reshape(2, 5, 7)
    before = clean.copy()
    noisy = function(clean, generator(1))
    single = function(clean.astype(np.float32), generator(1))
    assert (noisy.dtype, single.dtype) == (np.float64, np.float32)
    assert noisy.shape == single.shape == clean.shape
    np.testing.assert_array_equal(clean, before)
    np.testing.assert_array_equal(noisy, function(clean, generator(1)))
    np.testing.assert_allclose(single, noisy, rtol=1e-5, atol=1e-5)
    assert (noisy != function(clean, generator(2))).mean() > 0.9


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize(
    ("sinogram", "error", "message"),
    [
        (np.zeros((2, 3), int), TypeError, "sinogram: expected a float32 or float64 .* int64"),
        (np.zeros((2, 3), complex), TypeError, "sinogram: .* got dtype complex128"),
        (np.zeros(3), ValueError, r"sinogram: .* \(\.\.\., angles, detectors\), got shape \(3,\)"),
        (np.zeros((0, 3)), ValueError, r"sinogram: expected a non-empty .* \(0, 3\)"),
        (np.array([[np.nan, 0.0]]), ValueError, "sinogram: expected finite numbers, got 1 others"),
    ],
)
def test_bad_sinograms_are_refused(function, sinogram, error, message):
    with pytest.raises(error, match=message):
        function(sinogram, generator())


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("rng", [None, 0, np.random.PCG64(0), np.random.RandomState(0)])
def test_what_is_no_generator_is_refused(function, rng):
    with pytest.raises(TypeError, match=f"rng: expected a .*Generator.*got {type(rng).__name__}"):
        function(np.zeros((2, 3)), rng)


@pytest.mark.parametrize("function", [gaussian_noise, photon_counts, low_dose])
def test_the_generator_cannot_be_left_out(function):
    with pytest.raises(TypeError, match="rng"):
        function(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("levels", "error", "message"),
    [
        ({}, TypeError, "relative, sigma: expected exactly one of the two, got relative=None"),
        ({"relative": 0.1, "sigma": 0.1}, TypeError, "relative, sigma: .* and sigma=0.1"),
        ({"relative": -0.1}, ValueError, "relative: expected a non-negative number, got -0.1"),
        ({"sigma": np.inf}, ValueError, "sigma: expected a non-negative number, got inf"),
        ({"sigma": "much"}, TypeError, "sigma: expected a non-negative number, got 'much'"),
    ],
)
def test_bad_levels_are_refused(levels, error, message):
    with pytest.raises(error, match=message):
        gaussian_noise(np.zeros((2, 3)), generator(), **levels)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"photons": 0}, ValueError, "photons: expected positive numbers, got 0"),
        ({"photons": [1, 2]}, ValueError, r"photons: expected a shape .* \(2, 3\), got \(2,\)"),
        ({"photons": np.ones((5, 2, 3))}, ValueError, r"photons: .* got \(5, 2, 3\)"),
        ({"photons": np.nan}, ValueError, "photons: expected finite numbers, got 1 others"),
        ({"photons": None}, TypeError, "photons: expected real numbers, got dtype object"),
        ({"photons": 1e19}, ValueError, "expected at most 9.2e.18 photons on average, got 1e.19"),
        ({"electronic_std": -1}, ValueError, "electronic_std: expected a non-negative number"),
        ({"floor": 0}, ValueError, "floor: expected a positive number, got 0"),
    ],
)
def test_bad_detectors_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        low_dose(np.zeros((2, 3)), generator(), **{"photons": 100, **settings})
