"""Speed of methods: that the right thing is measured; never how fast it is."""

import pytest
import torch

from tomolearn import Grid, ParallelBeam
from tomolearn.benchmarks import methods
from tomolearn.benchmarks.projectors import Case


def test_fbp_and_total_variation_are_measured_against_their_rivals(monkeypatch):
    grid = Grid((24, 24))
    case = Case("small", grid, ParallelBeam.covering(grid, 20), (1,))
    monkeypatch.setattr(methods, "CASES", dict.fromkeys(methods.CASES, case))
    timings = list(methods.measure_methods(rounds=1, iterations=200))
    found = {(t.what, t.contender): t for t in timings}
    tv, excess = "TV, 200 iterations", "TV, relative excess of the objective"
    assert list(found) == [
        ("FBP", "joseph"),
        ("FBP", "astra"),
        (tv, "joseph"),
        (tv, "odl"),
        (excess, "joseph"),
        (excess, "odl"),
    ]
    for what, reference in (("FBP", "astra"), (tv, "odl")):
        ratio = found[what, reference].value / found[what, "joseph"].value
        assert found[what, "joseph"].ratio == pytest.approx(ratio)
    # both come near the minimum of a run of twenty times as many iterations, far below which they
    # cannot get; the gap falls as one over their number
    assert -1e-6 < found[excess, "joseph"].value < 0.01
    assert -1e-6 < found[excess, "odl"].value < 0.3


def test_objective_is_that_of_plain_sums():
    grid = Grid((2, 2))
    A = methods.RayTransform(grid, ParallelBeam(1, 1, 8.0))
    x = torch.tensor([[[0.0, 3.0], [4.0, 0.0]]])
    y = A(x) - 2
    # one bin: residual 2; differences (4, 3), (-3, .), (., -4), none: 5 + 3 + 4
    assert methods.tv_objective(x, y, A, 0.5) == pytest.approx(4 + 0.5 * 12)
