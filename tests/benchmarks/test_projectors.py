"""Speed of projectors: that the right thing is measured; never how fast it is."""

import pytest

from tomolearn import FanBeam, Grid, ParallelBeam
from tomolearn.benchmarks import projectors

GRID = Grid((32, 32), 0.8)
SCAN = ParallelBeam.covering(GRID, 24)


def test_every_backend_and_batch_is_measured():
    case = projectors.Case("small", GRID, SCAN, (1, 2))
    timings = list(projectors.measure_projectors(case, rounds=1, rivals=False))
    found = {(t.batch, t.what, t.contender) for t in timings}
    expected = {
        (batch, what, who)
        for batch in (1, 2)
        for what in ("forward", "adjoint")
        for who in ("joseph", "astra", "odl")
    }
    assert expected <= found
    assert {(who, batch) for batch, what, who in found if what == "back-projection"} == {
        ("joseph", 1),
        ("joseph", 2),
    }
    for one in timings:
        assert one.value > 0
        assert one.unit == "ms"
        reference = (
            next(
                t.value
                for t in timings
                if (t.batch, t.what, t.contender) == (one.batch, one.what, "astra")
            )
            if one.what != "back-projection"
            else None
        )
        assert one.ratio == (reference and pytest.approx(reference / one.value))


def test_there_is_no_ratio_without_astra():
    # ASTRA has no curved detectors on a CPU
    scan = FanBeam.covering(
        GRID, 8, detector="curved", source_to_isocenter=80.0, source_to_detector=120.0
    )
    timings = list(
        projectors.measure_projectors(projectors.Case("curved", GRID, scan, (1,)), rounds=1)
    )
    assert {t.contender for t in timings} == {"joseph", "joseph, images as lanes"}
    assert all(t.ratio is None for t in timings)
