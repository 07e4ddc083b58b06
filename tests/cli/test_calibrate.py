"""``tomolearn calibrate`` leaves a scan that others read."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import tomolearn as tl
from data_sim import parallel_sinogram, shepp_logan_ellipses
from tomolearn.cli import app


@pytest.fixture
def files(tmp_path):
    grid = tl.Grid((48, 48), 1.0)
    scan = tl.ParallelBeam(60, 64, 1.0, angular_range=6.28)
    truth = scan.with_center(29.0)
    values = parallel_sinogram(
        shepp_logan_ellipses(), truth.view_angles, truth.column_positions, half_extent=20.0
    )
    np.save(tmp_path / "y.npy", values.astype(np.float32))
    tl.save_geometry(tmp_path / "scan.json", grid, scan)
    return tmp_path


def run(files, *options):
    scan = ["--scan", str(files / "scan.json")]
    return CliRunner().invoke(app, ["calibrate", str(files / "y.npy"), *scan, *map(str, options)])


def test_scan_and_figure(files):
    result = run(files, "--out", files / "found.json", "--figure", files / "figure.png")
    assert result.exit_code == 0, result.output
    _, scan = tl.load_geometry(files / "found.json")
    assert scan.center_bin == pytest.approx(29, abs=0.05)
    assert (files / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "detector_offset = 2." in result.output


def test_a_parameter_that_no_data_tell_is_refused(files):
    result = run(files, "--out", files / "found.json", "--free", "start_angle")
    assert result.exit_code == 2
    assert "'start_angle'" in result.output
    assert not (files / "found.json").exists()


def test_reconstruction_with_the_scan_that_is_found(files):
    images = {}
    for name, options in {"given": [], "found": ["--calibrate", "detector_offset"]}.items():
        out = ["--out", str(files / f"{name}.npy")]
        scan = ["--scan", str(files / "scan.json")]
        result = CliRunner().invoke(
            app, ["reconstruct", str(files / "y.npy"), *scan, *out, *options]
        )
        assert result.exit_code == 0, result.output
        images[name] = np.load(files / f"{name}.npy")
    grid, scan = tl.load_geometry(files / "scan.json")
    operator = tl.RayTransform(grid, scan.with_center(29.0))
    right = tl.fbp(torch.from_numpy(np.load(files / "y.npy")), operator).numpy()
    assert np.abs(images["found"] - right).max() < 0.1 * np.abs(images["given"] - right).max()


def test_slices_are_reconstructed_with_the_scan_of_the_middle_one(files):
    y = np.load(files / "y.npy")
    np.save(files / "slices.npy", np.stack([np.roll(y, 3, axis=1), y, y]))
    given = [str(files / "slices.npy"), "--scan", str(files / "scan.json")]
    options = ["--calibrate", "detector_offset", "--out", str(files / "x.npy")]
    result = CliRunner().invoke(app, ["reconstruct", *given, *options])
    assert result.exit_code == 0, result.output
    assert "calibrated by slice 1 of 3, for all of them" in result.output
    grid, scan = tl.load_geometry(files / "scan.json")
    right = tl.fbp(torch.from_numpy(y), tl.RayTransform(grid, scan.with_center(29.0))).numpy()
    images = np.load(files / "x.npy")
    assert np.abs(images[1] - right).max() < 0.05 * np.abs(right).max()
    np.testing.assert_array_equal(images[1], images[2])


def test_shifts_of_views_and_a_method_that_takes_them(files):
    given = [str(files / "y.npy"), "--scan", str(files / "scan.json")]
    options = ["--calibrate", "detector_offset,shifts", "--out", str(files / "x.npy")]
    result = CliRunner().invoke(app, ["reconstruct", *given, *options, "--method", "cgls"])
    assert result.exit_code == 0, result.output
    assert "shifts = 0.0" in result.output


@pytest.mark.parametrize("free", ["shifts", "detector_offset, axis_tilt"])
def test_what_fbp_does_not_take_is_refused_before_the_calibration(files, monkeypatch, free):
    def never(*_, **__):
        raise AssertionError("calibrated")

    monkeypatch.setattr("tomolearn.measurements.calibrate", never)
    given = [str(files / "y.npy"), "--scan", str(files / "scan.json")]
    options = ["--calibrate", free, "--out", str(files / "x.npy")]
    result = CliRunner().invoke(app, ["reconstruct", *given, *options])
    assert result.exit_code == 2
    assert free.split(", ")[-1] in result.stderr
    assert "--method cgls" in result.stderr
