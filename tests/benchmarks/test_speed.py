"""Speed measurements: that they measure the right thing; never how fast it is."""

import math

import pytest
import torch

from data_sim import shepp_logan
from tomolearn import FanBeam, Grid, ParallelBeam, RayTransform, fbp, total_variation
from tomolearn.benchmarks import speed, timing
from tomolearn.benchmarks.peers import PEERS, astra_fbp, odl_pdhg

GRID = Grid((32, 32), 0.8)
SCAN = ParallelBeam.covering(GRID, 24)


def test_every_backend_and_batch_is_measured():
    case = speed.Case("small", GRID, SCAN, (1, 2))
    timings = list(speed.measure_projectors(case, rounds=1, peers=False))
    found = {(t.batch, t.what, t.contender) for t in timings}
    expected = {
        (batch, what, who)
        for batch in (1, 2)
        for what in ("forward", "adjoint")
        for who in ("joseph", "astra", "odl")
    }
    assert expected <= found
    for one in timings:
        assert one.value > 0
        assert one.unit == "ms"
        reference = next(
            t.value
            for t in timings
            if (t.batch, t.what, t.contender) == (one.batch, one.what, "astra")
        )
        assert one.ratio == pytest.approx(reference / one.value)


def test_there_is_no_ratio_without_astra():
    # ASTRA has no curved detectors on a CPU
    scan = FanBeam.covering(
        GRID, 8, detector="curved", source_to_isocenter=80.0, source_to_detector=120.0
    )
    timings = list(speed.measure_projectors(speed.Case("curved", GRID, scan, (1,)), rounds=1))
    assert {t.contender for t in timings} == {"joseph"}
    assert all(t.ratio is None for t in timings)


def test_contenders_take_turns():
    order = []
    timing.race(
        {name: lambda name=name: order.append(name) for name in "ab"}, 2, torch.device("cpu")
    )
    assert [k for k in range(1, len(order)) if order[k] != order[k - 1]]
    assert order[0] == "a"
    assert order[-1] == "b"


@pytest.mark.parametrize("name", PEERS)
def test_peers_project_the_same_object(name):
    x = torch.from_numpy(shepp_logan(GRID.shape))[None]
    try:
        peer = PEERS[name](GRID, SCAN)
    except ImportError as error:
        pytest.skip(str(error))
    y = torch.as_tensor(peer.forward(x)[0]).squeeze()
    if y.shape[0] != SCAN.n_angles:
        y = y.T
    # a view's total is the image's, in the peer's own unit of length
    total = y.sum(dim=-1).double()
    assert len(total) == SCAN.n_angles
    torch.testing.assert_close(total, total.mean().expand_as(total), rtol=0.03, atol=0.0)
    back = torch.as_tensor(peer.adjoint(torch.ones(1, *SCAN.shape))[0]).squeeze()
    assert tuple(back.shape) == GRID.shape


@pytest.mark.parametrize("name", PEERS)
def test_peers_decline_fan_beams(name):
    scan = FanBeam.covering(GRID, 8, source_to_isocenter=80.0, source_to_detector=120.0)
    assert PEERS[name](GRID, scan) is None


def test_astras_fbp_reconstructs_the_same_image():
    A = RayTransform(GRID, ParallelBeam.covering(GRID, 90))
    rows, columns = (torch.from_numpy(axis) for axis in GRID.coordinates())
    disc = (rows[:, None] ** 2 + columns[None, :] ** 2 < 9.0**2).float()
    y = A(disc)
    theirs, ours = astra_fbp(GRID, A.scan, y), fbp(y, A, oversampling=1)
    inside = rows[:, None] ** 2 + columns[None, :] ** 2 < 7.0**2
    factor = float(theirs[inside].mean() / ours[inside].mean())
    error = (theirs / factor - ours).norm() / ours.norm()
    assert error < 0.1
    assert float(ours[inside].mean()) == pytest.approx(1.0, rel=0.02)


def test_odls_pdhg_has_the_same_minimiser():
    A = RayTransform(GRID, SCAN)
    y = A(torch.from_numpy(shepp_logan(GRID.shape)))
    ours = total_variation(y, A, weight=0.5, iterations=3000)
    theirs = odl_pdhg(GRID, SCAN, y, 0.5, 3000, A.norm())
    lowest = speed.tv_objective(ours, y, A, 0.5)
    assert math.isclose(speed.tv_objective(theirs, y, A, 0.5), lowest, rel_tol=2e-2)
    assert (theirs - ours).norm() < 0.1 * ours.norm()
    assert lowest <= speed.tv_objective(theirs, y, A, 0.5) * (1 + 1e-6)
