"""Small operators and geometries that many tests share."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam, Scan, Views
from tomolearn.operators import LinearOperator

EVEN = Grid((12, 12))
ODD = Grid((9, 9), 1.3)
WIDE = Grid((6, 11), 0.7)
TALL = Grid((11, 6), 0.7)
SHIFTED = Grid((8, 9), 0.8, center=(2.5, -3.1))
ANISOTROPIC = Grid((8, 10), (1.0, 0.6))
TOWER = Grid((19, 3, 4), (1.0, 1.2, 0.9), center=(2.0, 0.5, -0.3))
FAN = {"source_to_isocenter": 40.0, "source_to_detector": 70.0}


def _fan(grid: Grid, n_angles: int | None = 6, **options: Any) -> FanBeam:
    return FanBeam.covering(grid, n_angles, **FAN, **options)


def _wobbling(scan: Scan, **angles: float) -> Views:
    """Views of a scan with the detector shaken and turned, differently in every view."""
    views = Views.of(scan)
    wobble = np.random.default_rng(0).uniform(-1, 1, (scan.n_angles, scan.ndim))
    source, detector, steps = views.vectors()
    start = {"direction": source} if scan.is_parallel else {"source": source + wobble}
    moved = Views(scan.detector_shape, detector + 0.7 * wobble[::-1], steps, **start)
    turns = {name: angle * (1 + wobble[:, 0]) for name, angle in angles.items()}
    return moved.with_detector_angles(**turns)


# Names say what is special about them. The angles avoid directions in which a ray lies on the
# border of two pixels or exactly at 45 degrees, where rounding decides; "aligned" ones do not.
PLANE: dict[str, tuple[Grid, Scan]] = {
    "parallel_even": (EVEN, ParallelBeam.covering(EVEN, 7)),
    "parallel_odd": (ODD, ParallelBeam.covering(ODD, 5)),
    "parallel_wide": (WIDE, ParallelBeam.covering(WIDE, 7)),
    "parallel_tall": (TALL, ParallelBeam.covering(TALL, 7)),
    "parallel_shifted_grid": (SHIFTED, ParallelBeam.covering(SHIFTED, 5)),
    "parallel_shifted_detector": (EVEN, ParallelBeam(5, 21, 0.9, detector_offset=1.3)),
    "parallel_anisotropic": (ANISOTROPIC, ParallelBeam.covering(ANISOTROPIC, 7)),
    "parallel_unsorted_angles": (ODD, ParallelBeam(None, 14, 1.1, angles=[2.0, -0.3, 8.0, 0.9])),
    "parallel_increasing_angles": (ODD, ParallelBeam(None, 14, 1.1, angles=[-0.3, 0.2, 0.9, 2.7])),
    "parallel_limited": (WIDE, ParallelBeam(4, 13, 0.8, angular_range=1.1, start_angle=-0.4)),
    "parallel_full_turn": (EVEN, ParallelBeam(10, 17, 1.0, angular_range=2 * math.pi)),
    "parallel_aligned": (EVEN, ParallelBeam(8, 17, 1.0, start_angle=-math.pi / 16)),
    "parallel_single_view": (EVEN, ParallelBeam(1, 17, 1.0, start_angle=0.3)),
    "parallel_single_bin": (ODD, ParallelBeam(7, 1, 1.0, detector_offset=0.2)),
    "parallel_coarse_bins": (EVEN, ParallelBeam(5, 6, 2.9)),
    "parallel_fine_bins": (EVEN, ParallelBeam(5, 40, 0.37)),
    "parallel_one_row": (Grid((1, 9)), ParallelBeam(5, 11, 1.0)),
    "parallel_one_pixel": (Grid((1, 1), 2.0), ParallelBeam(5, 3, 1.0)),
    "fan_even": (EVEN, _fan(EVEN, 7)),
    "fan_odd": (ODD, _fan(ODD, 5)),
    "fan_wide": (WIDE, _fan(WIDE)),
    "fan_short": (EVEN, _fan(EVEN, 6, angular_range=math.pi + 0.45)),
    "fan_shifted_grid": (SHIFTED, _fan(SHIFTED)),
    "fan_shifted_detector": (EVEN, FanBeam(6, 24, 1.4, 40.0, 70.0, detector_offset=2.3)),
    "fan_anisotropic": (ANISOTROPIC, _fan(ANISOTROPIC)),
    "fan_unsorted_angles": (ODD, _fan(ODD, None, angles=[3.0, -0.3, 8.0, 0.9])),
    "fan_single_view": (EVEN, _fan(EVEN, 1, start_angle=0.2)),
    "fan_single_bin": (ODD, FanBeam(7, 1, 1.0, 40.0, 70.0, detector_offset=0.3)),
    "fan_near_source": (EVEN, FanBeam(5, 30, 0.9, 10.0, 18.0)),
    "fan_curved": (EVEN, _fan(EVEN, 6, detector="curved")),
    "fan_curved_shifted": (
        SHIFTED,
        FanBeam(5, 24, 1.4, 40.0, 70.0, detector="curved", detector_offset=-1.7),
    ),
    "views_parallel": (WIDE, _wobbling(ParallelBeam.covering(WIDE, 7), slant=0.1)),
    "views_fan": (EVEN, _wobbling(_fan(EVEN, 7), slant=0.2)),
    "views_fan_anisotropic": (ANISOTROPIC, _wobbling(_fan(ANISOTROPIC), slant=-0.1)),
}

SPACE: dict[str, tuple[Grid, Scan]] = {
    "cone_circle": (Grid((5, 6, 7)), ConeBeam(6, (8, 12), 1.5, 40.0, 70.0)),
    "cone_anisotropic": (
        Grid((4, 6, 5), (1.0, 0.7, 1.1), center=(0.5, 1.0, -2.0)),
        ConeBeam(5, (7, 9), (1.6, 1.2), 40.0, 70.0, detector_offset=(0.3, -0.4)),
    ),
    "cone_helix": (
        Grid((5, 6, 7)),
        ConeBeam(9, (6, 9), 1.5, 40.0, 70.0, pitch=7.0, start_z=-3.0, angular_range=4 * math.pi),
    ),
    "cone_curved": (
        Grid((4, 6, 5), (1.0, 0.7, 1.1), center=(0.5, 1.0, -2.0)),
        ConeBeam(5, (7, 9), (1.6, 1.2), 40.0, 70.0, detector_offset=(0.3, -0.4), detector="curved"),
    ),
    "cone_curved_helix": (
        Grid((5, 6, 7)),
        ConeBeam(
            9,
            (6, 9),
            1.5,
            40.0,
            70.0,
            pitch=7.0,
            start_z=-3.0,
            angular_range=4 * math.pi,
            detector="curved",
        ),
    ),
    # many slices and rows; a row is seen over 0.3, 0.9, 1.5 and 2.9 slices
    "cone_fine_rows": (TOWER, ConeBeam(2, (43, 4), (0.5, 1.6), 40.0, 70.0, start_angle=0.3)),
    "cone_many_rows": (TOWER, ConeBeam(2, (21, 4), (1.6, 1.6), 40.0, 70.0, start_angle=0.3)),
    "cone_wide_rows": (TOWER, ConeBeam(2, (13, 4), (2.6, 1.6), 40.0, 70.0, start_angle=0.3)),
    "cone_coarse_rows": (TOWER, ConeBeam(2, (7, 4), (5.0, 1.6), 40.0, 70.0, start_angle=0.3)),
    # rays from slice to slice
    "cone_steep": (Grid((12, 4, 4), (0.4, 1.0, 1.0)), ConeBeam(3, (15, 7), (1.0, 1.2), 5.0, 8.0)),
    "views_downwards": (
        TOWER,
        Views(
            (17, 3),
            [[2.0, 0.2, 0.1], [3.0, 0.0, 0.3]],
            ([[-1.3, 0.0, 0.0], [1.2, 0.0, 0.0]], [[0.2, 1.1, 0.2], [0.0, -0.3, 1.2]]),
            direction=[[0.2, -0.1, 1.0], [-0.3, 2.0, 0.3]],
        ),
    ),
    "views_cone": (
        Grid((4, 6, 5), (1.0, 0.7, 1.1), center=(0.5, 1.0, -2.0)),
        _wobbling(ConeBeam(5, (7, 9), (1.6, 1.2), 40.0, 70.0), slant=0.1, tilt=-0.2, rotation=0.3),
    ),
    # rays in all directions: along every axis, and not along any
    "views_parallel_space": (
        Grid((5, 6, 4), (1.0, 0.8, 1.2)),
        Views(
            (7, 8),
            np.zeros((4, 3)),
            (
                np.array([[0.0, 0.0, 1.1], [1.1, 0.0, 0.1], [0.2, 1.0, 0.0], [0.7, 0.7, 0.0]]),
                np.array([[0.1, 1.2, 0.0], [0.0, 1.1, 0.0], [0.2, 0.0, 1.1], [0.5, -0.6, 0.8]]),
            ),
            direction=[[1.0, 0.1, -0.2], [0.1, 0.0, 3.0], [0.2, -0.1, 1.0], [-0.7, 1.0, 0.8]],
        ),
    ),
}


class DenseOperator(LinearOperator):
    """Multiplication of flattened tensors with a matrix, in the precision of the input."""

    def __init__(
        self,
        matrix: np.ndarray,
        domain_shape: tuple[int, ...] | None = None,
        range_shape: tuple[int, ...] | None = None,
    ) -> None:
        rows, columns = matrix.shape
        super().__init__(domain_shape or (columns,), range_shape or (rows,))
        self.matrix = torch.from_numpy(matrix).double()

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) @ self.matrix.T.to(x)).unflatten(1, self.range_shape)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return (y.flatten(1) @ self.matrix.to(y)).unflatten(1, self.domain_shape)


def dense_operator(seed: int = 0) -> DenseOperator:
    """Return a random operator (3, 2) -> (4,)."""
    return DenseOperator(np.random.default_rng(seed).standard_normal((4, 6)), (3, 2), (4,))


def matrix_of(
    function: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    batch: int | None = None,
) -> torch.Tensor:
    """Return the matrix of a linear function of tensors (batch, *shape), in float64.

    It is called for `batch` columns of it at a time, or for all at once.
    """
    size = math.prod(shape)
    units = torch.eye(size, dtype=dtype).reshape(size, *shape)
    values = torch.cat([function(some) for some in units.split(batch or size)])
    return values.reshape(size, -1).T.double()
