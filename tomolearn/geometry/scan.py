"""What every scan answers: where its rays run, what it sees of a point, how it is inverted."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry._values import GeometryValue


class ViewVectors(NamedTuple):
    """Per view, where the rays come from and where the detector is, in mm.

    Attributes
    ----------
    source : numpy.ndarray, shape (n_angles, ndim)
        Source position; for a parallel beam the direction of the rays.
    detector : numpy.ndarray, shape (n_angles, ndim)
        Middle of the detector, its offset included.
    steps : tuple of numpy.ndarray, each of shape (n_angles, ndim)
        Vector from one bin to the next along each detector axis.
    """

    source: np.ndarray
    detector: np.ndarray
    steps: tuple[np.ndarray, ...]


class BinColumns(NamedTuple):
    """Per view, where the columns of a detector with rows begin, flat or curved, in mm.

    Attributes
    ----------
    start : numpy.ndarray, shape (n_angles, 3)
        Source position; for a parallel beam the direction of the rays.
    first_row : numpy.ndarray, shape (n_angles, columns, 3)
        The bins of the first row.
    step : numpy.ndarray, shape (n_angles, 3)
        Vector from one row to the next.
    """

    start: np.ndarray
    first_row: np.ndarray
    step: np.ndarray


class ProjectedPoints(NamedTuple):
    """Where points are seen in one view.

    Along each detector axis the bin, not whole, infinite beside and behind the source. The
    magnification, the distance of two neighbouring points on the detector over their own, is not
    more than 0 there.
    """

    bins: tuple[np.ndarray, ...]
    magnification: np.ndarray


class AnalyticInversion(NamedTuple):
    """What filtered back-projection has to know about a scan.

    The product of `weights`, which broadcast to its shape, are the factors of the measured values:
    the angle that a view stands for, a ray's share among the measurements of its line, and its
    obliquity. Each has as many axes as the scan; in space the product is as large as a sinogram.
    `filter_step` is the distance of the detector's columns in mm at the rotation axis; in radians
    if the detector is curved. `missing_bins` are the columns to add before the first (positive) or
    behind the last (negative), so that the detector is as long on both sides.
    """

    weights: tuple[np.ndarray, ...]
    filter_step: float
    missing_bins: int


class Scan(GeometryValue, abc.ABC):
    """Base of the scans.

    A new kind of scan derives a frozen dataclass from it (or, if it turns about an axis, from
    `RotationScan`), has fields of its own and defines what is abstract here; its module is then
    imported in ``tomolearn/geometry/__init__.py``.
    """

    if TYPE_CHECKING:  # properties of some scans, fields of others

        @property
        def n_angles(self) -> int:
            """Number of views."""

        @property
        def detector_shape(self) -> tuple[int, ...]:
            """Number of bins along each detector axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sinogram: (angles, detectors) or (angles, rows, columns)."""
        return (self.n_angles, *self.detector_shape)

    @property
    def ndim(self) -> int:
        """Dimension of the images that are scanned, 2 or 3."""
        return len(self.shape)

    @property
    @abc.abstractmethod
    def is_parallel(self) -> bool:
        """Whether the rays of a view are parallel, so that there is no source."""

    @property
    def arc_radius(self) -> float | None:
        """Radius in mm of a detector that is an arc about the source; None if it is flat."""
        return None

    @property
    def is_curved(self) -> bool:
        """Whether the detector is an arc about the source, with bins of equal angles."""
        return self.arc_radius is not None

    @property
    def is_circular(self) -> bool:
        """Whether source and detector turn about the axis and do not move along it."""
        return False

    @property
    def level_row(self) -> float | None:
        """Row, not whole, at the height of the source, in all views; None if there is none."""
        return None

    @property
    @abc.abstractmethod
    def bin_sizes(self) -> tuple[float, ...]:
        """Distance in mm of neighbouring bins along each detector axis."""

    @abc.abstractmethod
    def vectors(self) -> ViewVectors:
        """Return per view source (or ray direction), detector middle and bin steps, in mm.

        Raises
        ------
        ValueError
            If the detector is curved: its bins do not lie on a line.
        """

    def sources(self) -> np.ndarray | None:
        """Return the source's position in mm in every view, None if rays are parallel."""
        return None if self.is_parallel else self.vectors().source

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a point and the direction of every ray, arrays (*shape, ndim) in mm."""
        source, detector, steps = self.vectors()
        spread = (slice(None), *(None,) * (self.ndim - 1))
        bins = np.broadcast_to(detector[spread], (*self.shape, self.ndim))
        for axis, (step, n) in enumerate(zip(steps, self.detector_shape, strict=True)):
            index = np.arange(n) - (n - 1) / 2
            bins = bins + step[spread] * index.reshape(-1, *(1,) * (self.ndim - 1 - axis))
        if self.is_parallel:
            return bins, np.broadcast_to(source[spread], bins.shape)
        return np.broadcast_to(source[spread], bins.shape), bins - source[spread]

    def bin_columns(self) -> BinColumns:
        """Return where the columns of a detector with rows are, which may be curved."""
        start, detector, (row_step, column_step) = self.vectors()
        rows, columns = self.detector_shape
        corner = detector - row_step * ((rows - 1) / 2)
        along = (np.arange(columns) - (columns - 1) / 2)[:, None] * column_step[:, None]
        return BinColumns(start, corner[:, None] + along, row_step)

    def projection_matrices(self) -> np.ndarray:
        """Return the matrix per view that projects points onto a flat detector.

        A matrix times ``(x, y, 1)`` (in space ``(z, x, y, 1)``), in mm, is ``(bins * w, w)``,
        with one bin per detector axis. ``1 / w`` is the magnification, positive for what is in
        front of the source; in a parallel beam ``w`` is 1. A curved detector is taken to be the
        flat one of the same bins that touches it on the central ray.

        Returns
        -------
        numpy.ndarray, shape (n_angles, ndim, ndim + 1)
        """
        source, detector, steps = self.vectors()
        start, ray = (detector, source) if self.is_parallel else (source, detector - source)
        inverse = np.linalg.inv(np.stack([*steps, ray], axis=-1))
        matrices = np.concatenate([inverse, -inverse @ start[..., None]], axis=-1)
        if self.is_parallel:
            matrices[:, -1, :-1], matrices[:, -1, -1] = 0.0, 1.0
        middle = (np.array(self.detector_shape) - 1) / 2
        matrices[:, :-1] += middle[:, None] * matrices[:, -1:]
        return matrices

    def project_points(self, *points: np.ndarray) -> Iterator[ProjectedPoints]:
        """Yield view by view where points are seen.

        Parameters
        ----------
        *points : numpy.ndarray
            Coordinates in mm, ``x, y`` or ``z, x, y``, that broadcast with one another.
        """
        for matrix in self.projection_matrices():
            # without the terms that are zero what does not depend on z stays an array of a plane
            *across, depth = (
                sum(
                    (c * p for c, p in zip(row, points, strict=False) if c != 0),
                    start=np.asarray(row[-1]),
                )
                for row in matrix
            )
            with np.errstate(divide="ignore", invalid="ignore"):
                magnification = 1 / depth
                bins = tuple(a * magnification for a in across)
            if np.any(depth <= 0):
                bins = tuple(np.where(depth > 0, b, np.inf) for b in bins)
            yield ProjectedPoints(bins, magnification)

    @abc.abstractmethod
    def subset(self, views: slice | Sequence[int] | np.ndarray) -> Self:
        """Return the scan with some of its views only.

        Parameters
        ----------
        views : slice, sequence of int or array of bool
            Which views, as an index into ``range(n_angles)``.

        Raises
        ------
        ValueError
            If `views` chooses none, or one that there is not.
        """

    def _chosen(self, views: slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the numbers of the views that `subset` keeps."""
        try:
            chosen: np.ndarray = np.atleast_1d(np.arange(self.n_angles)[views])
        except IndexError as error:
            raise TomolearnError(
                f"views: expected an index into the {self.n_angles} views, got {views!r}"
            ) from error
        if chosen.size == 0:
            raise TomolearnError(f"views: expected at least one of {self.n_angles}, got none")
        return chosen

    @property
    @abc.abstractmethod
    def center_bin(self) -> float:
        """Bin, not whole, of the last detector axis onto which the rotation axis is projected."""

    @abc.abstractmethod
    def with_center(self, center: float) -> Self:
        """Return the scan with its detector moved so that `center` is the `center_bin`.

        Parameters
        ----------
        center : float
            A bin, not necessarily whole: 0 is the middle of the first one, and the middle of
            ``n`` bins is ``(n - 1) / 2``.
        """

    @abc.abstractmethod
    def with_columns(self, count: int, scale: float, shift: float) -> Self:
        """Return the scan with other bins along the last axis of its detector.

        Parameters
        ----------
        count : int
            Number of the new bins.
        scale : float
            Their size as a part of that of the old ones.
        shift : float
            How many old bins the middle of the detector is moved.
        """

    def with_rows(self, count: int, scale: float, shift: float) -> Self:
        """Return the scan with other rows of its detector.

        Parameters
        ----------
        count : int
            Number of the new rows.
        scale : float
            Their size as a part of that of the old ones.
        shift : float
            How many old rows the middle of the detector is moved.

        Raises
        ------
        ValueError
            If the scan has no rows, or this kind of scan cannot change them.
        """
        raise TomolearnError(
            f"scan: expected a ConeBeam or Views to choose or bin rows of, got "
            f"{type(self).__name__}"
        )

    def level_fan(self) -> Scan | None:
        """Return the scan of the plane that the row at `level_row` is; None if it is none."""
        return None

    def refined(self, missing: int, factor: int) -> Self:
        """Return the scan with more bins along the detector's last axis.

        First ``abs(missing)`` bins are added, on the lower side if positive, else on the upper
        one. Then there are `factor` bins for each, the old ones being among them, and half a
        bin's width of new ones beyond both ends: ``factor * (n - 1) + 1 + 2 * (factor // 2)`` for
        ``n``.
        """
        bins = self.shape[-1] + abs(missing)
        return self.with_columns(
            factor * (bins - 1) + 1 + 2 * (factor // 2), 1 / factor, -missing / 2
        )

    def analytic_inversion(self) -> AnalyticInversion:
        """Return what filtered back-projection needs.

        Raises
        ------
        ValueError
            If filtered back-projection cannot reconstruct this scan; the message says why.
        """
        raise TomolearnError(
            f"scan: expected a parallel, fan or circular cone beam for filtered back-projection, "
            f"got {type(self).__name__}; iterative methods (sirt, cgls, total_variation) "
            "reconstruct from any views"
        )

    def to_odl(self) -> Any:
        """Return the scan as an ODL tomography geometry.

        Raises
        ------
        ValueError
            If ODL has none for it.
        """
        raise TomolearnError(f"scan: ODL has no geometry for {type(self).__name__}")


def check_scan(scan: Any) -> None:
    """Check that `scan` is a `Scan`."""
    if not isinstance(scan, Scan):
        raise TomolearnTypeError(
            f"scan: expected a scan such as ParallelBeam, FanBeam or ConeBeam, "
            f"got {type(scan).__name__}"
        )
