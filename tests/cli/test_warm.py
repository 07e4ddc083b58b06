"""`tomolearn warm`: nothing is compiled after it, and a cache that cannot be written is said."""

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders import PLANE, SPACE
from typer.testing import CliRunner

from tomolearn.cli import app
from tomolearn.methods import total_variation
from tomolearn.operators import RayTransform
from tomolearn.operators.backends.joseph import JosephBackend

ROOT = Path(__file__).resolve().parents[2]


def signatures() -> dict[str, int]:
    """How many kinds of arguments each kernel was compiled for, in this process."""
    import tomolearn.kernels as package

    found = {}
    for module in pkgutil.iter_modules(package.__path__, "tomolearn.kernels."):
        for name, kernel in vars(importlib.import_module(module.name)).items():
            # those that others call are compiled with these
            if hasattr(kernel, "nopython_signatures") and not name.startswith("_"):
                found[f"{module.name}.{name}"] = len(kernel.nopython_signatures)
    return found


def use_everything(dtype: torch.dtype) -> None:
    for grid, scan in {**PLANE, **SPACE}.values():
        if min(grid.shape[-2:]) < 8 and grid.ndim == 2:
            continue  # images that small take their lanes one by one
        backend = JosephBackend(grid, scan)
        for batch in (1, 2, 3, 5, 7, 16, 17) if grid.ndim == 2 else (1, 2):
            images = torch.zeros(batch, *grid.shape, dtype=dtype)
            sinograms = torch.zeros(batch, *scan.shape, dtype=dtype)
            backend.forward(images)
            backend.adjoint(sinograms)
            backend.backproject(sinograms)
    grid, scan = PLANE["parallel_even"]
    y = torch.ones(2, 1, *scan.shape, dtype=dtype)
    total_variation(y, RayTransform(grid, scan), weight=0.1, iterations=2, nonnegative=True)


@pytest.mark.slow
def test_nothing_is_compiled_after_it() -> None:
    result = CliRunner().invoke(app, ["warm"])
    assert result.exit_code == 0, result.output
    assert "kept in" in result.stdout
    before = signatures()
    assert all(before.values()), before
    for dtype in (torch.float32, torch.float64):
        use_everything(dtype)
    assert signatures() == before


def warm(limit: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"{limit}\nfrom tomolearn.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", program, "warm"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    wanted = tmp_path / "file" / "cache"
    wanted.parent.write_text("")
    done = warm(NUMBA_CACHE_DIR=str(wanted))
    assert done.returncode == 2
    assert str(wanted) in done.stderr
    assert "Traceback" not in done.stderr


def test_no_folder_at_all_is_an_error() -> None:
    done = warm(NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator")
    assert done.returncode == 2
    assert "compiled kernels cannot be kept" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    full = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    )
    done = warm(full, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert str(tmp_path) in done.stderr
