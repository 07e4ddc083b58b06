"""Speed in space: that the right thing is measured, and that RTK computes the same as we do."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tomolearn import ConeBeam, Grid, RayTransform, fbp
from tomolearn.benchmarks.projectors import Case
from tomolearn.benchmarks.space import measure_space, rtk
from tomolearn.cli import app

GRID = Grid((14, 16, 18), (1.2, 1.0, 1.1))
CIRCLE = ConeBeam(24, (24, 30), (1.7, 1.6), 60.0, 100.0)


def test_a_circle_is_measured_with_fdk_and_a_helix_without():
    helix = ConeBeam(8, (12, 14), 2.0, 60.0, 100.0, pitch=3.0)
    for scan, operations in (
        (CIRCLE, ["forward", "adjoint", "fdk"]),
        (helix, ["forward", "adjoint"]),
    ):
        timings = list(measure_space(Case("small", GRID, scan, (1,)), rounds=1, rivals=False))
        assert [t.what for t in timings] == operations
        assert all(t.value > 0 and t.unit == "ms" and t.ratio is None for t in timings)


def test_rtk_declines_what_is_no_plain_circle():
    for options in ({"pitch": 3.0}, {"start_z": 1.0}, {"detector": "curved"}):
        assert rtk(GRID, ConeBeam(8, (12, 14), 2.0, 60.0, 100.0, **options)) is None


@pytest.mark.slow
def test_rtk_projects_and_reconstructs_the_same(rng):
    try:
        peer = rtk(GRID, CIRCLE)
    except ImportError as error:
        pytest.skip(str(error))
    A = RayTransform.derived(GRID, CIRCLE, "joseph")
    x = torch.zeros(GRID.shape)
    # RTK treats what lies outside of the volume in another way
    x[2:-2, 2:-2, 2:-2] = torch.rand(10, 12, 14, generator=rng)
    y = A(x)
    np.testing.assert_allclose(peer.forward(x.numpy()), y, atol=1e-5 * float(y.max()))
    inner = (slice(2, -2),) * 3
    z = A.T(y)[inner]
    np.testing.assert_allclose(peer.adjoint(y.numpy())[inner], z, atol=1e-5 * float(z.max()))
    image = fbp(y, A, filter="ram-lak")
    theirs = torch.from_numpy(peer.fdk(y.numpy()).copy())
    assert (theirs - image)[inner].norm() < 0.05 * image[inner].norm()


def test_an_unknown_scan_is_refused_with_those_there_are():
    result = CliRunner().invoke(app, ["bench", "projectors", "--space", "--case", "nothing"])
    assert result.exit_code == 2
    assert "cone 128, 180 angles" in result.output
