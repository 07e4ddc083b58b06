"""`tomolearn models`: what comes with the package, and cards of any weights."""

import json
import sys
from pathlib import Path

import pytest
from saved_networks import CARD, tiny
from typer.testing import CliRunner, Result

import tomolearn as tl
from tomolearn._core.checkpoints import files as files_module
from tomolearn._core.checkpoints.cards import render_card
from tomolearn.cli import app
from tomolearn.training.weights import read_card, shipped


def models(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["models", *arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of weights that stands in for the package's."""
    folder = tmp_path / "package" / "weights"
    folder.mkdir(parents=True)
    monkeypatch.setattr(files_module.resources, "files", lambda _: folder.parent)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return folder


def test_real_package_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert json.loads(models("--json").stdout) == shipped()
    text = models().stdout
    for name in shipped() or ["No weights come with this version"]:
        assert name in text


def test_package_without_weights_says_so(package: Path) -> None:
    assert models().stdout.startswith("No weights come with this version of tomolearn yet")
    assert json.loads(models("--json").stdout) == {}
    package.rmdir()
    assert json.loads(models("--json").stdout) == {}


def test_table_has_what_one_chooses_by(package: Path) -> None:
    about = {"description": "For [bold] images in [0, 1]."}
    tl.save(tiny(), package / "lpd-tiny", **CARD | {"about": about})
    tl.save(tiny(n_dual=5), package / "lpd-large", metrics={"validation_psnr": 33.0})
    tl.save(tiny(n_dual=4), package / "lpd-tested", metrics={"validation_psnr": 31.0, "psnr": 29.5})
    lines = models().stdout.splitlines()
    large, small = (
        next(line for line in lines if name in line) for name in ("lpd-large", "lpd-tiny")
    )
    size = (package / "lpd-tiny.safetensors").stat().st_size / 1e6
    cells = [cell.strip() for cell in small.strip("│┃ ").split("│")]
    parameters = sum(weights.numel() for weights in tiny().parameters())
    assert cells == [
        "lpd-tiny",
        "model",
        "learned-primal-dual",
        "ellipses",
        f"{parameters:,}",
        f"{size:.2f}",
        "31.25",
        "For [bold] images in [0, 1].",
    ]
    assert "33.00 (validation)" in large
    assert "29.50" in next(line for line in lines if "lpd-tested" in line)


def test_card_by_name_and_by_path(package: Path, tmp_path: Path) -> None:
    tl.save(tiny(), package / "shipped", **CARD)
    tl.save(tiny(), tmp_path / "own", task="mine")
    assert models("shipped").stdout == render_card("shipped", shipped()["shipped"])
    card = read_card(tmp_path / "own")[1]
    for path in ("own", "./own.json", str(tmp_path / "own.safetensors")):
        assert models(path).stdout == render_card("own", card)
        assert json.loads(models(path, "--json").stdout) == card


def test_terminal_gets_a_layout(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tl.save(tiny(), package / "shipped", **CARD)
    # the runner replaces the stream itself, so that its class has to say what it is
    runner = CliRunner()
    with runner.isolation():
        kind = type(sys.stdout)
    monkeypatch.setattr(kind, "isatty", lambda self: True, raising=False)
    text = runner.invoke(app, ["models", "shipped"]).stdout
    assert "| network |" not in text
    for word in ("shipped", "learned-primal-dual", "31.25", "CC0"):
        assert word in text


def test_mistake_is_one_line(package: Path) -> None:
    tl.save(tiny(), package / "lpd-ellipses")
    result = CliRunner().invoke(app, ["models", "lpd-elipses"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: lpd-elipses: expected the name of weights that come")
    assert result.stderr.endswith("did you mean lpd-ellipses?\n")
    Path("broken.json").write_text("{}")
    result = CliRunner().invoke(app, ["models", "broken"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: broken.json: expected a file that tomolearn.save")
