"""A measured scan as its file tells it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tomolearn._core.checks import check_count, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry import Grid, Scan
from tomolearn.measurements.binning import binned_array, binned_grid, binned_scan
from tomolearn.measurements.preprocessing import Preprocessed, preprocess, without_preprocessing

_ARRAYS = ("counts", "flats", "darks", "line_integrals")


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measured scan: counts or line integrals, flat and dark fields, and the scanner.

    A sinogram of the plane is (angles, detectors). Of projections (angles, rows, columns) the scan
    is that of a cone beam, or that of the plane which every row of a parallel beam has.

    Parameters
    ----------
    counts : numpy.ndarray or None, shape (angles, detectors) or (angles, rows, columns)
        What the detector read behind the object.
    flats, darks : numpy.ndarray or None, shape (frames, detectors) or (frames, rows, columns)
        What it read without the object, and without the beam; one frame may lack its first axis.
    line_integrals : numpy.ndarray or None, shape as that of `counts`
        Of files that hold these in place of counts.
    scan : Scan or None
        The scanner, if the file and the user tell all of it.
    grid : Grid or None
        The grid that the file names for the image.
    notes : dict of str
        What else the file said, ready for JSON.
    missing : tuple of str
        What the file does not tell: ``"angles"``, ``"detector_spacing"``, ``"source_distance"``.
    flat_views : tuple of float or None
        The view, counted from 0, at which each flat field was taken; see `preprocess`.

    Raises
    ------
    TypeError, ValueError
        If an array is none, or its shape does not fit those of the others or the scan's.
    """

    counts: np.ndarray | None = None
    flats: np.ndarray | None = None
    darks: np.ndarray | None = None
    line_integrals: np.ndarray | None = None
    scan: Scan | None = None
    grid: Grid | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    flat_views: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            array = getattr(self, name)
            if array is not None and not isinstance(array, np.ndarray):
                raise TomolearnTypeError(
                    f"{name}: expected a numpy.ndarray, got {type(array).__name__}"
                )
        if (self.counts is None) == (self.line_integrals is None):
            which = "both" if self.counts is not None else "none"
            raise TomolearnError(f"counts, line_integrals: expected one of them, got {which}")
        shape = self.shape
        if len(shape) not in (2, 3):
            raise TomolearnError(
                "counts: expected shape (angles, detectors) or (angles, rows, columns), "
                f"got {shape}"
            )
        for name in ("flats", "darks"):
            frames = getattr(self, name)
            if frames is not None and frames.shape != shape[1:] and frames.shape[1:] != shape[1:]:
                raise TomolearnError(
                    f"{name}: expected shape (frames, {', '.join(map(str, shape[1:]))}) as of the "
                    f"projections, got {frames.shape}"
                )
        if self.scan is None:
            return
        stacked = len(shape) == 3 and self.scan.ndim == 2
        if (shape[0], *shape[1 + stacked :]) != self.scan.shape:
            raise TomolearnError(
                f"scan: expected one of shape {shape}, as the projections, got {self.scan.shape}"
            )

    @property
    def projections(self) -> np.ndarray:
        """The counts, or the line integrals of a file that has these."""
        found = self.counts if self.counts is not None else self.line_integrals
        if found is None:
            raise TomolearnError("counts: expected counts or line integrals, got none")
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the projections: (angles, detectors) or (angles, rows, columns)."""
        return self.projections.shape

    @property
    def n_rows(self) -> int | None:
        """Number of detector rows; None of a sinogram of the plane."""
        return self.shape[1] if len(self.shape) == 3 else None

    def subset(
        self,
        rows: int | slice | None = None,
        views: slice | Sequence[int] | np.ndarray | None = None,
    ) -> Measurement:
        """Return the measurement with some of its rows and views only.

        Parameters
        ----------
        rows : int or slice, optional
            Detector rows; a number takes the axis away and leaves a sinogram of the plane. Of a
            circular cone beam only the row in the source's plane is one, a fan beam.
        views : slice, sequence of int or array of bool, optional
            Which views.

        Raises
        ------
        TypeError, ValueError
            If there are no rows, not these, no such views, or a row of a cone beam is no scan of
            the plane.
        """
        part = self
        if views is not None:
            part = part._with_views(views)
        return part if rows is None else part._with_rows(rows)

    def _with_views(self, views: slice | Sequence[int] | np.ndarray) -> Measurement:
        try:
            kept = np.atleast_1d(np.arange(self.shape[0])[views])
        except IndexError as error:
            raise TomolearnError(
                f"views: expected an index into the {self.shape[0]} views, got {views!r}"
            ) from error
        if kept.size == 0:
            raise TomolearnError(f"views: expected at least one of {self.shape[0]}, got none")
        whole: dict[str, Any] = {
            name: array[kept]
            for name in ("counts", "line_integrals")
            if (array := getattr(self, name)) is not None
        }
        scan = None if self.scan is None else self.scan.subset(kept)
        positions = self.flat_views
        if positions is not None:  # in numbers of the views that are kept
            positions = tuple(np.interp(positions, kept, np.arange(kept.size)).tolist())
        return dataclasses.replace(self, scan=scan, flat_views=positions, **whole)

    def _with_rows(self, rows: int | slice) -> Measurement:
        count = self.n_rows
        if count is None:
            raise TomolearnError(
                f"rows: expected projections with rows, got a sinogram of shape {self.shape}"
            )
        scan = self.scan
        if isinstance(rows, slice):
            start, stop, step = rows.indices(count)
            if step != 1 or stop <= start:
                raise TomolearnError(
                    f"rows: expected a slice of rows side by side among {count}, got {rows!r}"
                )
            if scan is not None and scan.ndim == 3:
                shift = (start + stop - count) / 2
                scan = binned_scan(scan, axis=0, count=stop - start, factor=1, shift=shift)
        else:
            rows = check_int("rows", rows, minimum=0, maximum=count - 1)
            if scan is not None and scan.ndim == 3:
                scan = _fan_of_row(scan, rows)
        return self._mapped(lambda array: array[..., rows, :], scan=scan)

    def binned(self, n: int) -> Measurement:
        """Return the measurement with means over `n` neighbouring bins, on a grid as much coarser.

        A cone beam's rows are binned as its columns, those of a stack of slices are kept; bins
        that are left over at the end of an axis are dropped. A dead bin spoils its neighbours:
        where there are any, bin what `preprocess` returns.

        Parameters
        ----------
        n : int
            Number of bins that become one.

        Raises
        ------
        TypeError, ValueError
            If `n` is no positive integer or larger than the detector.
        """
        n = check_count("n", n)
        in_space = self.scan is not None and self.scan.ndim == 3
        factors = (n, n) if in_space else (n,)
        scan = self.scan
        if scan is not None:
            for axis, (count, factor) in enumerate(zip(scan.detector_shape, factors, strict=True)):
                left = count // factor
                shift = (left * factor - count) / 2
                scan = binned_scan(scan, axis=axis, count=left, factor=factor, shift=shift)
        grid = None if self.grid is None else binned_grid(self.grid, n)
        return self._mapped(lambda array: binned_array(array, factors), scan=scan, grid=grid)

    def line_integrals_and_weights(self, **settings: Any) -> Preprocessed:
        """Return line integrals and weights, of counts by `preprocess`.

        Line integrals of a file are returned as they are, with a weight of one each; those that
        are not finite become 0 with weight 0.

        Parameters
        ----------
        **settings
            Of `preprocess`; `flats`, `darks` and `flat_views` are by default those measured. Line
            integrals have none.

        Raises
        ------
        TypeError, ValueError
            As `preprocess`; or if line integrals have settings, or none is finite.

        Warns
        -----
        UnitWarning
            If what the file calls line integrals looks like counts.
        """
        if self.counts is not None:
            own = {name: getattr(self, name) for name in ("flats", "darks", "flat_views")}
            return preprocess(self.counts, **(own | settings))
        if settings:
            raise TomolearnError(
                f"{', '.join(settings)}: expected none for a file of line integrals, which need "
                "no preprocessing"
            )
        return without_preprocessing(self.projections)

    def _mapped(self, change: Callable[[np.ndarray], np.ndarray], **fields: Any) -> Measurement:
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        fields |= {name: change(array) for name, array in arrays.items() if array is not None}
        return dataclasses.replace(self, **fields)

    def __repr__(self) -> str:
        kind = "counts" if self.counts is not None else "line integrals"
        parts = [f"{kind} {self.shape}"]
        parts += [
            f"{name} {array.shape}"
            for name in ("flats", "darks")
            if (array := getattr(self, name)) is not None
        ]
        parts += [repr(self.scan)] if self.scan is not None else []
        parts += [f"missing {', '.join(self.missing)}"] if self.missing else []
        return f"Measurement({'; '.join(parts)})"


def _fan_of_row(scan: Scan, row: int) -> Scan:
    """Return the fan beam that a row of a cone beam is, within half a row of the source's plane."""
    level, fan = scan.level_row, scan.level_fan()
    if level is None or fan is None:
        raise TomolearnError(
            f"rows: expected a slice, for no row of a helix or a free trajectory is a scan of the "
            f"plane, got {row}"
        )
    # the source's plane may be the border of two rows
    if abs(row - level) > (1 + 1e-9) / 2:
        nearest = int(abs(np.arange(scan.detector_shape[0]) - level).argmin())
        raise TomolearnError(
            f"rows: expected row {nearest}, which is nearest to the source's plane, or a slice: "
            f"other rows of a cone beam are no scan of the plane, got {row}"
        )
    return fan
