"""Rivals: that they compute the same as ours, as far as their interfaces allow."""

import math

import pytest
import torch

from data_sim import shepp_logan
from tomolearn import FanBeam, Grid, ParallelBeam, RayTransform, fbp, total_variation
from tomolearn.benchmarks.methods import tv_objective
from tomolearn.benchmarks.rivals import RIVALS, astra_fbp, odl_pdhg

GRID = Grid((32, 32), 0.8)
SCAN = ParallelBeam.covering(GRID, 24)


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_project_the_same_object(name):
    x = torch.from_numpy(shepp_logan(GRID.shape))[None]
    try:
        rival = RIVALS[name](GRID, SCAN)
    except ImportError as error:
        pytest.skip(str(error))
    y = torch.as_tensor(rival.forward(x)[0]).squeeze()
    if y.shape[0] != SCAN.n_angles:
        y = y.T
    # a view's total is the image's, in the rival's own unit of length
    total = y.sum(dim=-1).double()
    assert len(total) == SCAN.n_angles
    torch.testing.assert_close(total, total.mean().expand_as(total), rtol=0.03, atol=0.0)
    back = torch.as_tensor(rival.adjoint(torch.ones(1, *SCAN.shape))[0]).squeeze()
    assert tuple(back.shape) == GRID.shape


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_decline_fan_beams(name):
    scan = FanBeam.covering(GRID, 8, source_to_isocenter=80.0, source_to_detector=120.0)
    assert RIVALS[name](GRID, scan) is None


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
    theirs = odl_pdhg(GRID, SCAN, y, 0.5, 1500, A.norm())
    lowest = tv_objective(ours, y, A, 0.5)
    assert math.isclose(tv_objective(theirs, y, A, 0.5), lowest, rel_tol=2e-2)
    assert (theirs - ours).norm() < 0.1 * ours.norm()
    assert lowest <= tv_objective(theirs, y, A, 0.5) * (1 + 1e-6)
