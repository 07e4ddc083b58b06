"""The names that users have after ``import tomolearn as tl``."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tomolearn as tl

ROOT = Path(__file__).resolve().parents[2]
ROOMS = [module.name for module in pkgutil.iter_modules(tl.__path__) if module.ispkg]
LAZY = [name for name in ("", *ROOMS) if (Path(tl.__path__[0]) / name / "__init__.pyi").exists()]


def run(program: str) -> list[str]:
    """Run a program in a fresh interpreter; return the words that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("room", LAZY)
def test_every_public_name_is_there(room: str) -> None:
    package = importlib.import_module(f"tomolearn.{room}".rstrip("."))
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))


def test_rooms_are_at_hand_and_load_no_torch_until_it_is_needed() -> None:
    loaded = "print('torch' in sys.modules);"
    program = f"import sys, tomolearn as tl; tl.tasks, tl.dicom, tl.methods, tl.batch; {loaded}"
    assert run(f"{program} tl.fbp; {loaded}") == ["False", "False"]
    assert run(f"{program} tl.RayTransform; {loaded}") == ["False", "True"]


def test_what_starts_the_workers_needs_no_torch() -> None:
    program = (
        "import sys, tomolearn.batch.forkserver; print(*{'torch', 'pydicom'} & set(sys.modules))"
    )
    assert run(program) == []


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        tl.no_such_name  # noqa: B018
