"""The suggested weight of the total variation: how it scales, and that it is near the best."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_sim import low_dose
from tomolearn.dicom import hounsfield_to_attenuation, read_slice
from tomolearn.geometry import ConeBeam, FanBeam, Grid
from tomolearn.methods import photon_tv_weight, total_variation
from tomolearn.operators import RayTransform

MU_WATER = 0.01929
GRID = Grid((60, 50), (0.8, 0.9))


def scanner(views: int) -> RayTransform:
    scan = FanBeam.covering(GRID, views, source_to_isocenter=595.0, source_to_detector=1086.0)
    return RayTransform(GRID, scan)


def disc() -> torch.Tensor:
    rows, columns = np.meshgrid(*GRID.coordinates(), indexing="ij")
    return torch.from_numpy(np.where(rows**2 + columns**2 < 15**2, MU_WATER, 0.0))


def weight(views: int = 16, photons: float = 1e5, electronic_std: float = 0.0) -> float:
    A = scanner(views)
    return float(photon_tv_weight(A(disc()), A, photons=photons, electronic_std=electronic_std))


def test_weight_follows_noise_pixel_and_views() -> None:
    base = weight()
    # noise 1 / sqrt(photons exp(-y)) of lines through at most 30 mm of water, mostly fewer
    lowest, highest = (3 * np.sqrt(0.72 * 16) * np.sqrt(np.exp(y) / 1e5) for y in (0, 0.58))
    assert lowest < base < highest
    assert weight(photons=1e7) == pytest.approx(base / 10, rel=0.01)
    assert weight(views=64) == pytest.approx(2 * base, rel=0.02)
    assert weight(electronic_std=300.0) > base


def test_each_sinogram_has_its_own_weight() -> None:
    A = scanner(16)
    y = A(torch.stack([disc(), 2 * disc()]))
    both = photon_tv_weight(y, A, photons=1e5)
    assert both.shape == (2,)
    assert both[0] == photon_tv_weight(y[0], A, photons=1e5)
    assert both[1] > both[0]


def test_an_opaque_bin_counts_no_more_than_noise_of_one() -> None:
    A = scanner(16)
    everything_opaque = torch.full(A.range_shape, 50.0)
    found = float(photon_tv_weight(everything_opaque, A, photons=1e3))
    assert found == pytest.approx(3 * np.sqrt(0.72 * 16))


def test_mistakes() -> None:
    A = scanner(4)
    y = torch.zeros(A.range_shape)
    with pytest.raises(ValueError, match="photons: expected a positive number, got 0"):
        photon_tv_weight(y, A, photons=0)
    with pytest.raises(ValueError, match="electronic_std: expected a non-negative number, got -1"):
        photon_tv_weight(y, A, photons=1, electronic_std=-1)
    grid = Grid((4, 4, 4))
    cone = RayTransform(
        grid, ConeBeam.covering(grid, 4, source_to_isocenter=50.0, source_to_detector=90.0)
    )
    with pytest.raises(ValueError, match="operator: expected a scan of two dimensions, got ConeB"):
        photon_tv_weight(torch.zeros(cone.range_shape), cone, photons=1)


@pytest.mark.parametrize("name", ["chest-1/1-020.dcm", "head-ge/15.dcm"])
def test_weight_suits_patients(name: str, real_data: Path) -> None:
    """A coarse version of a whole patient: the rule's weight is within 1 dB of the best."""
    full = read_slice(real_data / name)
    coarse = full.hounsfield.reshape(128, 4, 128, 4).mean((1, 3))
    grid = Grid((128, 128), (4 * full.spacing[0], 4 * full.spacing[1]))
    scan = FanBeam.covering(grid, 60, source_to_isocenter=595.0, source_to_detector=1086.0)
    A, truth = RayTransform(grid, scan), torch.from_numpy(hounsfield_to_attenuation(coarse))
    rng = np.random.default_rng(0)
    y = torch.from_numpy(low_dose(A(truth).numpy(), rng, photons=20000.0, electronic_std=5.0))
    suggested = float(photon_tv_weight(y, A, photons=20000.0, electronic_std=5.0))

    def error(factor: float) -> float:
        image = total_variation(y, A, weight=factor * suggested, iterations=150, nonnegative=True)
        return float((image - truth)[4:-4, 4:-4].square().mean())

    errors = {factor: error(factor) for factor in (0.25, 0.5, 1.0, 2.0, 4.0)}
    assert 10 * np.log10(errors[1.0] / min(errors.values())) < 1.0
