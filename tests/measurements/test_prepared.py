"""`prepare`: joined bins by a plain loop, grids by what the scan sees, slices as a batch."""

import math

import numpy as np
import pytest

import tomolearn as tl
from tomolearn.geometry import Scan, coverage_gap
from tomolearn.measurements import Measurement, default_grid, prepare


def measured(rng: np.random.Generator, *shape: int, dead: int = 4) -> Measurement:
    counts = rng.uniform(0.3, 0.9, shape) * 1e4
    counts[..., dead] = np.nan
    scan = tl.ParallelBeam(shape[0], shape[-1], 0.5, detector_offset=0.2)
    return Measurement(counts=counts, flats=np.full((1, *shape[1:]), 1e4), scan=scan)


def test_bins_are_joined_by_their_weights(numpy_rng: np.random.Generator) -> None:
    whole = measured(numpy_rng, 5, 11)
    found, fine = prepare(whole, bins=3), whole.line_integrals_and_weights()
    for view, k in np.ndindex(5, 3):
        members = slice(3 * k, 3 * k + 3)
        y, w = fine.line_integrals[view, members], fine.weights[view, members]
        assert found.line_integrals[view, k] == pytest.approx((w * y).sum() / w.sum())
        assert found.weights[view, k] == pytest.approx(w.mean())
    positions = whole.scan.detector_positions[:9].reshape(3, 3).mean(1)
    np.testing.assert_allclose(found.scan.detector_positions, positions)
    # a block of dead bins stays dead
    alone = prepare(measured(numpy_rng, 5, 11), bins=1)
    assert not alone.weights[:, 4].any()
    assert not alone.line_integrals[:, 4].any()


def test_slices_are_a_batch(numpy_rng: np.random.Generator) -> None:
    whole = measured(numpy_rng, 5, 2, 11)
    found = prepare(whole)
    assert found.line_integrals.shape == found.weights.shape == (2, 5, 11)
    for row in range(2):
        one = prepare(whole.subset(rows=row), photons_per_count=1.0)
        np.testing.assert_allclose(found.line_integrals[row], one.line_integrals)


PARALLEL = {"n_detectors": 40, "detector_spacing": 0.5}
FAN = {**PARALLEL, "source_to_isocenter": 60.0, "source_to_detector": 90.0}


@pytest.mark.parametrize(
    "scan",
    [
        tl.ParallelBeam(30, **PARALLEL),
        tl.ParallelBeam(30, **PARALLEL, detector_offset=3.1),
        tl.FanBeam(30, **FAN, detector_offset=-1.0, angular_range=math.radians(230)),
        tl.FanBeam(30, **FAN),
        tl.ConeBeam(
            30,
            detector_shape=(6, 40),
            detector_spacing=(0.6, 0.5),
            source_to_isocenter=60.0,
            source_to_detector=90.0,
        ),
    ],
    ids=["parallel", "offset", "short-fan", "fan", "cone"],
)
def test_grid_is_the_largest_that_every_view_sees(scan: Scan) -> None:
    grid = default_grid(scan)
    assert grid.spacing[-1] == pytest.approx(0.5 / scan.magnification)
    plane = tl.Grid(grid.shape[-2:], grid.spacing[-1]) if scan.ndim == 2 else None
    if plane is None:
        assert grid.shape[0] == 6
        assert grid.spacing[0] == pytest.approx(0.4)
    else:
        assert coverage_gap(plane, scan) <= 1e-9
        larger = tl.Grid([n + 2 for n in plane.shape], plane.spacing)
        assert coverage_gap(larger, scan) > 0


def test_full_turns_see_as_far_as_the_longer_side() -> None:
    scan = tl.ParallelBeam(30, **PARALLEL, detector_offset=3.0, angular_range=2 * math.pi)
    # from -7 to 13 mm
    assert default_grid(scan) == tl.Grid((52, 52), 0.5)
    assert default_grid(scan, size=10, pixel=2.0) == tl.Grid((10, 10), 2.0)


def test_mistakes(numpy_rng: np.random.Generator) -> None:
    counts = numpy_rng.uniform(1, 2, (5, 11))
    lacking = Measurement(counts=counts, missing=("angles", "detector_spacing"))
    for message, call in {
        "angles: expected a value, .*; needed: angles, detector_spacing": lambda: prepare(lacking),
        "bins: expected an integer <= 11, got 12": lambda: prepare(
            measured(numpy_rng, 5, 11), bins=12
        ),
        "size: expected a number, for the detector sees nothing": lambda: default_grid(
            tl.ParallelBeam(30, **PARALLEL, detector_offset=30.0)
        ),
    }.items():
        with pytest.raises(tl.TomolearnError, match=message):
            call()
