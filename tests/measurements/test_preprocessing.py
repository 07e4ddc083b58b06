"""Counts to line integrals, against the Poisson counts that they were drawn as."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tomolearn import TomolearnError, UnitWarning
from tomolearn.measurements import Measurement, MeasurementWarning, preprocess

VIEWS, BINS, PHOTONS, GAIN, DARK, READING = 400, 60, 5000.0, 0.6, 100.0, 30.0


def truth() -> np.ndarray:
    """Line integrals of a disc, with a ripple that depends on the view."""
    across = np.linspace(-1.3, 1.3, BINS)
    chords = 2 * np.sqrt(np.clip(1 - across**2, 0, None))
    return chords * (1 + 0.1 * np.sin(np.linspace(0, 9, VIEWS))[:, None])


def response() -> np.ndarray:
    return np.linspace(0.8, 1.2, BINS)


def read(photons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Counts of so many photons on the mean: `GAIN` photons each, and what is read besides."""
    return rng.poisson(photons) / GAIN + DARK + rng.normal(0, READING, photons.shape)


def scanned(rng: np.random.Generator, drift: np.ndarray | float = 1.0) -> tuple[np.ndarray, ...]:
    beam = PHOTONS * response() * np.ones((VIEWS, 1)) * drift
    counts = read(beam * np.exp(-truth()), rng)
    flats = read(np.tile(PHOTONS * response(), (400, 1)), rng)
    darks = DARK + rng.normal(0, READING, (400, BINS))
    return counts, flats, darks


def test_weights_are_the_inverse_variance(numpy_rng: np.random.Generator) -> None:
    """The scatter of many views in each bin is what the weights and the report say."""
    counts, flats, darks = scanned(numpy_rng)
    y, w, report = preprocess(counts, flats, darks)
    errors = (y - truth()) * np.sqrt(w / report.variance)
    # 400 views: a standard deviation of 1 / sqrt(800); the flats' own noise is 1 / 400 of it
    assert np.abs(errors.std(0) - 1).max() < 5 / math.sqrt(2 * VIEWS)
    # the gain of 60 bins and 400 frames, 0.6 %, and 24 000 values, 0.5 %
    assert abs(errors.std() - 1) < 0.025
    assert np.abs(y - truth()).mean() < 2 * math.sqrt(report.variance)
    assert math.isclose(report.photons_per_count, GAIN, rel_tol=0.1)
    assert math.isclose(report.photons, PHOTONS, rel_tol=0.1)
    assert (report.dead_bins, report.masked) == ((), 0.0)
    assert math.isclose(w.mean(), 1, rel_tol=1e-6)


def test_photon_transfer_of_a_few_frames(numpy_rng: np.random.Generator) -> None:
    """The median of a chi-squared variable of two degrees of freedom is 0.69 of its mean."""
    flats = numpy_rng.poisson(PHOTONS, (3, 4000)) / GAIN
    flats = flats * np.array([[1.0], [1.1], [0.9]])  # the source flickers
    found = preprocess(flats[:1] * np.ones((2, 1)), flats).report.photons_per_count
    assert math.isclose(found, GAIN, rel_tol=0.06)


def test_systematic_errors_limit_the_weights(numpy_rng: np.random.Generator) -> None:
    plain, limited = (
        preprocess(*scanned(numpy_rng), photons_per_count=GAIN, systematic=s) for s in (0.0, 0.05)
    )
    variance = [found.report.variance / found.weights for found in (plain, limited)]
    # counts are drawn anew; their means over the views differ by some hundredths
    np.testing.assert_allclose(
        variance[1].mean(0), variance[0].mean(0) + 0.05**2, rtol=0.05, atol=1e-5
    )


def test_photons_from_air_without_flats(numpy_rng: np.random.Generator) -> None:
    drift = 1 + 0.05 * np.sin(np.linspace(0, 4, VIEWS))[:, None]
    counts, _, _ = scanned(numpy_rng, drift / response())
    y, _, report = preprocess(counts, None, DARK, air=6)
    assert math.isclose(report.photons_per_count, GAIN, rel_tol=0.1)
    assert math.isclose(report.drift, 0.1 * (1 - math.sin(4)) / 2, rel_tol=0.3)
    assert np.abs((y - truth())[:, 10:-10].mean(0)).max() < 0.01


def test_intensity_of_every_view_comes_from_air(numpy_rng: np.random.Generator) -> None:
    drift = np.linspace(1, 1.2, VIEWS)[:, None]
    counts, flats, darks = scanned(numpy_rng, drift)
    without = preprocess(counts, flats, darks).line_integrals - truth()
    y, _, report = preprocess(counts, flats, darks, air=slice(0, 6))
    assert abs(without[-20:].mean() + math.log(1.2)) < 0.02
    assert abs((y - truth())[-20:].mean()) < 0.01
    assert math.isclose(report.drift, 0.2 / 1.1, rel_tol=0.2)


def test_flats_of_before_and_after_are_interpolated() -> None:
    counts = np.exp(-truth()) * np.linspace(1, 2, VIEWS)[:, None]
    flats = np.ones((4, BINS)) * [[1], [2], [1], [2]]
    y = preprocess(counts, flats, flat_views=[0, VIEWS - 1, 0, VIEWS - 1]).line_integrals
    np.testing.assert_allclose(y, truth(), atol=1e-12)


def test_bad_bins_have_no_weight(numpy_rng: np.random.Generator) -> None:
    counts, flats, darks = scanned(numpy_rng)
    counts[:, 7] = np.nan  # lost
    counts[::5, 12] = 0  # often without a count
    flats[:, 20], counts[:, 20] = DARK, DARK + 1  # answers to no beam
    darks[:, 31] = 4000  # hot
    counts[:, 40] = 777  # stuck
    counts[3, 50] = 65535  # saturated
    counts[9] = 0  # a view that was lost is no reason to mistrust its bins
    given = np.ones(BINS, bool)
    given[33] = False
    y, w, report = preprocess(counts, flats, darks, saturation=65535, mask=given)
    assert {bin_ for (bin_,) in report.dead_bins} == {7, 12, 20, 31, 33, 40}
    assert (w[3, 50], w[9].max()) == (0, 0)
    assert (w[8, [6, 8, 11, 13]] > 0).all()
    assert np.isfinite(y).all()
    assert (y[w == 0] == 0).all()
    assert math.isclose(report.masked, float((w == 0).mean()))


def test_few_photons_meet_a_floor() -> None:
    counts, flats = np.full((3, 4), 100.0), np.full((1, 4), 100.0)
    counts[:, 1] = [1e-9, 2e-9, 3e-9]
    counts += np.array([[0.1], [0.2], [0.3]]) * (counts > 1)
    y, _, report = preprocess(counts, flats, floor=0.01, mask=np.ones(4, bool))
    np.testing.assert_allclose(y[:, 1], -math.log(0.01))
    assert report.floored == 3
    y = preprocess(counts, 100, photons_per_count=2, mask=np.ones(4, bool))[0]
    np.testing.assert_allclose(y[:, 1], math.log(200 / 0.1), rtol=1e-2)


def test_tensors_stay_tensors_and_are_differentiable(numpy_rng: np.random.Generator) -> None:
    arrays = [a[:4, 4:9] for a in scanned(numpy_rng)]
    arrays[0][1, 3] = 0
    expected = preprocess(*arrays, air=1)
    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]

    def line_integrals(*frames: torch.Tensor) -> torch.Tensor:
        return preprocess(*frames, air=1).line_integrals

    found = preprocess(*tensors, air=1)
    np.testing.assert_array_equal(found.line_integrals.detach(), expected.line_integrals)
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert not found.weights.requires_grad
    assert torch.autograd.gradcheck(line_integrals, tensors, eps=1e-3, atol=1e-6)


def test_float32_and_integers() -> None:
    counts = np.array([[200, 100, 50], [201, 90, 60], [190, 110, 40]], np.uint16)
    y, w, _ = preprocess(counts, 200)
    assert (y.dtype, w.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(y, -np.log(counts / 200), rtol=1e-6)
    np.testing.assert_allclose(w, counts / counts.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c, f: preprocess(-np.log(c / f), f * 1e4), "line integrals"),
        (lambda c, f: preprocess(3 - 3 * c / f + 0.01, None, air=3), "the most in air"),
        (lambda c, f: preprocess(c, f[None, :5]), "flats: expected shape"),
        (lambda c, f: preprocess(c, f, np.ones(3)), "darks: expected shape"),
        (lambda c, f: preprocess(c, None), "give flats= or air="),
        (lambda c, f: preprocess(c, 1.0, 5.0), "exchanged"),
        (lambda c, f: preprocess(c * np.nan, f), "finite numbers, got none"),
        (lambda c, f: preprocess(c, f, mask=np.zeros(c.shape, bool)), "got none above"),
        (lambda c, f: preprocess(c, f, mask=np.zeros(3, bool)), "mask: expected shape"),
        (lambda c, f: preprocess(c, f, mask=np.zeros(3)), "array of bool"),
        (lambda c, f: preprocess(c, f, air=c.shape[1]), "air: expected"),
        (lambda c, f: preprocess(c, f, flat_views=[1, 2]), "flat_views: expected 1"),
        (lambda c, f: preprocess(c, f, systematic=0.1), "photons_per_count: expected"),
        (lambda c, f: preprocess(c[0], f), "counts: expected shape"),
        (lambda c, f: preprocess(c.astype(complex), f), "real numbers"),
    ],
)
def test_what_is_no_measurement_is_named(make, message: str) -> None:
    counts = 1e4 * np.exp(-truth())
    with pytest.raises(TomolearnError, match=message):
        make(counts, np.full(BINS, 1e4))


def test_damage_is_warned_of() -> None:
    counts = np.exp(-truth())
    with pytest.warns(MeasurementWarning, match="values masked"):
        preprocess(counts, 1.0, mask=np.arange(BINS) > 20)
    with pytest.warns(MeasurementWarning, match="air: expected"):
        preprocess(counts, 1.0, air=slice(25, 35))


def test_line_integrals_need_nothing() -> None:
    values = truth()
    values[2, 3] = np.nan
    y, w, report = Measurement(line_integrals=values).line_integrals_and_weights()
    assert (y[2, 3], w[2, 3], w.sum()) == (0, 0, w.size - 1)
    assert math.isclose(report.masked, 1 / w.size)
    with pytest.raises(TomolearnError, match="air: expected none"):
        Measurement(line_integrals=values).line_integrals_and_weights(air=3)
    with pytest.warns(UnitWarning, match="line integrals"):
        Measurement(line_integrals=1e4 * np.exp(-truth())).line_integrals_and_weights()


def test_counts_of_a_measurement(numpy_rng: np.random.Generator) -> None:
    counts, flats, darks = scanned(numpy_rng)
    found = Measurement(counts=counts, flats=flats, darks=darks).line_integrals_and_weights(air=4)
    expected = preprocess(counts, flats, darks, air=4)
    np.testing.assert_array_equal(found.line_integrals, expected.line_integrals)
    np.testing.assert_array_equal(found.weights, expected.weights)


def test_neutron_columns_that_fail_are_found(real_data: Path) -> None:
    import tifffile

    path = real_data / "measured" / "neutron_360.tif"
    if not path.exists():
        pytest.skip("needs ../shared/data/measured")
    report = preprocess(tifffile.imread(path), None, air=10).report
    assert report.dead_bins == ((314,), (346,))
    assert 0.4 < report.photons_per_count < 1
