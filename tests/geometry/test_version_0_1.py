"""Geometry files of version 0.1: the scans that they mean are those of that version."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tomolearn import RayTransform, load_geometry

FOLDER = Path(__file__).resolve().parents[1] / "data_of_0_1" / "geometry"


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    """What version 0.1 made of each file."""
    with np.load(FOLDER / "expected.npz") as found:
        return dict(found)


def test_every_file_has_what_it_is_compared_with(expected: dict[str, np.ndarray]) -> None:
    assert sorted(expected) == sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", ["fan", "fan-curved", "parallel", "parallel-listed"])
def test_scans_of_the_plane_project_as_they_did(name: str, expected: dict[str, np.ndarray]) -> None:
    grid, scan = load_geometry(FOLDER / f"{name}.json")
    image = torch.arange(np.prod(grid.shape), dtype=torch.float32).reshape(grid.shape)
    found = RayTransform(grid, scan)(image / image.max()).numpy()
    assert found.shape == scan.shape
    # sums of some twenty values in float32
    np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-5)


def test_a_scan_of_space_stands_where_it_stood(expected: dict[str, np.ndarray]) -> None:
    _, scan = load_geometry(FOLDER / "cone-helix.json")
    views = scan.vectors()
    found = np.concatenate([np.reshape(part, (scan.n_angles, -1)) for part in views], axis=1)
    np.testing.assert_allclose(found, expected["cone-helix"], rtol=1e-12, atol=1e-12)
