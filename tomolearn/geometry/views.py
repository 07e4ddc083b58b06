"""Views given one by one as vectors: any trajectory, any pose of a flat detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry.grid import check_counts
from tomolearn.geometry.scan import Scan, ViewVectors, check_scan

_Vectors = tuple[tuple[float, ...], ...]

# Vectors that span less than this part of a box of their lengths count as dependent.
_DEPENDENT = 1e-9


@dataclass(frozen=True, init=False, repr=False)
class Views(Scan):
    """A list of views, each given by vectors, in the plane or in space.

    Axes are ``(x, y)`` or ``(z, x, y)`` and lengths are in mm. Where a scanner was measured, its
    detector tilted or its path is no circle, this describes it; projectors take it as they take
    every other scan. Filtered back-projection does not: iterative and learned methods do.

    Parameters
    ----------
    detector_shape : sequence of int
        Number of bins, ``(detectors,)`` in the plane and ``(rows, columns)`` in space.
    detector : array_like, shape (n_angles, ndim)
        Middle of the detector in every view.
    steps : sequence of array_like, each of shape (n_angles, ndim)
        Vector from one bin to the next, for each detector axis.
    source : array_like, shape (n_angles, ndim), optional
        Position of the source in every view.
    direction : array_like, shape (n_angles, ndim), optional
        Direction of the parallel rays, in place of `source`. Its length does not matter.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above, not exactly one of `source` and `direction`
        is given, steps are linearly dependent, or rays run along the detector.

    Examples
    --------
    >>> scan = FanBeam(90, 128, 1.0, 500.0, 900.0)
    >>> Views.of(scan).with_detector_angles(slant=0.02)
    Views(90 views, source, detector_shape=(128,))
    """

    detector_shape: tuple[int, ...]
    detector: _Vectors
    steps: tuple[_Vectors, ...]
    source: _Vectors | None = None
    direction: _Vectors | None = None

    def __init__(
        self,
        detector_shape: Sequence[int],
        detector: Sequence[Sequence[float]] | np.ndarray,
        steps: Sequence[Sequence[Sequence[float]] | np.ndarray],
        *,
        source: Sequence[Sequence[float]] | np.ndarray | None = None,
        direction: Sequence[Sequence[float]] | np.ndarray | None = None,
    ) -> None:
        counts = check_counts("detector_shape", detector_shape, (1, 2))
        if (source is None) == (direction is None):
            raise TomolearnError(
                "source: expected either source or direction (of parallel rays), got "
                f"{'neither' if source is None else 'both'}"
            )
        ndim = len(counts) + 1
        middle = _vectors("detector", detector, None, ndim)
        if not isinstance(steps, (Sequence, np.ndarray)) or len(steps) != len(counts):
            raise TomolearnError(
                f"steps: expected {len(counts)} arrays, one per detector axis, each of shape "
                f"({len(middle)}, {ndim})"
            )
        n = len(middle)
        spans = [_vectors(f"steps[{k}]", step, n, ndim) for k, step in enumerate(steps)]
        name, start = ("direction", direction) if source is None else ("source", source)
        rays = _vectors(name, start, n, ndim)
        _check_independent("steps", "linearly independent steps that are not zero", spans)
        towards = rays if source is None else middle - rays
        _check_independent(name, "rays that do not run along the detector", [*spans, towards])
        self._set(
            detector_shape=counts,
            detector=_frozen(middle),
            steps=tuple(map(_frozen, spans)),
            source=None if source is None else _frozen(rays),
            direction=None if direction is None else _frozen(rays),
        )

    @classmethod
    def of(cls, scan: Scan) -> Self:
        """Return the views of another scan one by one.

        Raises
        ------
        TypeError, ValueError
            If `scan` is not a scan, or its detector is curved.
        """
        check_scan(scan)
        source, detector, steps = scan.vectors()
        start = {"direction" if scan.is_parallel else "source": source}
        return cls(scan.detector_shape, detector, steps, **start)

    @property
    def n_angles(self) -> int:
        """Number of views."""
        return len(self.detector)

    @property
    def is_parallel(self) -> bool:
        """Whether the rays of a view are parallel, so that there is no source."""
        return self.source is None

    @property
    def bin_sizes(self) -> tuple[float, ...]:
        """Distance in mm of neighbouring bins along each detector axis, the mean of the views."""
        steps = self.vectors().steps
        return tuple(float(np.linalg.norm(step, axis=1).mean()) for step in steps)

    def vectors(self) -> ViewVectors:
        """Return per view source (or ray direction), detector middle and bin steps, in mm."""
        return ViewVectors(
            np.array(self.direction if self.source is None else self.source),
            np.array(self.detector),
            tuple(map(np.array, self.steps)),
        )

    def _replaced(self, views: ViewVectors, shape: Sequence[int] | None = None) -> Self:
        start = {"direction" if self.is_parallel else "source": views.source}
        return type(self)(shape or self.detector_shape, views.detector, views.steps, **start)

    def subset(self, views: slice | Sequence[int] | np.ndarray) -> Self:
        """Return the scan with some of its views only; see `Scan.subset`."""
        chosen, (source, detector, steps) = self._chosen(views), self.vectors()
        parts = tuple(step[chosen] for step in steps)
        return self._replaced(ViewVectors(source[chosen], detector[chosen], parts))

    @property
    def center_bin(self) -> float:
        """Bin of the last detector axis onto which the origin is projected, mean of the views."""
        *_, across, depth = np.moveaxis(self.projection_matrices()[:, :, -1], 1, 0)
        return float((across / depth).mean())

    def with_center(self, center: float) -> Self:
        """Return the scan with its detector moved, alike in all views; see `Scan.with_center`."""
        shift = self.center_bin - check_float("center", center)
        return self.with_columns(self.detector_shape[-1], 1.0, shift)

    def with_columns(self, count: int, scale: float, shift: float) -> Self:
        """Return the scan with other bins along the last detector axis; see `Scan`."""
        source, detector, steps = self.vectors()
        moved = ViewVectors(source, detector + shift * steps[-1], (*steps[:-1], scale * steps[-1]))
        return self._replaced(moved, (*self.detector_shape[:-1], count))

    def with_rows(self, count: int, scale: float, shift: float) -> Self:
        """Return the scan with other rows of its detector; see `Scan.with_rows`."""
        if self.ndim == 2:
            return super().with_rows(count, scale, shift)
        source, detector, (rows, columns) = self.vectors()
        moved = ViewVectors(source, detector + shift * rows, (scale * rows, columns))
        return self._replaced(moved, (count, self.detector_shape[1]))

    def with_detector_angles(
        self,
        *,
        slant: float | np.ndarray = 0.0,
        tilt: float | np.ndarray = 0.0,
        rotation: float | np.ndarray = 0.0,
    ) -> Self:
        """Return the scan with its detector turned about its middle.

        First by `rotation`, then by `tilt`, last by `slant`, each about the vector of the detector
        as it is by then.

        Parameters
        ----------
        slant : float or numpy.ndarray, shape (n_angles,)
            Angle in radians about the step from row to row; in the plane about the z axis.
        tilt, rotation : float or numpy.ndarray, shape (n_angles,)
            Angles in radians about the step from column to column, and about the normal of the
            detector. In the plane there are none.

        Raises
        ------
        ValueError
            If `tilt` or `rotation` is given in the plane, or rays then run along the detector.
        """
        source, detector, steps = self.vectors()
        if self.ndim == 2:
            if np.any(tilt) or np.any(rotation):
                raise TomolearnError("tilt: expected no tilt and no rotation in the plane")
            steps = (np.zeros_like(steps[0]), *steps)
            rows, columns = (np.pad(step, ((0, 0), (1, 0))) for step in steps)
            rows[:, 0] = 1.0
        else:
            rows, columns = steps
        normal = np.cross(rows, columns)
        rows, columns = (_turned(step, normal, rotation) for step in (rows, columns))
        rows = _turned(rows, columns, tilt)
        columns = _turned(columns, rows, slant)
        turned = (columns[:, 1:],) if self.ndim == 2 else (rows, columns)
        return self._replaced(ViewVectors(source, detector, turned))

    def __repr__(self) -> str:
        start = "direction" if self.is_parallel else "source"
        return f"Views({self.n_angles} views, {start}, detector_shape={self.detector_shape})"


def _vectors(name: str, values: Any, count: int | None, ndim: int) -> np.ndarray:
    """Return vectors as a float64 array (count, ndim) of finite numbers."""
    expected = f"{name}: expected finite numbers of shape ({count or 'views'}, {ndim})"
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TomolearnTypeError(f"{expected}, got {type(values).__name__}") from error
    if array.ndim != 2 or array.shape[1] != ndim or len(array) != (count or len(array) or 1):
        raise TomolearnError(f"{expected}, got shape {array.shape}")
    if not np.isfinite(array).all():
        view = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise TomolearnError(f"{expected}, got {array[view].tolist()} in view {view}")
    return array + 0.0  # -0.0 compares equal to 0.0 but is written differently


def _frozen(vectors: np.ndarray) -> _Vectors:
    return tuple(map(tuple, vectors.tolist()))


def _check_independent(name: str, expected: str, vectors: Sequence[np.ndarray]) -> None:
    """Check that the vectors of every view span a line, an area or a volume."""
    stacked = np.stack(vectors, axis=1)
    lengths = np.linalg.norm(stacked, axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        smallest = np.linalg.svd(np.nan_to_num(stacked / lengths[..., None]), compute_uv=False).min(
            axis=1
        )
    dependent = smallest <= _DEPENDENT
    if dependent.any():
        raise TomolearnError(f"{name}: expected {expected}, got view {int(np.argmax(dependent))}")


def _turned(vectors: np.ndarray, axes: np.ndarray, angle: float | np.ndarray) -> np.ndarray:
    """Turn vectors about axes by an angle, by Rodrigues' formula."""
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    angle = np.broadcast_to(angle, len(vectors))[:, None]
    along = axes * (axes * vectors).sum(axis=1, keepdims=True)
    across = np.cross(axes, vectors)
    return along + (vectors - along) * np.cos(angle) + across * np.sin(angle)
