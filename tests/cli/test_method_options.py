"""Options from the settings of methods: of another package too, and imported only if named."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import tomolearn as tl
from tomolearn.catalogue import get_method, methods_table
from tomolearn.cli import app

GRID = tl.Grid((10, 8))
SCAN = tl.ParallelBeam.covering(GRID, 9)
SOURCE = '''
from dataclasses import dataclass
from typing import ClassVar
from tomolearn.methods import Method, setting

@dataclass(frozen=True, kw_only=True)
class Outside(Method):
    """Back-projection from outside."""
    name: ClassVar[str] = "outside"
    gain: float = setting(1.0, help="factor of the image", above=0)
    views: int = setting(3, help="a name that dicom has itself", minimum=1)
    inverted: bool = setting(False, help="change the sign")

    def __call__(self, sinogram, operator):
        return (-1 if self.inverted else 1) * self.gain * operator.adjoint(sinogram)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of an installed package with a method, and of a scan with its sinogram."""
    (tmp_path / "outside_methods.py").write_text(SOURCE)
    about = tmp_path / "outside_methods-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-methods\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[tomolearn.methods]\noutside = outside_methods:Outside\n"
    )
    tl.save_geometry(tmp_path / "scan.json", GRID, SCAN)
    np.save(tmp_path / "y.npy", np.ones(SCAN.shape, np.float32))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def reconstruct(folder: Path, *arguments: str) -> tuple[int, str]:
    files = ["reconstruct", f"{folder}/y.npy", f"--scan={folder}/scan.json"]
    result = CliRunner(env={"COLUMNS": "150"}).invoke(
        app, [*files, f"--out={folder}/x.npy", "--force", *arguments]
    )
    return result.exit_code, result.output


def test_method_of_another_package_is_one_like_ours(package: Path) -> None:
    code, output = reconstruct(package, "--method=outside", "--gain", "2", "--inverted")
    assert code == 0, output
    expected = -2 * tl.RayTransform(GRID, SCAN).adjoint(torch.ones(SCAN.shape))
    np.testing.assert_allclose(np.load(package / "x.npy"), expected.numpy(), rtol=1e-6)
    assert get_method("outside(gain=2, inverted=yes)").to_dict() == {
        "name": "outside",
        "gain": 2.0,
        "views": 3,
        "inverted": True,
    }
    assert "| `outside` | Back-projection from outside | `gain=1.0`" in methods_table()


def test_its_options_are_its_own(package: Path) -> None:
    assert (
        "--gain: expected with outside only, got it with fbp"
        in reconstruct(package, "--gain", "2")[1]
    )
    assert "--no-inverted: expected with outside only" in reconstruct(package, "--no-inverted")[1]
    assert (
        "--gain: expected a positive number"
        in reconstruct(package, "--method", "outside", "--gain", "-1")[1]
    )
    code, output = reconstruct(package, "--help")
    assert code == 0
    assert "Settings of outside" in output


def test_it_is_imported_only_if_it_is_named(package: Path) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from tomolearn.cli import app\n"
        f"files = ['reconstruct', {str(package / 'y.npy')!r}, '--scan', "
        f"{str(package / 'scan.json')!r}, '--out', {str(package / 'x.npy')!r}]\n"
        "assert CliRunner().invoke(app, [*files, '--filter', 'hann']).exit_code == 0\n"
        "sys.exit('outside_methods' in sys.modules)"
    )
    paths = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", program], check=False, env=environment)
    assert done.returncode == 0
