"""Options from the settings of a method: those of the method named, and no other is imported."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tomolearn as tl
from tomolearn.cli import app

# a package with the method "backprojection", which has a factor, as an installer leaves it
OUTSIDE = Path(__file__).parents[1] / "outside_package"
GRID = tl.Grid((10, 8))
SCAN = tl.ParallelBeam.covering(GRID, 9)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a reconstruction, in a place where another package has a method."""
    tl.save_geometry(tmp_path / "scan.json", GRID, SCAN)
    np.save(tmp_path / "y.npy", np.ones(SCAN.shape, np.float32))
    monkeypatch.syspath_prepend(OUTSIDE)
    return [f"{tmp_path}/y.npy", f"--scan={tmp_path}/scan.json", f"--out={tmp_path}/x.npy"]


def reconstruct(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "150"}).invoke(app, ["reconstruct", *arguments])
    return result.output


def test_options_of_another_method_are_refused(files: list[str]) -> None:
    refused = "--factor: expected with backprojection only, got it with fbp"
    assert refused in reconstruct(*files, "--factor", "2")
    assert refused in reconstruct(*files, "--method=fbp", "--factor=2")
    assert "got it with sirt" in reconstruct(*files, "--method=sirt", "--factor=2")
    assert "--no-nonnegative: expected with tv, sirt" in reconstruct(*files, "--no-nonnegative")
    given = ("--method", "backprojection", "--factor", "two")
    assert "--factor" in reconstruct(*files, *given)
    # a name that no method has is the parser's
    assert "No such option" in reconstruct(*files, "--factr", "2")


def test_help_has_the_settings_of_another_package(files: list[str]) -> None:
    assert "Settings of backprojection" in reconstruct("--help")


@pytest.mark.parametrize("method", ["fbp", "backprojection"])
def test_a_method_is_imported_only_if_it_is_named(files: list[str], method: str) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from tomolearn.cli import app\n"
        f"result = CliRunner().invoke(app, {['reconstruct', *files, '--method', method]})\n"
        "assert result.exit_code == 0, result.output\n"
        "print('outside_tomography' in sys.modules)"
    )
    paths = filter(None, [str(OUTSIDE), os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(method == "backprojection")]
