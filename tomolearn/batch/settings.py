"""Settings of a batch: method, acquisition, seed and attenuation of water, with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tomolearn._core.checks import check_flag, check_float, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.catalogue import get_clinical_method
from tomolearn.catalogue.names import divided
from tomolearn.dicom import MU_WATER_PER_MM
from tomolearn.geometry import Scan
from tomolearn.methods import FBP, METHODS, Method, UncertainMethod
from tomolearn.simulation import Acquisition, CoveringScan, Direct, PhotonNoise, Refinement

if TYPE_CHECKING:
    from tomolearn.evaluation.estimation import SavedCalibration

SLICES_PER_CALL = 2
"""Slices that are computed together. Fewer are filled up with empty ones: sums are rounded in
another order in batches of another size, and a slice must not depend on its neighbours."""

# TV from zero takes some hundred iterations to get edges right. A chest with 10,000 photons, or 100
# views, is within 4 % of the error after 200; one with 1000 views and no noise is not (8.3 against
# 5.4 HU).
_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"tv": {"iterations": 100, "nonnegative": True, "start": "fbp"}}
)


def batch_method(name: str, **settings: Any) -> Method:
    """Return a method by its name, with the defaults that suit slices of CT.

    These are the method's own, but that TV starts from a smooth FBP, has no negative values and
    takes 100 iterations.

    Parameters
    ----------
    name, **settings
        As for `catalogue.get_clinical_method`.

    Raises
    ------
    TypeError, ValueError, OSError, ImportError
        As for `catalogue.get_clinical_method`.
    """
    return get_clinical_method(name, **{**_DEFAULTS.get(divided(name)[0], {}), **settings})


_FBP = FBP()
_CLINICAL = Acquisition(CoveringScan("fan", 1000), refinement=Refinement("constant", 2))


@dataclass(frozen=True)
class BatchSettings:
    """Settings of a batch: what is done to each slice.

    Parameters
    ----------
    method : Method
        See `batch_method`. Without a weight, TV has for each slice one that suits its noise.
    acquisition : Acquisition, optional
        How the slice is scanned again, with its middle on the rotation axis. Default: with 1000
        views of a clinical scanner and no noise, from twice as many pixels along each axis. None:
        not at all, the method works on the image as it is ("image domain"), in which TV has its
        weight in HU. A scan in space is one of the whole series as a volume.
    seed : int
        Seed of the noise. That of a slice depends on this and on the slice's SOPInstanceUID alone,
        that of a volume on those of all its slices.
    mu_water : float
        Linear attenuation of water in 1/mm, see `dicom.mu_water_at`.
    uncertainty : bool
        Whether half-widths in HU are written beside each slice, as Parametric Maps: the method has
        to tell its errors, and there has to be a scan.
    calibration : SavedCalibration, optional
        Factors of the half-widths, see `evaluation.calibrate_uncertainty`; one for the image.
        Default: they are standard deviations.
    resample : bool
        Whether volumes whose slices lie unevenly are interpolated linearly to even distances, and
        the result back. Otherwise such series are refused.

    Attributes
    ----------
    fingerprint : str
        SHA-256 of trained weights, or of the file that defines a method; empty for those of the
        package.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above, or the method lacks a setting, or cannot
        work on images.
    """

    method: Method = _FBP
    acquisition: Acquisition | None = _CLINICAL
    seed: int = 0
    mu_water: float = MU_WATER_PER_MM
    uncertainty: bool = False
    calibration: SavedCalibration | None = None
    resample: bool = False
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.method, Method):
            raise TomolearnTypeError(
                f"method: expected a Method, as batch_method returns it, got {self.method!r}"
            )
        if not isinstance(self.acquisition, Acquisition | None):
            raise TomolearnTypeError(
                f"acquisition: expected an Acquisition or None, got {self.acquisition!r}"
            )
        check_int("seed", self.seed, minimum=0)
        if self.acquisition is None:
            self.method.denoiser()
        else:
            self.method.informed(self.acquisition.noise)
        check_flag("resample", self.resample)
        if self.resample and not self.of_volumes:
            raise TomolearnError(
                "resample: expected False but for a scan in space, slices are scanned one by one"
            )
        if self.seed and (self.acquisition is None or self.acquisition.noise is None):
            raise TomolearnError(f"seed: expected 0 without noise, got {self.seed}")
        self._check_uncertainty()
        object.__setattr__(self, "mu_water", check_float("mu_water", self.mu_water, positive=True))
        object.__setattr__(self, "fingerprint", _fingerprint(self.method))

    def _check_uncertainty(self) -> None:
        check_flag("uncertainty", self.uncertainty)
        if not self.uncertainty:
            if self.calibration is not None:
                raise TomolearnError("calibration: expected with uncertainty only, got one")
            return
        if self.acquisition is None:
            raise TomolearnError("uncertainty: expected a scan, got images as they are")
        if self.of_volumes:
            raise TomolearnError("uncertainty: expected a scan of slices, got one of volumes")
        if not isinstance(self.method, UncertainMethod):
            raise TomolearnError(
                "uncertainty: expected a method that samples, such as ensemble, or weights of a "
                f"heteroscedastic network, got {self.method.name}"
            )
        if self.calibration is not None and self.calibration.factors.by != "image":
            raise TomolearnError(
                "calibration: expected one factor for the image, got factors by "
                f"{self.calibration.factors.by}"
            )

    @property
    def of_volumes(self) -> bool:
        """Whether a series is scanned as a whole, and not slice by slice."""
        return self.acquisition is not None and getattr(self.acquisition.scan, "ndim", 2) == 3

    @property
    def method_name(self) -> str:
        """The method's name; of weights, that of their file."""
        return self.method.name.rpartition("/")[2]

    @property
    def options(self) -> dict[str, Any]:
        """The method's settings that are not the defaults of `batch_method`."""
        defaults = _DEFAULTS.get(self.method.name, {})
        return {
            one.name: value
            for one in self.method.settings()
            if (value := getattr(self.method, one.name)) != defaults.get(one.name, one.default)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON, as version 0.1 did: its batches can be continued."""
        told: dict[str, Any] = {}
        if self.uncertainty:
            known = self.calibration
            factors = None if known is None else [known.floor, known.factors.to_dict()]
            told = {"uncertainty": {"calibration": factors}}
        return {
            # of weights the name would do for people, their content counts
            "method": self.method_name,
            "fingerprint": self.fingerprint,
            "options": self.options,
            "scan": None if self.acquisition is None else _scan(self.acquisition, self.seed),
            "mu_water": self.mu_water,
            **told,
            **({"resample": True} if self.resample else {}),
        }

    def digest(self) -> str:
        """Return 16 hexadecimal digits that differ between different settings."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        method = f"{self.method.name} ({options})" if options else self.method.name
        return f"{self.acquisition or 'image domain'}, {method}"


def _fingerprint(method: Method) -> str:
    digest: str | None = getattr(method, "sha256", None)
    if digest is None:
        # functions are called by where they stand
        spec = method.name if ":" in method.name else METHODS.spec_of(type(method))
        digest = METHODS.origin(spec).sha256
    return digest or ""


def _scan(acquisition: Acquisition, seed: int) -> dict[str, Any]:
    """Return an acquisition in few words, and in full if those do not say everything."""
    scan, noise, refinement = acquisition.scan, acquisition.noise, acquisition.refinement
    if isinstance(scan, Direct):
        raise TomolearnError("acquisition: expected one with a scan, got Direct")
    photons = getattr(noise, "photons", None)
    electronic_std = getattr(noise, "electronic_std", 0.0)
    factor = 1 if refinement is None else refinement.factor or 1
    values = {
        "geometry": scan.to_dict() if isinstance(scan, Scan) else scan.kind,
        "views": scan.shape[0] if isinstance(scan, Scan) else scan.views,
        "photons": photons,
        "electronic_std": electronic_std,
        "seed": seed,
        "refinement": factor,
    }
    said = Acquisition(
        scan,
        None if photons is None else PhotonNoise(photons, electronic_std=electronic_std),
        None if factor == 1 else Refinement("constant", factor),
    )
    return values if acquisition == said else {**values, "acquisition": acquisition.to_dict()}
