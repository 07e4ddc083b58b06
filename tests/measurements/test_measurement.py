"""Measurements: parts and bins of them against the plain arithmetic of arrays and detectors."""

import numpy as np
import pytest

from tomolearn import ConeBeam, FanBeam, Grid, ParallelBeam, TomolearnError
from tomolearn.measurements import Measurement

PARALLEL = ParallelBeam(6, 11, 0.5, detector_offset=0.2)
FAN = FanBeam(6, 11, 0.5, 40, 60, detector_offset=0.2)
CONE = ConeBeam(6, (5, 11), (0.7, 0.5), 40, 60, detector_offset=(0.1, 0.2))


def measured(rng: np.random.Generator, scan, rows: int | None = None) -> Measurement:
    shape = scan.shape if rows is None else (scan.shape[0], rows, scan.shape[1])
    return Measurement(
        counts=rng.uniform(1, 2, shape),
        flats=rng.uniform(2, 3, (3, *shape[1:])),
        darks=rng.uniform(0, 0.1, shape[1:]),
        scan=scan,
        grid=Grid((12, 12), 0.5),
    )


@pytest.mark.parametrize("scan", [PARALLEL, FAN], ids=["parallel", "fan"])
def test_binned_bins_lie_at_the_means_of_their_parts(scan, numpy_rng: np.random.Generator) -> None:
    whole = measured(numpy_rng, scan)
    part = whole.binned(2)
    expected = (whole.counts[:, 0:10:2] + whole.counts[:, 1:10:2]) / 2
    np.testing.assert_allclose(part.counts, expected)
    positions = scan.detector_positions[:10].reshape(5, 2).mean(1)
    np.testing.assert_allclose(part.scan.detector_positions, positions)
    assert part.flats.shape == (3, 5)
    assert part.darks.shape == (5,)
    assert part.grid == Grid((6, 6), 1.0)


def test_rows_and_bins_of_a_cone_beam(numpy_rng: np.random.Generator) -> None:
    whole = measured(numpy_rng, CONE)
    rows, columns = CONE.detector_positions
    part = whole.subset(rows=slice(1, 4))
    np.testing.assert_array_equal(part.counts, whole.counts[:, 1:4])
    np.testing.assert_allclose(part.scan.detector_positions[0], rows[1:4])
    np.testing.assert_array_equal(part.scan.detector_positions[1], columns)
    halved = whole.binned(2)
    np.testing.assert_allclose(halved.scan.detector_positions[0], rows[:4].reshape(2, 2).mean(1))
    np.testing.assert_allclose(halved.counts[1, 0, 0], whole.counts[1, :2, :2].mean())


def test_rows_of_a_parallel_beam_are_slices(numpy_rng: np.random.Generator) -> None:
    whole = measured(numpy_rng, PARALLEL, rows=4)
    one = whole.subset(rows=2)
    np.testing.assert_array_equal(one.counts, whole.counts[:, 2])
    np.testing.assert_array_equal(one.flats, whole.flats[:, 2])
    assert (one.scan, one.n_rows, whole.n_rows) == (PARALLEL, None, 4)
    assert whole.binned(2).shape == (6, 4, 5)


def test_views_keep_their_angles(numpy_rng: np.random.Generator) -> None:
    part = measured(numpy_rng, FAN).subset(views=slice(0, None, 2))
    np.testing.assert_allclose(part.scan.view_angles, FAN.view_angles[::2])
    assert part.shape == (3, 11)
    turned = Measurement(line_integrals=np.zeros((6, 11)), flat_views=(0.0, 4.0))
    assert turned.subset(views=slice(0, None, 2)).flat_views == (0.0, 2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Measurement(), "one of them, got none"),
        (lambda: Measurement(counts=np.ones(3)), "angles, detectors"),
        (lambda: Measurement(counts=np.ones((2, 3)), flats=np.ones((2, 4))), "flats: expected"),
        (lambda: Measurement(counts=np.ones((2, 3)), scan=PARALLEL), "scan: expected"),
        (lambda: Measurement(counts=np.ones((2, 3))).subset(rows=0), "rows: expected"),
        (lambda: Measurement(counts=np.ones((2, 3))).subset(views=[7]), "2 views"),
        (lambda: Measurement(counts=np.ones((2, 3))).binned(4), "at most the 3 bins"),
        (lambda: Measurement(counts=np.ones((6, 5, 11)), scan=CONE).subset(rows=1), "a slice"),
        (lambda: Measurement(counts=np.ones((6, 5, 11))).subset(rows=5), "<= 4"),
    ],
)
def test_what_does_not_fit_is_named(make, message: str) -> None:
    with pytest.raises(TomolearnError, match=message):
        make()


def test_arrays_are_numpy() -> None:
    with pytest.raises(TypeError, match=r"numpy\.ndarray"):
        Measurement(counts=[[1.0]])
