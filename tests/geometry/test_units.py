"""Units that were probably meant otherwise: told with the remedy, and never where all is right."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from builders import DenseOperator
from typer.testing import CliRunner

import tomolearn as tl
from tomolearn import CoverageWarning, UnitWarning
from tomolearn.cli import app
from tomolearn.data import RandomThorax
from tomolearn.geometry import load_geometry
from tomolearn.simulation import CoveringScan
from tomolearn.tasks import TASKS

GRID = tl.Grid((32, 32))
FAN = {"n_detectors": 64, "detector_spacing": 1.5, "source_to_isocenter": 60.0}
FAN["source_to_detector"] = 100.0


def parallel(**angles):
    return tl.ParallelBeam(n_detectors=47, detector_spacing=1.0, **angles)


def fan(**angles):
    return tl.FanBeam(**FAN, **angles)


def cone(**angles):
    distances = {"source_to_isocenter": 60.0, "source_to_detector": 100.0}
    return tl.ConeBeam(detector_shape=(8, 64), detector_spacing=1.5, **distances, **angles)


DEGREES = {
    "180 in steps of 1": {"angles": np.arange(180.0)},
    "360 in steps of 0.5": {"angles": np.arange(720) * 0.5},
    "1000 views of 360": {"angles": np.linspace(0, 360, 1000, endpoint=False)},
    "181 with its end": {"angles": np.linspace(0, 180, 181)},
    "7 views": {"angles": np.linspace(0, 180, 7)},
    "10 degrees": {"angles": np.arange(11.0)},
    "backwards": {"angles": -np.arange(180.0)},
    "measured": {"angles": np.sort(np.random.default_rng(0).uniform(0, 360, 50))},
    "far from zero": {"angles": 200 + np.arange(4.0)},
    "arc": {"n_angles": 60, "angular_range": 180},
    "short arc": {"n_angles": 60, "angular_range": 30.0},
    "start": {"n_angles": 60, "start_angle": 90.0},
}
RADIANS = {
    "default": {"n_angles": 60},
    "turn and a bit": {"n_angles": 60, "angular_range": 2 * math.pi + 0.5},
    "two turns": {"n_angles": 60, "angular_range": 4 * math.pi},
    "listed": {"angles": np.linspace(0, 2 * math.pi, 60, endpoint=False)},
    "whole": {"angles": [0.0, 1.0, 2.0]},
    "golden": {"angles": np.arange(100) * math.pi * (math.sqrt(5) - 1) / 2},
    "golden in the turn": {"angles": np.arange(300) * math.pi * (3 - math.sqrt(5))},
    "late start": {"n_angles": 60, "start_angle": 2 * math.pi},
    "one": {"angles": [0.0]},
}


@pytest.mark.parametrize("make", [parallel, fan, cone])
@pytest.mark.parametrize("case", DEGREES)
def test_degrees_are_told_with_the_remedy(make, case):
    with pytest.warns(UnitWarning, match=r"radians.*np\.deg2rad\(") as caught:
        scan = make(**DEGREES[case])
    assert [one.filename for one in caught] == [__file__]
    # scans that are made of it do not tell it again
    scan.subset(slice(None, None, 2))
    scan.with_center(3.0)
    with pytest.warns(UnitWarning):
        type(scan).from_json(scan.to_json())


@pytest.mark.parametrize("make", [parallel, fan, cone])
@pytest.mark.parametrize("case", RADIANS)
def test_radians_are_nothing_to_tell(make, case):
    make(**RADIANS[case])  # a warning would be an error


def test_a_helix_may_turn_often():
    cone(n_angles=600, angular_range=20 * math.pi, pitch=5.0)


def test_three_numbers_meant_for_linspace():
    with pytest.warns(UnitWarning, match="three angles, 0, 3.14159, 180 .* give n_angles=180"):
        parallel(angles=(0, np.pi, 180))


def test_covering_scans_and_files_tell_too(tmp_path):
    with pytest.warns(UnitWarning, match="deg2rad") as caught:
        scan = tl.ParallelBeam.covering(GRID, angles=np.arange(180.0))
    assert caught[0].filename == __file__
    tl.save_geometry(tmp_path / "scan.json", GRID, scan)
    with pytest.warns(UnitWarning, match="deg2rad"):
        load_geometry(tmp_path / "scan.json")


def test_no_scan_of_the_package_is_suspicious():
    for name in TASKS:
        task = TASKS[name]
        if task.scan is not None:
            type(task.scan).from_json(task.scan.to_json())
        task.operator()
    for kind in ("fan", "parallel"):
        CoveringScan(kind, 1000).on(GRID)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_grids_in_another_unit(unit):
    scan = parallel(n_angles=30)
    grid = tl.Grid((32, 32), unit)
    category = UnitWarning if unit < 1 else CoverageWarning
    with pytest.warns(category, match="mm"):
        tl.RayTransform(grid, scan)
    # a small part of what is seen may be wanted
    tl.RayTransform(tl.Grid((32, 32), 0.1), scan)


def test_a_search_for_the_axis_tells_once_what_the_detector_misses():
    scan = tl.ParallelBeam(n_angles=30, n_detectors=33, detector_spacing=1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for center in np.linspace(10, 14, 9):
            tl.RayTransform(GRID, scan.with_center(center))
    assert [one.category for one in caught] == [CoverageWarning]


PHANTOMS = {
    "thorax": lambda: RandomThorax()((32, 32), np.random.default_rng(0)) * 0.02,
    "disc": lambda: (np.hypot(*np.mgrid[-15.5:16, -15.5:16]) < 12) * 0.05,
    "ring": lambda: (abs(np.hypot(*np.mgrid[-15.5:16, -15.5:16]) - 10) < 3) * 0.05,
    "weak": lambda: (np.hypot(*np.mgrid[-15.5:16, -15.5:16]) < 9) * 0.01,
    "of one": lambda: (np.hypot(*np.mgrid[-15.5:16, -15.5:16]) < 15) * 1.0,
}
METHODS = ["fbp", "sirt(iterations=2)", "cgls(iterations=2)", "tv(weight=0.1, iterations=2)"]


def integrals(phantom):
    A = tl.RayTransform(GRID, parallel(n_angles=40))
    image = torch.from_numpy(np.asarray(PHANTOMS[phantom]())).float()[None, None]
    return A(image), A


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("phantom", PHANTOMS)
@pytest.mark.parametrize("flat", [1.0, 1e3, 1e5])
def test_counts_and_transmissions_are_told_once(phantom, flat, method, numpy_rng):
    y, A = integrals(phantom)
    counts = flat * torch.exp(-y)
    if flat > 1:
        counts = torch.from_numpy(numpy_rng.poisson(counts.numpy())).float()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tl.get_method(method)(counts, A)
    (text,) = [str(one.message) for one in caught if one.category is UnitWarning]
    assert "give -log(counts / flat)" in text
    assert caught[0].filename == __file__


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("phantom", PHANTOMS)
@pytest.mark.parametrize("photons", [None, 1e5, 1e3])
def test_line_integrals_are_nothing_to_tell(phantom, photons, method, numpy_rng):
    y, A = integrals(phantom)
    if photons is not None:
        counts = numpy_rng.poisson(photons * np.exp(-y.numpy())).clip(0.1)
        y = -torch.from_numpy(np.log(counts / photons)).float()
    tl.get_method(method)(y, A)
    if phantom == "ring":  # what is hollow, and seen in part, may be either
        return
    inner = tl.RayTransform.derived(GRID, parallel(n_angles=40).with_columns(15, 1.0, 0.0), "auto")
    tl.get_method(method)(y[..., 16:31].contiguous(), inner)


def test_the_command_line_tells_both(tmp_path):
    y, A = integrals("disc")
    degrees = {"type": "ParallelBeam", "angles": list(range(40)), "n_detectors": 47}
    values = {"grid": GRID.to_dict(), "scan": degrees | {"detector_spacing": 1.0}}
    (tmp_path / "degrees.json").write_text(json.dumps(values))
    tl.save_geometry(tmp_path / "scan.json", GRID, A.scan)
    np.save(tmp_path / "y.npy", y.numpy())
    np.save(tmp_path / "counts.npy", 1e4 * np.exp(-y.numpy()))
    for name, scan, words in (
        ("y", "degrees", "if degrees were meant, give np.deg2rad(angles)"),
        ("counts", "scan", "counts or transmissions, give -log(counts / flat)"),
    ):
        out = tmp_path / f"{name}-image.npy"
        paths = [str(tmp_path / f"{name}.npy"), "--scan", str(tmp_path / f"{scan}.json")]
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            result = CliRunner().invoke(app, ["reconstruct", *paths, "--out", str(out)])
        assert result.exit_code == 0, result.output
        assert result.stderr.count("warning: ") == 1
        assert words in result.stderr


def test_other_operators_have_no_air(numpy_rng):
    matrix = numpy_rng.random((40, 16))
    data = torch.linspace(0.9, 1.0, 40, dtype=torch.float64)
    data[10:30] = 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tl.cgls(data, DenseOperator(matrix), iterations=2)
