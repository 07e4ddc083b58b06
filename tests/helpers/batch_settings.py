"""Settings of batches in few words."""

from tomolearn.batch import BatchSettings, batch_method
from tomolearn.geometry import Scan
from tomolearn.simulation import Acquisition, CoveringScan, PhotonNoise, Refinement


def settings_of(
    method: str = "fbp",
    *,
    geometry: str | Scan | None = "fan",
    views: int = 1000,
    photons: float | None = None,
    electronic_std: float = 0.0,
    seed: int = 0,
    refinement: int = 2,
) -> BatchSettings:
    """Return settings of a method, ``"tv(weight=1)"``, and a scan; of no scan if it is None."""
    if geometry is None:
        return BatchSettings(batch_method(method), None)
    scan = CoveringScan(geometry, views) if isinstance(geometry, str) else geometry
    noise = None if photons is None else PhotonNoise(photons, electronic_std=electronic_std)
    refined = None if refinement == 1 else Refinement("constant", refinement)
    return BatchSettings(batch_method(method), Acquisition(scan, noise, refined), seed)
