"""What preprocessing found in counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


class MeasurementWarning(UserWarning):
    """Measured values that look damaged: many dead bins, air that is not as bright as the flats."""


@dataclass(frozen=True, kw_only=True)
class PreprocessReport:
    """What `preprocess` found and did.

    Attributes
    ----------
    photons_per_count : float or None
        Photons that one count stands for, given or found by photon transfer.
    photons : float or None
        Median number of photons in a bin without an object.
    variance : float or None
        Variance of a line integral whose weight is 1; None if the photons are not known.
    dead_bins : tuple of tuple of int
        Bins (column,) or (row, column) that have no weight in any view.
    masked : float
        Share of the values that have weight zero, those of dead bins included.
    floored : int
        Values, not masked, that were raised to the floor of the logarithm.
    air : float or None
        Median transmission in the columns called air, before the views were brought to 1 there.
    drift : float or None
        Largest less smallest intensity of a view in air, as a share of their mean.
    """

    photons_per_count: float | None
    photons: float | None
    variance: float | None
    dead_bins: tuple[tuple[int, ...], ...]
    masked: float
    floored: int
    air: float | None
    drift: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return all, ready for JSON."""
        return asdict(self) | {"dead_bins": [list(bin_) for bin_ in self.dead_bins]}

    def __str__(self) -> str:
        lines = [f"masked: {100 * self.masked:.2g} % of the values, {len(self.dead_bins)} bins"]
        if self.photons_per_count is not None:
            lines.append(
                f"photons: {self.photons:.4g} per bin, {self.photons_per_count:.4g} per count"
            )
        if self.air is not None:
            lines.append(f"air: {self.air:.4g} of the flats, drift {100 * (self.drift or 0):.2g} %")
        if self.floored:
            lines.append(f"floor: {self.floored} values")
        return "\n".join(lines)
