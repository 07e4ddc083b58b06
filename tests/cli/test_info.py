"""`tomolearn info`: what it says is so, also about what is missing."""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import tomolearn
from tomolearn import ConeBeam, Grid, get_method, save_geometry
from tomolearn._core import memory
from tomolearn.cli import app
from tomolearn.operators.backends import BACKENDS
from tomolearn.operators.backends.joseph import JosephBackend


def info() -> dict[str, Any]:
    result = CliRunner().invoke(app, ["info", "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_versions_are_those_that_run() -> None:
    versions = info()["versions"]
    assert versions["tomolearn"] == tomolearn.__version__
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == np.__version__
    # the installed version of torch lacks the "+cpu" of the module's own where it has one
    assert torch.__version__.startswith(versions["torch"].partition("+")[0])
    assert {"numba", "odl", "astra", "pydicom"} <= set(versions)


def test_devices() -> None:
    devices = info()["devices"]
    assert devices["cpu"]["threads"] == torch.get_num_threads()
    assert len(devices["cuda"]) == torch.cuda.device_count()


def test_every_backend_is_listed_with_what_it_can() -> None:
    backends = info()["backends"]
    assert list(backends) == list(BACKENDS)
    assert backends["joseph"] == {"installed": True, **JosephBackend.capabilities._asdict()}


@pytest.mark.parametrize(
    ("backend", "package", "remedy"),
    [
        ("astra", "astra", "pip install astra-toolbox"),
        ("tomosipo", "tomosipo", "pip install git+https://github.com/ahendriksen/tomosipo"),
        ("odl", "odl", "pip install odl"),
    ],
)
def test_missing_backend_comes_with_its_remedy(
    backend: str, package: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None makes Python raise ImportError, as if the package were not there
    monkeypatch.setitem(sys.modules, package, None)
    for module in [name for name in sys.modules if name.startswith("tomolearn.operators.backends")]:
        if module.rpartition(".")[2].startswith((backend, "astra")):
            monkeypatch.delitem(sys.modules, module)
    found = info()["backends"]
    assert found[backend] == {"installed": False, "remedy": remedy}
    assert found["joseph"]["installed"]


def test_tables_name_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["info"])
    assert result.exit_code == 0, result.output
    for word in (tomolearn.__version__, np.__version__, *BACKENDS, "exact transpose", "cores"):
        assert word in result.stdout


def test_memory_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((24, 32, 32))
    scan = ConeBeam(20, (30, 40), 2.0, 200.0, 400.0)
    save_geometry(tmp_path / "scan.json", grid, scan)
    result = CliRunner().invoke(app, ["info", "--json", "--scan", str(tmp_path / "scan.json")])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["memory"]
    image, sinogram = 4 * 24 * 32 * 32, 4 * 20 * 30 * 40
    assert (found["image"], found["sinogram"]) == (image, sinogram)
    assert image < found["projector"] < 4 * image
    cgls = get_method("cgls").memory
    assert found["methods"]["cgls"] == (
        cgls.images * image + cgls.sinograms * sinogram + found["projector"]
    )
    assert {"fbp", "sirt", "kaczmarz", "tv"} <= set(found["methods"])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(memory, "available_bytes", lambda: found["methods"]["cgls"])
    result = CliRunner().invoke(app, ["info", "--scan", str(tmp_path / "scan.json")])
    lines = {line.split(",")[0].strip("\u2502 "): line for line in result.stdout.splitlines()}
    assert "more than is available" in lines["tv"]
    assert "more than is available" not in lines["cgls"]
