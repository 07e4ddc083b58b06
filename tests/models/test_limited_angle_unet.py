"""The frame of a limited arc: a scan turned about the axis gives the turned image."""

import math

import numpy as np
import pytest
import torch

from tomolearn import FanBeam, Grid, RayTransform, TomolearnError
from tomolearn.geometry import Views
from tomolearn.models import LimitedAngleUNet
from tomolearn.models.limited_angle_unet import turned

GRID = Grid((24, 24), 2.0)
SCAN = FanBeam(
    angles=np.deg2rad(np.arange(-30, 31, 5)),
    n_detectors=40,
    detector_spacing=2.5,
    source_to_isocenter=100.0,
    source_to_detector=150.0,
)
pytestmark = pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")


def network() -> LimitedAngleUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LimitedAngleUNet(channels=(8, 16)).double().eval()


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_a_scan_turned_by_right_angles_gives_the_turned_image(quarters, rng):
    net = network()
    A = RayTransform(GRID, SCAN)
    B = RayTransform(GRID, SCAN.turned(quarters * math.pi / 2))
    x = torch.rand(1, 1, 24, 24, generator=rng, dtype=torch.float64)
    y = A(x)
    torch.testing.assert_close(B(torch.rot90(x, quarters, (-2, -1))), y)
    image = net(y, A)
    torch.testing.assert_close(net(y, B), torch.rot90(image, quarters, (-2, -1)))


def test_turning_is_that_of_a_function():
    grid = Grid((60, 80), 0.5, center=(1.0, -2.0))
    angle = 0.4

    def bump(x, y):
        return torch.exp(-((x - 5) ** 2 + (y + 3) ** 2) / 8)

    rows, columns = (torch.from_numpy(axis) for axis in grid.coordinates())
    x, y = torch.meshgrid(rows, columns, indexing="ij")
    cos, sin = math.cos(angle), math.sin(angle)
    expected = bump(cos * x + sin * y, cos * y - sin * x)
    found = turned(bump(x, y)[None], grid, angle)[0]
    # linear interpolation errs by an eighth of h^2 times the second derivatives, 1 / 4 each way
    assert float((found - expected).abs().max()) < 0.5**2 / 8 * 2 * 0.25 * 1.1


def test_turning_follows_gradients_twice(rng):
    grid = Grid((5, 6))
    x = torch.rand(2, 5, 6, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: turned(t, grid, 0.3), x)
    assert torch.autograd.gradgradcheck(lambda t: turned(t, grid, 0.3).square(), x)


def test_level_scales_the_image(rng):
    one = network()
    other = LimitedAngleUNet(channels=(8, 16), level=0.05).double().eval()
    other.load_state_dict(one.state_dict())
    A = RayTransform(GRID, SCAN)
    y = A(torch.rand(1, 1, 24, 24, generator=rng, dtype=torch.float64))
    torch.testing.assert_close(other(0.05 * y, A), 0.05 * one(y, A))


def test_views_without_an_axis_are_refused(rng):
    views = Views.of(SCAN)
    with pytest.raises(TomolearnError, match="expected a ParallelBeam or FanBeam"):
        network()(torch.rand(views.shape, generator=rng), RayTransform(GRID, views))
