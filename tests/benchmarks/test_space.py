"""Speed in space: that the right thing is measured, of ours and of rivals that agree with it."""

import pytest
import torch
from typer.testing import CliRunner

from tomolearn import ConeBeam, Grid, RayTransform
from tomolearn.benchmarks import space, space_rivals
from tomolearn.benchmarks.projectors import Case
from tomolearn.benchmarks.space import measure_space
from tomolearn.benchmarks.space_rivals import SpaceRival
from tomolearn.cli import app

GRID = Grid((14, 16, 18), (1.2, 1.0, 1.1))
CIRCLE = ConeBeam(24, (24, 30), (1.7, 1.6), 60.0, 100.0)


def test_a_circle_is_measured_with_fdk_and_a_helix_without():
    helix = ConeBeam(8, (12, 14), 2.0, 60.0, 100.0, pitch=3.0)
    for scan, operations in (
        (CIRCLE, ["forward", "adjoint", "fdk"]),
        (helix, ["forward", "adjoint"]),
    ):
        case = Case("small", GRID, scan, (1, 2))
        timings = list(measure_space(case, rounds=1, rivals=False))
        assert [(t.batch, t.what, t.contender) for t in timings] == [
            *((1, what, "joseph") for what in operations),
            *((2, what, name) for what in operations for name in ("joseph", "joseph, one by one")),
        ]
        assert all(t.value > 0 and t.unit == "ms" and t.ratio is None for t in timings)


def test_rivals_are_compared_before_they_are_timed(monkeypatch):
    def ours(grid, scan):
        B = RayTransform.derived(grid, scan, "joseph")
        return SpaceRival(*(lambda v, f=f: f(torch.from_numpy(v)).numpy() for f in (B, B.T)))

    def missing(grid, scan):
        raise ImportError("not installed")

    def halved(grid, scan):
        rival = ours(grid, scan)
        return rival._replace(forward=lambda values: rival.forward(values) / 2)

    rivals = {"ours": ours, "missing": missing, "elsewhere": lambda grid, scan: None}
    monkeypatch.setattr(space_rivals, "SPACE_RIVALS", rivals)
    monkeypatch.setattr(space, "SPACE_RIVALS", rivals)
    case = Case("small", GRID, CIRCLE, (1,))
    timings = list(measure_space(case, rounds=1))
    assert [(t.what, t.contender, t.unit) for t in timings] == [
        ("forward", "joseph", "ms"),
        ("forward", "ours", "ms"),
        ("adjoint", "joseph", "ms"),
        ("adjoint", "ours", "ms"),
        ("fdk", "joseph", "ms"),
        ("forward, difference", "ours", "%"),
        ("adjoint, difference", "ours", "%"),
    ]
    assert [t.value for t in timings[-2:]] == [0.0, 0.0]
    rivals["halved"] = halved
    with pytest.raises(ValueError, match="halved: expected its forward within"):
        next(measure_space(case, rounds=1))


def test_an_unknown_scan_is_refused_with_those_there_are():
    result = CliRunner().invoke(app, ["bench", "projectors", "--space", "--case", "nothing"])
    assert result.exit_code == 2
    assert "cone 128, 180 angles" in result.output
