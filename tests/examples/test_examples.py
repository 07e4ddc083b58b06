"""Every script in `examples/` runs as a reader would run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
# What a reader may give a script to have it end sooner.
ARGUMENTS = {
    "bilevel_1d.py": ["1", "MAID"],
    "deblurring.py": ["0.05", "3"],
    "iterate_more.py": ["1"],
    "random_starts.py": ["--iterations", "3"],
    "many_views.py": ["1"],
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_example_runs(script: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        # The tree that is being tested, whether or not it is installed.
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(
        [sys.executable, str(script), *ARGUMENTS.get(script.name, [])],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, (
        f"{script.name} ended with exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
    )
