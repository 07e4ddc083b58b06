"""The cache of compiled kernels: it may be missing, full or damaged, and nothing else changes."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# a kernel that is compiled in a second; prints whether it came from the disk, and its result
PROGRAM = """
import numpy as np
from tomolearn.kernels.joseph import _arctan

print(round(float(_arctan(np.float64(0.5))), 6), len(_arctan.stats.cache_hits))
"""


def run(
    cache: Path | None, *, limit: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it with this folder for the cache, and else without any place for one."""
    places = "IPythonCacheLocator" if cache is None else "UserProvidedCacheLocator"
    given = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "NUMBA_CACHE_LOCATOR_CLASSES": places,
        **({} if cache is None else {"NUMBA_CACHE_DIR": str(cache)}),
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-c", limit + PROGRAM],
        cwd=ROOT,
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_place_for_the_cache() -> None:
    done = run(None)
    assert done.stdout == "0.463648 0\n", done.stderr
    assert done.stderr.count("compiled kernels cannot be kept") == 1


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """As on a full disk: files can be made, but nothing can be written into them."""
    full = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    )
    done = run(tmp_path, limit=full)
    assert done.stdout == "0.463648 0\n", done.stderr
    assert done.stderr.count("compiled kernels cannot be kept") == 1
    assert "File too large" in done.stderr


def test_without_a_home_it_is_among_the_temporary_files(tmp_path: Path) -> None:
    """Of a package that cannot be written to: in a folder that only its user can enter."""
    import tomolearn

    package = tmp_path / "installed" / "tomolearn"
    shutil.copytree(
        Path(tomolearn.__file__).parent,
        package,
        ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"),
    )
    # a file stands where the folder of compiled code would be: nobody, not even root, can make it
    (package / "kernels" / "__pycache__").write_text("")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent/home" if os.getuid() else "/dev/null",
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(tmp_path / "installed"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for hits in (0, 1):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr) == (f"0.463648 {hits}\n", "")
    folder = tmp_path / f"tomolearn-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    # somebody else could have put code there
    folder.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "0.463648 0\n"
    assert "compiled kernels cannot be kept" in done.stderr


def cut(at: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(at * len(content))])

    return damage


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def zeros_inside(path: Path) -> None:
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + bytes(min(4096, half)) + content[half + min(4096, half) :])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": cut(0),
    "begun": cut(0.1),
    "half": cut(0.5),
    "nearly": cut(0.99),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "zeros inside": zeros_inside,
    "text": lambda path: path.write_text("no pickle"),
    "another pickle": lambda path: path.write_bytes(pickle.dumps({})),
    "a pickle of what is missing": lambda path: path.write_bytes(b"cno.such.module\nname\n."),
    "a folder": a_folder,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("whole")
    assert run(cache).stdout == "0.463648 0\n"
    assert run(cache).stdout == "0.463648 1\n"
    return cache


def test_damaged_files_are_made_anew(whole: Path, tmp_path: Path) -> None:
    """All kinds of damage one after the other: each is met, and mended if it can be."""
    program = f"""
import importlib, itertools, shutil, sys, warnings
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from test_kernel_cache import DAMAGES
from numba import config
from tomolearn.kernels import joseph

for name, suffix in itertools.product(DAMAGES, (".nbi", ".nbc")):
    cache = Path({str(tmp_path)!r}, name + suffix)
    shutil.copytree({str(whole)!r}, cache)
    for path in cache.rglob("*_arctan*" + suffix):
        DAMAGES[name](path)
    config.CACHE_DIR = str(cache)
    said = []
    for _ in range(2):
        joseph = importlib.reload(joseph)
        said.append(round(float(joseph._arctan(np.float64(0.5))), 6))
        said.append(len(joseph._arctan.stats.cache_hits))
    print(name + suffix, *said, sep=",")
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(whole)}
    environment["NUMBA_CACHE_LOCATOR_CLASSES"] = "UserProvidedCacheLocator"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = dict(line.split(",", 1) for line in done.stdout.splitlines())
    assert len(found) == 2 * len(DAMAGES), done.stderr
    for name, said in found.items():
        mended = 0 if name.startswith("a folder") else 1
        assert said == f"0.463648,0,0.463648,{mended}", name


def test_compiled_code_is_of_all_that_it_is_made_of(tmp_path: Path) -> None:
    """A kernel is made of functions of other files: their change is one of its own."""
    from tomolearn.kernels.compilation import _sources

    (tmp_path / "a.py").write_text("a")
    before = _sources(tmp_path)
    (tmp_path / "b.py").write_text("b")
    _sources.cache_clear()
    assert _sources(tmp_path) != before


def test_kernels_are_compiled_in_one_way() -> None:
    for path in (ROOT / "tomolearn").rglob("*.py"):
        if path.name != "compilation.py":
            assert "njit" not in path.read_text(encoding="utf-8"), path
