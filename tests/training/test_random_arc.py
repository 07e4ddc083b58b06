"""Training on arcs of several lengths."""

import numpy as np
import pytest
import torch

from tomolearn import FanBeam, Grid, ParallelBeam, RayTransform, TomolearnError
from tomolearn.geometry import Views
from tomolearn.models import LimitedAngleUNet
from tomolearn.training.objectives import RandomArc, make_objective
from tomolearn.training.objectives.random_arc import arc_of

GRID = Grid((16, 16))
SCAN = ParallelBeam(angles=np.deg2rad(np.arange(20, 81, 2)), n_detectors=24, detector_spacing=1.0)
A = RayTransform(GRID, SCAN)
pytestmark = pytest.mark.filterwarnings("ignore::tomolearn.CoverageWarning")


@pytest.mark.parametrize(
    ("degrees", "ends"), [(20, (40, 60)), (23, (40, 60)), (60, (20, 80)), (100, (20, 80))]
)
def test_an_arc_has_the_views_about_the_middle(degrees, ends, rng):
    part, views = arc_of(A, degrees)
    angles = np.rad2deg(part.scan.view_angles)
    assert (angles[0], angles[-1]) == pytest.approx(ends)
    x = torch.rand(16, 16, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(part(x), A(x)[views])


def test_loss_is_that_of_one_of_the_arcs(rng):
    network = LimitedAngleUNet(channels=(4, 8)).eval()
    x = torch.rand(2, 1, 16, 16, generator=rng)
    y = A(x)
    each = {}
    for degrees in (20.0, 60.0):
        part, views = arc_of(A, degrees)
        each[degrees] = (network(y[..., views, :], part) - x).square().mean()
    objective = RandomArc(arcs=(20.0, 60.0))
    draws = [objective.loss(network, (y, x), A, np.random.default_rng(k)).item() for k in range(20)]
    assert {round(one, 6) for one in draws} == {round(one.item(), 6) for one in each.values()}


def test_what_is_no_arc_is_refused():
    with pytest.raises(TomolearnError, match="arcs: expected positive numbers in degrees"):
        make_objective("random-arc", {"arcs": [30, 0]})
    with pytest.raises(TomolearnError, match="expected one of a ParallelBeam or FanBeam"):
        arc_of(RayTransform(GRID, Views.of(SCAN)), 20)
    coarse = FanBeam(
        angles=[0.0, 1.0],
        n_detectors=24,
        detector_spacing=1.5,
        source_to_isocenter=50.0,
        source_to_detector=70.0,
    )
    with pytest.raises(TomolearnError, match="arcs: expected some views in 30 degrees, got none"):
        arc_of(RayTransform(GRID, coarse), 30)
