"""`tomolearn demo`: what it prints and writes, and that its numbers are what they claim to be."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pydicom
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from typer.testing import CliRunner, Result

from tomolearn.cli import app
from tomolearn.dicom import example_slice_path
from tomolearn.geometry import load_geometry

FILES = {
    *(f"{name}.{suffix}" for name in ("truth", "fbp", "tv") for suffix in ("npy", "png")),
    "sinogram.npy",
    "scan.json",
    "demo.png",
    "demo.json",
    "learned.png",
    "learned.md",
}
MU_WATER = 0.01929


def demo(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["demo", *map(str, arguments)])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder and output of a run with the defaults."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    result = demo("--out", folder)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def hounsfield(path: Path) -> np.ndarray:
    image = np.load(path)
    assert image.dtype == np.float32
    return (image.astype(np.float64) / MU_WATER - 1) * 1000


def test_it_writes_all_files_and_nothing_else(results: tuple[Path, str]) -> None:
    assert {path.name for path in results[0].iterdir()} == FILES


def test_numbers_are_those_of_the_images(results: tuple[Path, str]) -> None:
    folder, output = results
    record = json.loads((folder / "demo.json").read_text())
    truth = hounsfield(folder / "truth.npy")[4:-4, 4:-4]
    for name, numbers in record["results"].items():
        image = hounsfield(folder / f"{name.lower()}.npy")[4:-4, 4:-4]
        psnr = peak_signal_noise_ratio(truth, image, data_range=2000)
        ssim = structural_similarity(truth, image, data_range=2000)
        # float32 images of Hounsfield units up to 3000: relative errors of 1e-6 at most
        assert numbers["psnr"] == pytest.approx(psnr, abs=1e-4)
        assert numbers["ssim"] == pytest.approx(ssim, abs=1e-5)
        assert numbers["rmse"] == pytest.approx(np.sqrt(np.mean((image - truth) ** 2)), rel=1e-5)
        row = next(line for line in output.splitlines() if name in line)
        assert f"{psnr:.2f}" in row
        assert f"{ssim:.4f}" in row
    assert "2000 HU" in output


def test_total_variation_beats_filtered_back_projection(results: tuple[Path, str]) -> None:
    numbers = json.loads((results[0] / "demo.json").read_text())["results"]
    assert numbers["TV"]["psnr"] > numbers["FBP"]["psnr"] + 2
    assert numbers["TV"]["ssim"] > numbers["FBP"]["ssim"] + 0.1


def test_truth_is_the_slice(results: tuple[Path, str]) -> None:
    raw = pydicom.dcmread(example_slice_path())
    stored = np.frombuffer(raw.PixelData, dtype="<i2").reshape(128, 128) - 1024.0
    found = hounsfield(results[0] / "truth.npy")
    # Bilinear interpolation to half pixels and back averages neighbours with weights 1/8, 3/4, 1/8.
    kernel = np.outer([1, 6, 1], [1, 6, 1]) / 64
    shifted = [kernel[i, j] * stored[i : 126 + i, j : 126 + j] for i in range(3) for j in range(3)]
    np.testing.assert_allclose(found[1:-1, 1:-1], sum(shifted), atol=1e-3)


def test_record_is_enough_to_repeat_the_run(results: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = results
    record = json.loads((folder / "demo.json").read_text())
    settings = record["settings"]
    names = ("views", "photons", "electronic_std", "seed", "frequency_scaling", "iterations")
    options = [f"--{name.replace('_', '-')}={settings[name]}" for name in (*names, "weight")]
    assert demo("--out", tmp_path, "--no-learned", *options).exit_code == 0
    for name in ("sinogram.npy", "fbp.npy", "tv.npy"):
        np.testing.assert_array_equal(np.load(tmp_path / name), np.load(folder / name))
    assert set(record["versions"]) >= {"tomolearn", "python", "torch", "numpy", "numba"}
    grid, scan = load_geometry(folder / "scan.json")
    assert (grid.to_dict(), scan.to_dict()) == (record["grid"], record["scan"])


def test_reconstruct_takes_what_the_demo_wrote(results: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = results
    arguments = ["reconstruct", folder / "sinogram.npy", "--scan", folder / "scan.json"]
    options = ["--out", tmp_path / "x.npy", "--filter", "hann", "--frequency-scaling", 0.6]
    result = CliRunner().invoke(app, list(map(str, [*arguments, *options])))
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.load(folder / "fbp.npy"))


def test_pictures_show_the_window(results: tuple[Path, str]) -> None:
    low, high = json.loads((results[0] / "demo.json").read_text())["settings"]["window"]
    shown = matplotlib.image.imread(results[0] / "truth.png")
    wanted = (hounsfield(results[0] / "truth.npy")[4:-4, 4:-4] - low) / (high - low)
    # 256 shades, and twice rounded down
    np.testing.assert_allclose(shown[..., 0], np.clip(wanted, 0, 1), atol=2.01 / 255)
    assert matplotlib.image.imread(results[0] / "demo.png").shape[1] > 1500


def test_another_seed_is_other_noise(results: tuple[Path, str], tmp_path: Path) -> None:
    assert demo("--out", tmp_path, "--no-learned", "--seed", 1, "--iterations", 1).exit_code == 0
    first, second = (np.load(f / "sinogram.npy") for f in (results[0], tmp_path))
    assert 0.005 < np.sqrt(np.mean((first - second) ** 2)) < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--input", "missing.dcm"), "error: missing.dcm: No such file or directory"),
        (("--input", __file__), "test_demo.py: expected a DICOM file"),
        (("--window", 100, -100), "--window: expected an increasing pair, got 100 -100"),
        (("--photons", -5), "--photons: expected a positive number, got -5"),
        (("--electronic-std", "nan"), "--electronic-std: "),
        (("--weight", -1), "weight: expected a non-negative number, got -1.0"),
        (("--frequency-scaling", 0), "--frequency-scaling: expected a positive number, got 0.0"),
        (("--views", 0), "--views"),
    ],
)
def test_mistake_is_an_error_and_leaves_no_file(
    options: tuple[Any, ...], message: str, tmp_path: Path
) -> None:
    result = demo("--out", tmp_path / "out", *options)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_results_are_not_overwritten_without_force(tmp_path: Path) -> None:
    (tmp_path / "tv.npy").write_text("mine")
    result = demo("--out", tmp_path)
    assert result.exit_code == 2
    assert "tv.npy: exists already; --force overwrites it" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tv.npy"]
    assert demo("--out", tmp_path, "--no-learned", "--force", "--iterations", 1).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"learned.png", "learned.md"}


def test_priors_and_samplers_are_not_among_the_networks(monkeypatch):
    """They take minutes, and the demo is what everybody runs first."""
    from tomolearn.training import shipped

    command, seen = sys.modules["tomolearn.cli.demo"], []
    monkeypatch.setattr(
        "tomolearn.evaluation.compare", lambda task, methods, **_: seen.extend(methods)
    )
    command._learned()
    kinds = {name: card["kind"] for name, card in shipped().items()}
    assert "lpd-ellipses" in seen
    assert {kinds.get(name, "model") for name in seen} == {"model"}
    assert {"gsd-ellipses", "diffusion-ellipses"} <= kinds.keys()
