"""Weights of priors on the command line: options of their own, and a place in comparisons."""

import numpy as np
import pytest
import torch
from small_task import only_tasks, small_task
from typer.testing import CliRunner

import tomolearn as tl
from tomolearn.catalogue import get_method
from tomolearn.cli import app
from tomolearn.priors import SquaredDifferences

GRID = tl.Grid((8, 8))
SCAN = tl.ParallelBeam.covering(GRID, 10)


@pytest.fixture
def prior(tmp_path):
    recipe = {"weight": 3.0, "backprojected_noise": 0.5}
    tl.save(SquaredDifferences(), tmp_path / "smooth", training={"reconstruction": recipe})
    return str(tmp_path / "smooth")


def test_reconstruct(prior, tmp_path, numpy_rng):
    operator = tl.RayTransform(GRID, SCAN)
    sinogram = operator(torch.from_numpy(numpy_rng.random((8, 8), np.float32) / 10))
    np.save(tmp_path / "sinogram.npy", sinogram.numpy())
    tl.save_geometry(tmp_path / "scan.json", GRID, SCAN)
    arguments = [
        *("reconstruct", str(tmp_path / "sinogram.npy"), "--scan", str(tmp_path / "scan.json")),
        *("--out", str(tmp_path / "image.npy"), "--method", prior),
    ]
    result = CliRunner().invoke(app, [*arguments, "--photons", "1e4", "--iterations", "30"])
    assert result.exit_code == 0, result.output
    expected = get_method(prior, photons=1e4, iterations=30)(sinogram, operator)
    np.testing.assert_allclose(np.load(tmp_path / "image.npy"), expected.numpy(), atol=1e-6)
    result = CliRunner().invoke(app, [*arguments, "--force", "--filter", "hann"])
    assert result.exit_code == 2
    assert "--filter: expected with fbp" in result.output


def test_evaluate(prior, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    only_tasks(monkeypatch, small_task())
    methods = "fbp,smooth,smooth(weight=1e4)"
    arguments = ["evaluate", "--task", "small", "--methods", methods, "--images", "1"]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    assert result.exit_code == 0, result.output
    values = [
        float(line.split("│")[2]) for line in result.stdout.splitlines() if "│ smooth" in line
    ]
    # the weight of the task's noise is better than one without sense
    assert len(values) == 2
    assert values[0] > values[1] + 3
