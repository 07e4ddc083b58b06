"""A kind of scan from outside: what it defines is enough for files, coverage and projection."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tomolearn import Grid, RayTransform, field_of_view, load_geometry, save_geometry
from tomolearn.geometry import Scan, Views, ViewVectors, coverage_gap
from tomolearn.methods import sirt


@dataclass(frozen=True)
class Tomosynthesis(Scan):
    """A source that moves along a line over a detector at rest, as in mammography."""

    positions: tuple[float, ...]
    height: float
    n_detectors: int
    center_bin: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", tuple(self.positions))

    n_angles = property(lambda self: len(self.positions))
    detector_shape = property(lambda self: (self.n_detectors,))
    is_parallel = False
    bin_sizes = (1.0,)

    def vectors(self) -> ViewVectors:
        still = np.ones((self.n_angles, 1))
        source = np.column_stack([self.positions, np.full(self.n_angles, self.height)])
        steps = (still * [1.0, 0.0],)
        return ViewVectors(source, still * [0.0, -20.0], steps)

    def subset(self, views):
        chosen = np.array(self.positions)[self._chosen(views)].tolist()
        return Tomosynthesis(chosen, self.height, self.n_detectors)

    def with_center(self, center):
        raise NotImplementedError

    def with_columns(self, count, scale, shift):
        raise NotImplementedError


GRID = Grid((12, 8))
SCAN = Tomosynthesis((-30.0, -10.0, 10.0, 30.0), 90.0, 41)


def test_files_know_it(tmp_path):
    save_geometry(tmp_path / "scan.json", GRID, SCAN)
    assert load_geometry(tmp_path / "scan.json") == (GRID, SCAN)


def test_it_is_projected_covered_and_reconstructed():
    A = RayTransform(GRID, SCAN)  # without a warning
    assert field_of_view(GRID, SCAN).all()
    assert coverage_gap(GRID, SCAN) == pytest.approx(coverage_gap(GRID, Views.of(SCAN)))
    image = torch.zeros(GRID.shape, dtype=torch.float64)
    image[8, 3] = 1.0
    sinogram = A(image)
    place = (axis[k] for axis, k in zip(GRID.coordinates(), (8, 3), strict=True))
    seen = [round(float(view.bins[0])) for view in SCAN.project_points(*place)]
    assert sinogram.argmax(dim=1).tolist() == seen
    torch.testing.assert_close(sinogram, RayTransform(GRID, Views.of(SCAN))(image))
    # few directions tell the row, and hardly how deep in it
    for found in (A.backproject(sinogram), sirt(sinogram, A, iterations=50)):
        assert found.argmax() // GRID.shape[1] == 8
