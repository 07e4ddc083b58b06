"""`tomolearn reconstruct FILE` without a scan: the image is that of the array and its scan."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from data_sim import parallel_sinogram, shepp_logan_ellipses
from tomolearn.cli import app
from tomolearn.geometry import Grid, ParallelBeam, save_geometry
from tomolearn.methods import METHODS

VIEWS, COLUMNS, AIR = 60, 64, 4e4
DEGREES = np.arange(VIEWS) * 180 / VIEWS
SCAN = ParallelBeam(angles=np.deg2rad(DEGREES).tolist(), n_detectors=COLUMNS, detector_spacing=1.0)
GRID = Grid((COLUMNS, COLUMNS), 1.0)


def reconstruct(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["reconstruct", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with counts of two slices as a scanner has them, and their line integrals."""
    y = parallel_sinogram(
        shepp_logan_ellipses(), SCAN.view_angles, SCAN.detector_positions, half_extent=(24.0, 24.0)
    )
    lines = np.stack([0.02 * y, 0.01 * y]).astype(np.float32)
    flats = np.full((1, 2, COLUMNS), AIR, np.float32)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["exchange/data"] = (AIR * np.exp(-lines)).swapaxes(0, 1)
        file["exchange/data_white"] = flats
        file["exchange/theta"] = DEGREES
    tifffile.imwrite(tmp_path / "sinogram.tif", (AIR * np.exp(-lines[0])).astype(np.uint16))
    np.savetxt(tmp_path / "angles.txt", DEGREES)
    np.save(tmp_path / "y.npy", lines)
    save_geometry(tmp_path / "scan.json", GRID, SCAN)
    return tmp_path


@pytest.mark.parametrize(
    ("method", "options"), [("fbp", ()), ("cgls", ("--iterations", 5)), ("sirt", ())]
)
def test_image_is_that_of_the_line_integrals(
    method: str, options: tuple[Any, ...], folder: Path
) -> None:
    chosen = ("--method", method, *options)
    result = reconstruct(
        folder / "scan.h5", "--detector-spacing", 1, "--out", folder / "a.npy", *chosen
    )
    assert result.exit_code == 0, result.output
    arguments = ("--scan", folder / "scan.json", "--out", folder / "b.npy", *chosen)
    if method != "fbp":
        # weights of photons, which the array's user would give by a file
        from tomolearn.measurements import prepare, read

        np.save(
            folder / "w.npy",
            prepare(read(folder / "scan.h5", detector_spacing=1.0)).weights,
        )
        arguments = (*arguments, "--weights", folder / "w.npy")
    assert reconstruct(folder / "y.npy", *arguments).exit_code == 0
    found, expected = np.load(folder / "a.npy"), np.load(folder / "b.npy")
    assert found.shape == (2, COLUMNS, COLUMNS)
    # counts are in single precision
    np.testing.assert_allclose(found, expected, atol=2e-4 * expected.max())


def test_slice_bins_and_what_the_file_does_not_tell(folder: Path) -> None:
    told = ("--angles", folder / "angles.txt", "--detector-spacing", 1, "--flats", AIR)
    image = ("--slice", 0, "--bin", 2, "--size", 20, "--pixel", 2.5)
    assert (
        reconstruct(
            folder / "scan.h5", "--detector-spacing", 1, *image, "--out", folder / "a.npy"
        ).exit_code
        == 0
    )
    assert (
        reconstruct(
            folder / "sinogram.tif",
            *told,
            *image[2:],
            "--out",
            folder / "b.npy",
            "--preview",
            folder / "b.png",
        ).exit_code
        == 0
    )
    found, other = np.load(folder / "a.npy"), np.load(folder / "b.npy")
    assert found.shape == other.shape == (20, 20)
    # whole numbers of counts
    np.testing.assert_allclose(found, other, atol=5e-3 * found.max())
    assert (folder / "b.png").exists()


def test_options_have_names_that_no_method_has(folder: Path) -> None:
    from tomolearn.cli.scanner_options import _OPTIONS

    for name, method in METHODS.items():
        assert not {one.name for one in method.settings()} & set(_OPTIONS), name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scan.h5", (), "--detector-spacing: expected a value, which the file does not tell"),
        ("scan.h5", ("--detector-spacing", 1, "--slice", 5), "--slice: expected an integer <= 1"),
        ("scan.h5", ("--detector-spacing", 1, "--bin", 65), "--bin: expected an integer <= 64"),
        ("scan.h5", ("--detector-spacing", -1), "--detector-spacing: expected a positive number"),
        ("scan.h5", ("--format", "dicom"), "--format: expected"),
        ("sinogram.tif", ("--flats", "none.tif", "--angular-range", 180), "none.tif"),
        ("sinogram.tif", ("--angular-range", 180, "--detector-spacing", 1), "flats: expected flat"),
        ("y.npy", (), "--scan: expected a file that tells of the scanner of"),
        ("y.npy", ("--scan", "scan.json", "--bin", 2), "--bin: expected without --scan only"),
        ("y.npy", ("--scan", "scan.json", "--center", 2), "--center: expected without --scan only"),
    ],
)
def test_mistake_is_one_line_and_leaves_no_file(
    name: str,
    options: tuple[Any, ...],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    result = reconstruct(name, *options, "--out", "x.npy")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "x.npy").exists()


def test_measured_files(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "measured" / "tooth.h5"
    if not path.is_file():
        pytest.skip("needs measured scans in ../shared/data/measured")
    told = ("--detector-spacing", 1, "--center", 295.85, "--slice", 0, "--bin", 4)
    result = reconstruct(path, *told, "--out", tmp_path / "tooth.npy")
    assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "tooth.npy").shape == (148, 148)
    # the centre is not told, and found: the grid is that of the scan that was calibrated
    told = ("--detector-spacing", 1, "--slice", 0, "--bin", 4, "--calibrate", "detector_offset")
    result = reconstruct(path, *told, "--out", tmp_path / "found.npy")
    assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "found.npy").shape == (148, 148)
