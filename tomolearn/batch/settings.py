"""What is done to each series of a batch, as values that can be written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.dicom import MU_WATER_PER_MM
from tomolearn.geometry import FanBeam, Grid, ParallelBeam, Scan

__all__ = ["CLASSICAL", "SLICES_PER_CALL", "BatchSettings", "SimulatedScan"]

SLICES_PER_CALL = 2
"""Slices that are computed together. Fewer are filled up with empty ones: sums are rounded in
another order in batches of another size, and a slice must not depend on its neighbours."""

CLASSICAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"fbp": ("filter", "frequency_scaling"), "tv": ("weight", "iterations")}
)
"""Options of the classical methods; any other method is the name or path of trained weights."""

_NETWORK = ("image_scale",)
# Distances in mm of a common clinical scanner.
_SOURCE_TO_ISOCENTER = 595.0
_SOURCE_TO_DETECTOR = 1086.0
# Poisson counts are drawn as 64-bit integers, and up to this many exactly as floats.
_MOST_PHOTONS = 1e15


@dataclass(frozen=True)
class SimulatedScan:
    """A scan that is simulated of each slice.

    The slice lies with its middle on the rotation axis. Its attenuation is constant over each
    pixel and is projected from `refinement` times as many pixels along each axis as are
    reconstructed, so that the data are not made with the operator that reconstructs them.

    Parameters
    ----------
    geometry : {"fan", "parallel"} or Scan
        A fan beam with the distances of a clinical scanner or a parallel beam, either with bins of
        the pixels' size and a detector that sees the whole slice; or a scan, the same for every
        slice, whose views replace `views`.
    views : int
        Number of views over the full turn, for parallel beams over the half turn.
    photons : float, optional
        Mean number of photons per detector element without an object. Default: no noise.
    electronic_std : float
        Standard deviation of the electronic noise, in photons.
    seed : int
        Of the noise. That of a slice depends on this and on the slice's SOPInstanceUID alone.
    refinement : int
        See above.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above, or `electronic_std` is given without
        `photons`.
    """

    geometry: str | Scan = "fan"
    views: int = 1000
    photons: float | None = None
    electronic_std: float = 0.0
    seed: int = 0
    refinement: int = 2

    def __post_init__(self) -> None:
        if isinstance(self.geometry, Scan):
            if self.geometry.ndim != 2:
                raise TomolearnError(
                    "geometry: expected a scan of two dimensions, got "
                    f"{type(self.geometry).__name__}"
                )
        else:
            check_choice("geometry", self.geometry, ("fan", "parallel"))
        check_int("views", self.views, minimum=1)
        # 10_000 and 1e4 are the same setting, and so the same series
        if self.photons is not None:
            photons = check_float("photons", self.photons, positive=True)
            if photons > _MOST_PHOTONS:
                raise TomolearnError(
                    f"photons: expected at most {_MOST_PHOTONS:g}, got {photons:g}; leave them out "
                    "for a scan without noise"
                )
            object.__setattr__(self, "photons", photons)
        deviation = check_float("electronic_std", self.electronic_std, nonnegative=True)
        object.__setattr__(self, "electronic_std", deviation)
        if self.electronic_std and self.photons is None:
            raise TomolearnError(
                f"electronic_std: expected 0 without photons, got {self.electronic_std:g}"
            )
        if check_int("seed", self.seed, minimum=0) and self.photons is None:
            raise TomolearnError(f"seed: expected 0 without photons, got {self.seed}")
        check_int("refinement", self.refinement, minimum=1)

    def scan(self, grid: Grid) -> Scan:
        """Return the scan of slices on this grid."""
        if isinstance(self.geometry, Scan):
            return self.geometry
        if self.geometry == "parallel":
            return ParallelBeam.covering(grid, self.views)
        return FanBeam.covering(
            grid,
            self.views,
            source_to_isocenter=_SOURCE_TO_ISOCENTER,
            source_to_detector=_SOURCE_TO_DETECTOR,
        )

    @property
    def n_views(self) -> int:
        """Number of views, of the given scan if there is one."""
        return self.geometry.shape[0] if isinstance(self.geometry, Scan) else self.views

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        given = self.geometry.to_dict() if isinstance(self.geometry, Scan) else self.geometry
        return {
            "geometry": given,
            "views": self.n_views,
            "photons": self.photons,
            "electronic_std": self.electronic_std,
            "seed": self.seed,
            "refinement": self.refinement,
        }

    def __str__(self) -> str:
        given = isinstance(self.geometry, Scan)
        kind = type(self.geometry).__name__ if given else f"{self.geometry} beam"
        dose = "no noise" if self.photons is None else f"{self.photons:,g} photons"
        if self.electronic_std:
            dose += f", electronic noise {self.electronic_std:g}"
        return f"{kind}, {self.n_views} views, {dose}"


@dataclass(frozen=True)
class BatchSettings:
    """What is done to each slice.

    Parameters
    ----------
    method : str
        "fbp", "tv", or the name or path of trained weights.
    options : mapping
        Of the method. fbp: `filter`, `frequency_scaling` as for `tomolearn.fbp`. tv: `weight` and
        `iterations` as for `tomolearn.total_variation`, by default a weight that suits the noise
        (`classical.photon_tv_weight`) and 100; in the image domain the weight is in HU. Weights:
        `image_scale`, what attenuation in 1/mm is multiplied by to be like the images of the
        training, default 1.
    scan : SimulatedScan, optional
        What is scanned again. Default: nothing, the method works on the image as it is ("image
        domain"): "tv", or weights of a network that corrects images (`FBPUNet`).
    mu_water : float
        Linear attenuation of water in 1/mm, see `dicom.mu_water_at`.
    fingerprint : str
        SHA-256 of trained weights, by which two files of one name differ.

    Raises
    ------
    TypeError, ValueError
        If an option is none of the method, is needed and missing, or of a wrong kind.
    """

    method: str = "fbp"
    options: Mapping[str, Any] = field(default_factory=dict)
    scan: SimulatedScan | None = field(default_factory=SimulatedScan)
    mu_water: float = MU_WATER_PER_MM
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or not self.method:
            raise TomolearnTypeError(f"method: expected a name, got {self.method!r}")
        options = dict(self.options)
        object.__setattr__(self, "options", options)
        known = CLASSICAL.get(self.method, _NETWORK)
        for name in self.options:
            if name not in known:
                raise TomolearnError(
                    f"options: expected {' or '.join(known)} with {self.method}, got {name}"
                )
        object.__setattr__(self, "mu_water", check_float("mu_water", self.mu_water, positive=True))
        if "filter" in self.options:
            from tomolearn.methods.analytic.filters import FILTERS

            check_choice("filter", self.options["filter"], tuple(FILTERS))
        if "iterations" in self.options:
            check_int("iterations", self.options["iterations"], minimum=1)
        for name in ("weight", "image_scale", "frequency_scaling"):
            if name in self.options:
                value = options[name] = check_float(name, options[name], positive=True)
                if name == "frequency_scaling" and value > 1:
                    raise TomolearnError(
                        f"frequency_scaling: expected a number in (0, 1], got {value}"
                    )
        self._check_domain()

    def _check_domain(self) -> None:
        if self.scan is None and self.method == "fbp":
            raise TomolearnError("method: expected tv or weights in the image domain, got fbp")
        noiseless = self.scan is None or self.scan.photons is None
        if self.method == "tv" and noiseless and "weight" not in self.options:
            raise TomolearnError(
                "weight: expected a number for tv without photon noise, from which it could be "
                "taken; got none"
            )

    @property
    def is_network(self) -> bool:
        """Whether the method is trained weights."""
        return self.method not in CLASSICAL

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return {
            # of weights the name would do for people, their content counts
            "method": self.method.rpartition("/")[2],
            "fingerprint": self.fingerprint,
            "options": dict(self.options),
            "scan": None if self.scan is None else self.scan.to_dict(),
            "mu_water": self.mu_water,
        }

    def digest(self) -> str:
        """Return 16 hexadecimal digits that differ between different settings."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        method = f"{self.method} ({options})" if options else self.method
        return f"image domain, {method}" if self.scan is None else f"{self.scan}, {method}"
