"""Sums of ellipses: the value that both an image and its exact sinogram are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomolearn._core.checks import check_int, real_array
from tomolearn._core.errors import TomolearnError, TomolearnTypeError


@dataclass(frozen=True, eq=False)
class Ellipses:
    """One phantom, or a ragged batch of phantoms, each a sum of constant ellipses.

    All lengths are relative to the image: the normalised square [-1, 1]^2 covers its extent. x
    grows with the row index, y with the column index. The boundary of an ellipse belongs to it.

    Parameters
    ----------
    value : array_like, shape (n,)
        What each ellipse adds inside itself.
    semi_axes, centre : array_like, shape (n, 2)
        Semi-axes, positive, the first along x where ``rotation`` is 0; centres (x, y).
    rotation : array_like, shape (n,)
        Angle in radians by which the ellipse is turned from x towards y.
    counts : array_like of int, shape (n_images,), optional
        For a batch: how many consecutive ellipses belong to each phantom. None: all are one
        phantom, and what is computed from it has no batch axis.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, a number is not real and finite, a semi-axis is not positive, or
        ``counts`` are no integers that add up to n.

    Notes
    -----
    The arrays are private read-only copies. Two `Ellipses` compare by identity.
    """

    value: NDArray[np.float64]
    semi_axes: NDArray[np.float64]
    centre: NDArray[np.float64]
    rotation: NDArray[np.float64]
    counts: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        value = real_array("value", self.value)
        if value.ndim != 1:
            raise TomolearnError(f"value: expected shape (n,), got {value.shape}")
        self._freeze("value", value)
        for name, shape in (
            ("semi_axes", (value.size, 2)),
            ("centre", (value.size, 2)),
            ("rotation", (value.size,)),
        ):
            array = real_array(name, getattr(self, name))
            if array.shape != shape:
                raise TomolearnError(f"{name}: expected shape {shape}, got {array.shape}")
            self._freeze(name, array)
        if not (self.semi_axes > 0).all():
            raise TomolearnError(
                f"semi_axes: expected positive numbers, got {self.semi_axes.min()}"
            )
        if self.counts is not None:
            self._freeze("counts", self._checked_counts(self.counts, value.size))

    def _freeze(self, name: str, array: NDArray) -> None:
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    @staticmethod
    def _checked_counts(counts: ArrayLike, n_ellipses: int) -> NDArray[np.int64]:
        raw = np.asarray(counts)
        if raw.dtype.kind not in "iu":
            raise TomolearnTypeError(f"counts: expected integers, got dtype {raw.dtype}")
        if raw.ndim != 1 or (raw < 0).any():
            raise TomolearnError(
                f"counts: expected non-negative numbers of shape (n_images,), got shape {raw.shape}"
                + (f" and minimum {raw.min()}" if raw.size else "")
            )
        if raw.sum() != n_ellipses:
            raise TomolearnError(
                f"counts: expected a sum of {n_ellipses} ellipses, got {raw.sum()}"
            )
        return np.array(raw, dtype=np.int64)

    @property
    def n_ellipses(self) -> int:
        """Number of ellipses in all phantoms together."""
        return self.value.size

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape in front of what is computed: () for one phantom, (n_images,) for a batch."""
        return () if self.counts is None else (self.counts.size,)

    @property
    def image_index(self) -> NDArray[np.int64]:
        """Index of the phantom that each ellipse belongs to, shape (n,)."""
        if self.counts is None:
            return np.zeros(self.n_ellipses, dtype=np.int64)
        return np.repeat(np.arange(self.counts.size), self.counts)

    def scaled(self, factor: float) -> Ellipses:
        """Return the ellipses made larger by a positive factor about the middle of the square."""
        if not 0 < factor < float("inf"):
            raise TomolearnError(f"factor: expected a positive number, got {factor!r}")
        return replace(self, semi_axes=self.semi_axes * factor, centre=self.centre * factor)

    def images(self, start: int, stop: int) -> Ellipses:
        """Return the phantoms ``start`` to ``stop`` (exclusive) of a batch, as a batch."""
        if self.counts is None:
            raise TomolearnError("counts: expected a batch of phantoms to take some from, got None")
        start, stop = check_int("start", start, minimum=0), check_int("stop", stop, minimum=0)
        if not start <= stop <= self.counts.size:
            raise TomolearnError(
                f"start, stop: expected 0 <= start <= stop <= {self.counts.size}, "
                f"got {start} and {stop}"
            )
        first = int(self.counts[:start].sum())
        part = slice(first, first + int(self.counts[start:stop].sum()))
        return Ellipses(
            self.value[part],
            self.semi_axes[part],
            self.centre[part],
            self.rotation[part],
            self.counts[start:stop],
        )
