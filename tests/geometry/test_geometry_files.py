"""Grids and scans as dictionaries, JSON and files."""

import json
import math
import os

import numpy as np
import pytest
from builders import PLANE, SPACE

from tomolearn.geometry import (
    ConeBeam,
    FanBeam,
    Grid,
    ParallelBeam,
    geometry_from_dict,
    load_geometry,
    save_geometry,
)

ALL = {**PLANE, **SPACE}
GRID = {"shape": [4, 5], "spacing": 0.5}
SCAN = {"type": "ParallelBeam", "n_angles": 3, "n_detectors": 9, "detector_spacing": 1.0}


def is_plain(value):
    if isinstance(value, list):
        return all(is_plain(entry) for entry in value)
    return type(value) in (int, float, str)


@pytest.mark.parametrize("name", ALL)
def test_dictionaries_and_json(name):
    for value in ALL[name]:
        values = value.to_dict()
        assert values["type"] == type(value).__name__
        assert all(is_plain(entry) for entry in values.values())
        for again in (
            type(value).from_dict(values),
            geometry_from_dict(values),
            type(value).from_json(value.to_json()),
            geometry_from_dict(json.loads(json.dumps(values))),
        ):
            assert type(again) is type(value)
            assert again == value
            assert hash(again) == hash(value)
            assert again.to_json() == value.to_json()


@pytest.mark.parametrize("name", ALL)
def test_files(name, tmp_path):
    grid, scan = ALL[name]
    path = tmp_path / "scanner.json"
    save_geometry(path, grid, scan)
    assert load_geometry(path) == (grid, scan)
    assert load_geometry(str(path)) == (grid, scan)
    # nothing else is left behind
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "scanner.json"
    for name in ("parallel_even", "fan_curved"):
        save_geometry(path, *ALL[name])
    assert load_geometry(path) == ALL["fan_curved"]


def test_numbers_come_back_to_the_last_digit():
    grid = Grid((3, 3), (1 / 3, np.nextafter(1.0, 2.0)), center=(math.pi, -1e-300))
    assert Grid.from_json(grid.to_json()) == grid


def test_dictionaries_do_not_share_memory():
    grid = Grid((4, 5))
    grid.to_dict()["shape"][0] = 7
    assert grid == Grid((4, 5))


def test_what_may_be_left_out(tmp_path):
    path = tmp_path / "scanner.json"
    path.write_text(json.dumps({"grid": GRID, "scan": SCAN}))
    assert load_geometry(path) == (Grid((4, 5), 0.5), ParallelBeam(3, 9, 1.0))
    assert ParallelBeam.from_dict({k: v for k, v in SCAN.items() if k != "type"}).n_angles == 3
    listed = {"angles": [0.0, 1.0], "n_detectors": 9, "detector_spacing": 1.0}
    assert ParallelBeam.from_dict(listed) == ParallelBeam(2, 9, 1.0, angles=[0.0, 1.0])
    assert listed == {"angles": [0.0, 1.0], "n_detectors": 9, "detector_spacing": 1.0}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Grid.from_dict([4, 5]), TypeError, "Grid: expected a dictionary, got list"),
        (lambda: FanBeam.from_dict(None), TypeError, "FanBeam: expected a dictionary, got NoneTy"),
        (
            lambda: Grid.from_dict(GRID | {"type": "FanBeam"}),
            ValueError,
            "type: expected 'Grid', got 'FanBeam'",
        ),
        (
            lambda: Grid.from_dict(GRID | {"pitch": 1, "size": 2}),
            ValueError,
            "Grid: expected only the fields shape, spacing, center, got unknown 'pitch', 'size'",
        ),
        (lambda: Grid.from_dict(GRID | {1: 2, "b": 3}), ValueError, "got unknown 1, 'b'"),
        (lambda: Grid.from_dict({"spacing": 1.0}), ValueError, "Grid: .* got none named 'shape'"),
        # a length that nobody wrote down is not to be guessed
        (lambda: Grid.from_dict({"shape": [4, 5]}), ValueError, "got none named 'spacing'"),
        (
            lambda: ParallelBeam.from_dict({"type": "ParallelBeam"}),
            ValueError,
            "ParallelBeam: .* named 'n_angles', 'n_detectors', 'detector_spacing'$",
        ),
        (
            lambda: ConeBeam.from_dict({"angles": [0.0]}),
            ValueError,
            "named 'detector_shape', 'detector_spacing', 'source_to_isocenter', 'source_to_det",
        ),
        (lambda: Grid.from_dict(GRID | {"spacing": "1"}), TypeError, "spacing: .* got '1'"),
        (lambda: Grid.from_json("{"), ValueError, "Grid: expected JSON, got an error: Expecting"),
        (lambda: Grid.from_json("[]"), TypeError, "Grid: expected a dictionary, got list"),
        (
            lambda: Grid.from_json('{"shape": [NaN, 4], "spacing": 1}'),
            TypeError,
            r"shape\[0\]: .* got nan",
        ),
        (lambda: geometry_from_dict("Grid"), TypeError, "geometry: expected a dictionary, got str"),
        (
            lambda: geometry_from_dict(GRID),
            ValueError,
            "type: expected one of ConeBeam, FanBeam, Grid, ParallelBeam.*, got None",
        ),
        (lambda: geometry_from_dict({"type": "Spiral"}), ValueError, "got 'Spiral'"),
        (lambda: geometry_from_dict({"type": ["Grid"]}), ValueError, r"type: .* got \['Grid'\]"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"grid": GRID, "scan": SCAN | {"pixels": 3}}, "ParallelBeam: .* unknown 'pixels'"),
        ({"grid": GRID | {"size": 3}, "scan": SCAN}, "Grid: .* unknown 'size'"),
        ({"grid": GRID, "scan": {}}, "type: expected one of .*Grid.* got None"),
        ({"grid": GRID, "scan": SCAN | {"type": "Fan"}}, "type: expected one of .* got 'Fan'"),
        ({"grid": GRID, "scan": GRID | {"type": "Grid"}}, "scan: expected a scan, got Grid"),
        ({"grid": SCAN, "scan": SCAN}, "type: expected 'Grid', got 'ParallelBeam'"),
        ({"grid": [4, 5], "scan": SCAN}, "Grid: expected a dictionary, got list"),
        ({"grid": GRID, "scan": "fan"}, "geometry: expected a dictionary, got str"),
        ({"grid": {"spacing": 1.0}, "scan": SCAN}, "Grid: .* none named 'shape'"),
        ({"grid": GRID, "scan": SCAN | {"n_detectors": "9"}}, "n_detectors: .* got '9'"),
        ({"grid": GRID, "scan": SCAN | {"n_detectors": None}}, "n_detectors: .* got None"),
        ({"grid": GRID, "scan": SCAN | {"n_angles": True}}, "n_angles: .* got True"),
        ({"grid": GRID, "scan": SCAN | {"detector_spacing": math.nan}}, "detector_sp.* got nan"),
        ({"grid": GRID | {"spacing": math.inf}, "scan": SCAN}, "spacing: .* got inf"),
        ({"grid": GRID | {"center": [0, -math.inf]}, "scan": SCAN}, "center: .* got -inf at"),
        ({"grid": GRID | {"spacing": 10**400}, "scan": SCAN}, "spacing: expected a positive"),
        (
            {"grid": GRID, "scan": SCAN | {"angles": [0.0, "1", 2.0]}},
            r"angles: expected .* got \[0.0, '1', 2.0\]",
        ),
        ({"grid": GRID}, "expected exactly the keys grid and scan, got grid; save_geometry"),
        ({"grid": GRID, "scan": SCAN, "unit": "mm"}, "keys grid and scan, got grid, scan, unit"),
        ({}, "expected exactly the keys grid and scan, got none"),
        ([GRID, SCAN], "expected exactly the keys grid and scan, got list"),
    ],
)
def test_wrong_files(content, message, tmp_path):
    path = tmp_path / "scanner.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"scanner\.json: .*{message}"):
        load_geometry(path)


@pytest.mark.parametrize("content", [b"", b"grid: 3", b'{"grid": ', b"\x89PNG\xff\xfe", b"\0\1"])
def test_files_that_are_not_json(content, tmp_path):
    path = tmp_path / "scanner.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"scanner\.json: expected a JSON file, got an error: "):
        load_geometry(path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        load_geometry(tmp_path / "nowhere.json")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save_geometry(tmp_path / "nowhere" / "scanner.json", *PLANE["fan_even"])


def test_only_grid_and_scan_are_saved(tmp_path):
    grid, scan = PLANE["fan_even"]
    path = tmp_path / "scanner.json"
    with pytest.raises(TypeError, match="grid: expected a Grid, got FanBeam"):
        save_geometry(path, scan, grid)
    with pytest.raises(TypeError, match=r"scan: expected a scan such as ParallelBeam, .* got dict"):
        save_geometry(path, grid, scan.to_dict())
    assert not list(tmp_path.iterdir())


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "scanner.json"
    grid, scan = PLANE["fan_even"]
    save_geometry(path, grid, scan)

    def disk_full(descriptor):
        # whatever was written so far lies beside the file, under a hidden name
        assert [p for p in tmp_path.iterdir() if not p.name.startswith(".")] == [path]
        assert load_geometry(path) == (grid, scan)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_geometry(path, *PLANE["parallel_odd"])
    assert list(tmp_path.iterdir()) == [path]
    assert load_geometry(path) == (grid, scan)
