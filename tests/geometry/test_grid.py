"""The grid: what it holds, what it computes, what it refuses."""

import dataclasses
import pickle

import numpy as np
import pytest

from tomolearn.geometry import Grid

SHIFTED = Grid((4, 6, 5), (2.0, 0.5, 0.7), center=(1.0, -2.0, 3.0))


def test_fields_are_plain_numbers():
    grid = Grid(np.array([4, 6]), np.float32(0.5), center=np.array([1, -2]))
    assert grid == Grid((4, 6), (0.5, 0.5), center=(1.0, -2.0))
    assert hash(grid) == hash(Grid([4, 6], [0.5, 0.5], center=[1, -2]))
    fields = (*grid.shape, *grid.spacing, *grid.center)
    assert [type(value) for value in fields] == [int, int, float, float, float, float]


@pytest.mark.parametrize(
    "other",
    [
        Grid((6, 4), 0.5),
        Grid((4, 6), 0.6),
        Grid((4, 6), 0.5, center=(0.0, 0.1)),
        Grid((1, 4, 6), 0.5),
        (4, 6),
    ],
)
def test_other_values_differ(other):
    assert Grid((4, 6), 0.5) != other


def test_minus_zero_is_zero():
    grid = Grid((4, 6), center=(-0.0, 0.0))
    assert repr(grid) == repr(Grid((4, 6)))
    assert grid.to_json() == Grid((4, 6)).to_json()


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SHIFTED.spacing = (1.0, 1.0, 1.0)


def test_repr_builds_it_again():
    assert eval(repr(SHIFTED)) == SHIFTED


def test_survives_pickling():
    copy = pickle.loads(pickle.dumps(SHIFTED))
    assert copy == SHIFTED
    assert hash(copy) == hash(SHIFTED)


def test_extent_and_coordinates():
    assert SHIFTED.ndim == 3
    assert SHIFTED.size == (8.0, 3.0, 3.5)
    assert SHIFTED.lower == (-3.0, -3.5, 1.25)
    assert SHIFTED.upper == (5.0, -0.5, 4.75)
    for axis, (points, low, high) in enumerate(
        zip(SHIFTED.coordinates(), SHIFTED.lower, SHIFTED.upper, strict=True)
    ):
        assert points.dtype == np.float64
        half = SHIFTED.spacing[axis] / 2
        np.testing.assert_allclose(points[[0, -1]], [low + half, high - half])
        np.testing.assert_allclose(np.diff(points), SHIFTED.spacing[axis])


def test_radius_is_that_of_the_farthest_corner():
    # in the plane of rows and columns: slices do not count
    assert SHIFTED.radius == pytest.approx(np.hypot(3.5, 4.75))
    assert Grid((6, 8)).radius == 5.0


def test_refined_grid_covers_the_same_region():
    finer = SHIFTED.refined((8, 6, 15))
    assert finer.shape == (8, 6, 15)
    np.testing.assert_allclose(finer.lower, SHIFTED.lower)
    np.testing.assert_allclose(finer.upper, SHIFTED.upper)
    assert SHIFTED.refined(SHIFTED.shape) == SHIFTED


def test_refined_needs_as_many_axes():
    with pytest.raises(ValueError, match="center: expected 2 finite numbers"):
        SHIFTED.refined((8, 6))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shape": 4}, TypeError, r"shape: expected 2 or 3 integers >= 1, got 4 \(int\)"),
        ({"shape": "44"}, TypeError, "shape: expected 2 or 3 integers >= 1, got '44'"),
        ({"shape": b"44"}, TypeError, "shape: expected 2 or 3 integers >= 1, got b'44'"),
        ({"shape": {4, 5}}, TypeError, r"shape: expected 2 or 3 .*\(set\)"),
        ({"shape": np.array(4)}, ValueError, r"shape: expected 2 or 3 .* array\(4\)"),
        ({"shape": (4,)}, ValueError, r"shape: expected 2 or 3 .* got \(4,\)"),
        ({"shape": (4, 4, 4, 4)}, ValueError, "shape: expected 2 or 3"),
        ({"shape": (4, 0)}, ValueError, r"shape\[1\]: expected an integer >= 1, got 0"),
        ({"shape": (4.0, 4)}, TypeError, r"shape\[0\]: expected an integer >= 1, got 4.0"),
        ({"shape": (True, 4)}, TypeError, r"shape\[0\]: expected an integer .*\(bool\)"),
        ({"shape": (4, None)}, TypeError, r"shape\[1\]: expected an integer"),
        ({"spacing": 0}, ValueError, "spacing: expected a positive number, got 0"),
        ({"spacing": -1.0}, ValueError, "spacing: expected a positive number, got -1.0"),
        ({"spacing": float("nan")}, ValueError, "spacing: expected a positive number, got nan"),
        ({"spacing": float("inf")}, ValueError, "spacing: expected a positive number, got inf"),
        ({"spacing": 10**400}, ValueError, "spacing: expected a positive number, got 1000"),
        ({"spacing": "1"}, TypeError, r"spacing: expected a positive number, got '1' \(str\)"),
        ({"spacing": None}, TypeError, "spacing: expected a positive number, got None"),
        ({"spacing": 1j}, TypeError, "spacing: expected a positive number, got 1j"),
        ({"spacing": True}, TypeError, "spacing: expected a positive number, got True"),
        ({"spacing": (1.0, -2.0)}, ValueError, r"spacing\[1\]: expected a positive number"),
        ({"spacing": (1.0, 1.0, 1.0)}, ValueError, r"spacing: expected 2 finite .* \(3,\)"),
        ({"spacing": ()}, ValueError, "spacing: expected 2 finite numbers"),
        ({"spacing": [1.0, [2.0]]}, TypeError, "spacing: expected 2 finite numbers"),
        ({"spacing": ["1", "2"]}, TypeError, r"spacing: expected 2 finite .* \['1', '2'\]"),
        ({"center": 0.0}, TypeError, r"center: expected 2 finite numbers, got 0.0 \(float\)"),
        ({"center": (0.0,)}, ValueError, r"center: expected 2 finite numbers, got shape \(1,\)"),
        ({"center": (0.0, float("nan"))}, ValueError, "center: .* got nan at index 1"),
        ({"center": (None, 1.0)}, TypeError, "center: expected 2 finite numbers"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        Grid(**({"shape": (4, 5)} | arguments))
