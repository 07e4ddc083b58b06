"""What another package adds by entry points works as what is built in.

The package lies beside this file as an installer would leave it, and is put where Python looks.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from batch_trees import write_series

import tomolearn as tl
from tomolearn.catalogue import get_method, method_names, methods_table
from tomolearn.geometry import save_geometry
from tomolearn.priors import PRIORS
from tomolearn.tasks import get_task

FOLDER = Path(__file__).parent
SOURCES = FOLDER.parents[1]
SMALL = ("batch_size=2", "validation_size=2", "accelerator=cpu", "threads=1", "keep=last")


@pytest.fixture(autouse=True)
def installed(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    paths = (str(FOLDER), str(SOURCES), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def tomolearn(*arguments):
    """Run the command as a user would, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tomolearn", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_method_of_one_file_and_one_line_is_in_every_list():
    assert "backprojection" in method_names()
    assert (
        "| `backprojection` | Back-projection, times a number | `factor=1.0` |" in methods_table()
    )
    method = get_method("backprojection", factor=3.0)
    assert get_method(**method.to_dict()) == method


def test_reconstruct(tmp_path):
    task = get_task("few-views")
    sinogram, _ = task.pairs("test")[0]
    np.save("sinogram.npy", sinogram.numpy())
    save_geometry("scan.json", task.grid, task.scan)
    options = ("--method", "backprojection", "--factor", 2.5, "--scan", "scan.json")
    tomolearn("reconstruct", "sinogram.npy", *options, "--out", "image.npy")
    A = task.operator()
    expected = 2.5 * A.adjoint(sinogram) / A.norm() ** 2
    np.testing.assert_allclose(np.load("image.npy"), expected.numpy(), rtol=1e-4, atol=1e-7)


def test_dicom(tmp_path):
    write_series(tmp_path / "in", "a", 1)
    options = ("--method", "backprojection", "--factor", 2, "--views", 20, "--workers", 0)
    tomolearn("dicom", "in", "out", *options)
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert b"backprojection" in path.read_bytes()


def test_train_save_load_and_evaluate():
    settings = [part for setting in SMALL for part in ("--set", setting)]
    names = ("learned-backprojection", "--task", "few-views", "--objective", "absolute-error")
    metric = ("--metric", "largest-error", "--set", "validation_every=5")
    said = tomolearn("train", *names, *metric, *settings, "--steps", 5, "--out", "run")
    assert "validation largest-error" in said
    card = json.loads(Path("run/weights.json").read_text())
    assert (card["model"], card["task"]) == ("learned-backprojection", "few-views")
    sources = json.loads(Path("run/sources.json").read_text())
    assert {one["package"] for one in sources.values()} == {"outside-tomography"}
    model = tl.load("run/weights.json")
    assert 0 < abs(float(model.factor.detach()) - 1) < 0.1

    methods = ("--methods", "backprojection,fbp,run/weights.json", "--metrics", "largest-error")
    said = tomolearn("evaluate", "--task", "few-views", *methods, "--out", "table.csv")
    assert "largest-error" in said
    rows = {row["method"]: row for row in csv.DictReader(Path("table.csv").read_text().split("\n"))}
    assert len(rows) == 3
    task = get_task("few-views")
    errors = [
        float((task.baselines["backprojection"](y, task.operator()) - x).abs().max())
        for y, x in (task.pairs("test")[k] for k in range(4))
    ]
    found = float(rows["backprojection"]["largest-error_mean"])
    assert found == pytest.approx(np.mean(errors), rel=1e-4)


def test_tasks_are_listed():
    said = tomolearn("tasks")
    assert "few-views" in said
    assert "ellipses in eight views" in said


def test_a_prior_is_found():
    denoiser = PRIORS.find("shrinkage")()
    assert torch.equal(denoiser(torch.ones(4, 4), 1.0), torch.full((4, 4), 0.5))
