"""Slices in, slices out: units, noise, and that no slice depends on its neighbours."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from autoencoders import saved_autoencoder
from batch_settings import settings_of
from scipy.ndimage import gaussian_filter

import tomolearn as tl
from tomolearn.batch import BatchSettings
from tomolearn.batch.processing import process
from tomolearn.batch.settings import SLICES_PER_CALL
from tomolearn.dicom import CTSlice, body_mask
from tomolearn.geometry import CoverageWarning, FanBeam, ParallelBeam
from tomolearn.methods import METHODS, photon_tv_weight, total_variation
from tomolearn.operators import Identity, RayTransform
from tomolearn.simulation import CoveringScan

SHAPE, SPACING = (64, 60), (5.5, 6.0)


def slice_of(number: int) -> CTSlice:
    """Return a body with two lungs and a spine, whose edges are as smooth as a scanner's."""
    grid = tl.Grid(SHAPE, SPACING)
    rows, columns = np.meshgrid(*grid.coordinates(), indexing="ij")
    image = np.full(SHAPE, -1000.0)
    image[(rows / 110) ** 2 + (columns / 150) ** 2 < 1] = 40 + 10 * number
    for side in (-1, 1):
        image[(rows / 70) ** 2 + ((columns - 75 * side) / 45) ** 2 < 1] = -820
    image[(rows - 80) ** 2 + columns**2 < 20**2] = 400
    smooth = gaussian_filter(image, 1.5).astype(np.float32)
    return CTSlice(smooth, SPACING, np.zeros(SHAPE, bool), sop_instance_uid=f"1.2.{number}")


SLICES = [slice_of(number) for number in range(SLICES_PER_CALL)]


# none takes long, and each has all that it needs
# with what has to be given, and few iterations
_SETTINGS = {
    "tv": "tv(iterations=30)",
    "tikhonov": "tikhonov(weight=1.0)",
    "variational": "variational(prior=huber-tv(delta=1e-4), weight=0.1, iterations=20)",
    "pnp": "pnp(prior=gsd-ellipses, sigma=0.001, weight=1.0, image_scale=40, iterations=2)",
    "dip": "dip(iterations=3, channels=4)",
    "generative": f"generative(prior={saved_autoencoder()}, weight=1e-4, iterations=2)",
    **{
        name: f"{name}(prior=gsd-ellipses, noise_level=0.1, image_scale=40, samples=2, steps=2)"
        for name in ("dds", "dps", "diffpir")
    },
}
# the decomposition of an operator is for images smaller than slices are
METHODS_OF_SLICES = [
    pytest.param(_SETTINGS.get(name, name), id=name) for name in METHODS if name != "tsvd"
]


def settings(method: str = "fbp", **scan: Any) -> BatchSettings:
    method = "tv(iterations=30)" if method == "tv" else method
    return settings_of(method, **({"views": 90} | scan))


def rmse(found: np.ndarray, source: CTSlice) -> float:
    inside = body_mask(source.hounsfield)
    return float(np.sqrt(np.square((found - source.hounsfield)[inside]).mean()))


@pytest.mark.parametrize("geometry", ["fan", "parallel"])
def test_many_views_without_noise_give_the_slice_back(geometry: str) -> None:
    found = process(SLICES, settings(geometry=geometry, views=400))
    for image, source in zip(found, SLICES, strict=True):
        assert image.dtype == np.float32
        # edges of 800 HU over pixels of 6 mm
        assert rmse(image, source) < 12
        # attenuation that is wrong by 1 % would be 6 HU
        assert abs((image - source.hounsfield)[body_mask(source.hounsfield)].mean()) < 2.5


@pytest.mark.parametrize("geometry", ["fan", "parallel"])
@pytest.mark.parametrize(
    "method", [*METHODS_OF_SLICES, "sirt(tolerance=0.05)", "lgd-ellipses(image_scale=50)"]
)
@pytest.mark.filterwarnings("ignore::tomolearn.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::tomolearn.catalogue.TrainedElsewhereWarning")
def test_no_slice_depends_on_its_neighbours(method: str, geometry: str) -> None:
    # counts are not negative, as line integrals of few photons may be
    photons = None if method == "mlem" else 1e4
    what = settings(method, photons=photons, geometry=geometry)
    together = process(SLICES, what)
    alone = [process([source], what)[0] for source in SLICES]
    backwards = process(SLICES[::-1], what)[::-1]
    for one, other, third in zip(together, alone, backwards, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, third)


def test_number_of_threads_changes_no_bit() -> None:
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(process(SLICES, settings("tv", photons=1e4)))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_noise_is_that_of_dose_seed_and_slice() -> None:
    def noise(photons: float, seed: int = 0, uid: str = "1.2.0") -> np.ndarray:
        ct = replace(SLICES[0], sop_instance_uid=uid)
        noisy = process([ct], settings(photons=photons, seed=seed))[0]
        return (noisy - process([ct], settings())[0])[body_mask(ct.hounsfield)]

    base = noise(1e6)
    np.testing.assert_array_equal(base, noise(1e6))
    for other in (noise(1e6, seed=1), noise(1e6, uid="1.2.1")):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.2
        assert other.std() == pytest.approx(base.std(), rel=0.1)
    # frames of one file share its identifier
    frames = [
        process([replace(SLICES[0], frame=k)], settings(photons=1e6))[0] - SLICES[0].hounsfield
        for k in (0, 1)
    ]
    inside = body_mask(SLICES[0].hounsfield)
    clean = process([SLICES[0]], settings())[0] - SLICES[0].hounsfield
    one, other = ((frame - clean)[inside] for frame in frames)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.2
    # Poisson: a hundred times the photons, a tenth of the noise
    assert noise(1e8).std() == pytest.approx(base.std() / 10, rel=0.1)


def test_electronic_noise_adds_to_that_of_the_photons() -> None:
    """Where counts are as many as the electronic variance, the noise is sqrt(2) times as large."""
    mu = tl.dicom.hounsfield_to_attenuation(SLICES[0].hounsfield)
    grid = tl.Grid(SHAPE, SPACING)
    A = RayTransform(grid, CoveringScan(views=90).on(grid))
    transmitted = torch.exp(-A(torch.from_numpy(mu)[None, None]))
    photons = 1e6
    # the thickest lines have the most noise
    std = float((photons * transmitted.min()) ** 0.5)
    clean = process([SLICES[0]], settings())[0]
    inside = body_mask(SLICES[0].hounsfield)
    quiet, loud = (
        (process([SLICES[0]], settings(photons=photons, electronic_std=s))[0] - clean)[inside].std()
        for s in (0.0, std)
    )
    assert 1.1 < loud / quiet < 2**0.5 + 0.1


def test_tv_is_better_than_fbp_at_few_photons() -> None:
    fbp, tv = (process(SLICES, settings(m, photons=300.0))[0] for m in ("fbp", "tv"))
    assert rmse(tv, SLICES[0]) < 0.7 * rmse(fbp, SLICES[0])


def test_tv_starts_near_its_end() -> None:
    """After as many iterations from zero, the slice is 180 HU off; after a thousand, 4."""
    what = settings_of("tv(weight=0.03, iterations=20)", views=400)
    assert rmse(process([SLICES[0]], what)[0], SLICES[0]) < 20


def test_tv_takes_scans_of_which_fbp_warns() -> None:
    grid = tl.Grid(SHAPE, SPACING)
    half = FanBeam.covering(
        grid, 60, source_to_isocenter=595.0, source_to_detector=1086.0, angular_range=np.pi / 2
    )
    what = settings_of("tv(weight=0.3)", geometry=half)
    assert rmse(process([SLICES[0]], what)[0], SLICES[0]) < 300
    with pytest.warns(CoverageWarning, match="not measured over up to 1.* degrees"):
        process([SLICES[0]], settings_of(geometry=half))


def test_tv_has_the_weight_of_each_slice() -> None:
    """The lanes' own weights, by running one slice with its weight alone."""
    what = settings_of("tv(iterations=1000)", views=60, photons=1e4)
    grid = tl.Grid(SHAPE, SPACING)
    A = what.acquisition.operator(grid)
    image = torch.from_numpy(tl.dicom.hounsfield_to_attenuation(SLICES[0].hounsfield))
    rng = np.random.default_rng((0, int.from_bytes(hashlib.sha256(b"1.2.0").digest()[:8])))
    y = what.acquisition.measure(image, grid, rng).double()
    weight = float(photon_tv_weight(y, A, photons=1e4))
    x = total_variation(y, A, weight=weight, iterations=1000, nonnegative=True)
    expected = 1000 * (x.numpy() / what.mu_water - 1)
    np.testing.assert_allclose(process([SLICES[0]], what)[0], expected, atol=0.5)


def test_more_is_scanned_than_is_reconstructed() -> None:
    """Data made with the operator that reconstructs are fitted to rounding; these are not."""
    fine, crime = (process([SLICES[0]], settings(refinement=n, views=400))[0] for n in (2, 1))
    assert np.abs(fine - crime).max() > 1


def test_attenuation_of_water_cancels_without_noise_and_counts_with_it() -> None:
    def found(mu_water: float, **scan: Any) -> np.ndarray:
        return process([SLICES[0]], replace(settings(**scan), mu_water=mu_water))[0]

    np.testing.assert_allclose(found(0.019), found(0.027), atol=0.1)
    thick, thin = (rmse(found(mu, photons=1e4), SLICES[0]) for mu in (0.027, 0.015))
    assert thick > 1.2 * thin


def test_a_given_scan_is_used() -> None:
    grid = tl.Grid(SHAPE, SPACING)
    scan = FanBeam.covering(grid, 90, source_to_isocenter=595.0, source_to_detector=1086.0)
    expected = process(SLICES, settings())
    np.testing.assert_array_equal(process(SLICES, settings(geometry=scan)), expected)
    other = process(SLICES, settings(geometry=ParallelBeam.covering(grid, 9)))
    assert rmse(other[0], SLICES[0]) > 1.5 * rmse(expected[0], SLICES[0])


def test_each_slice_tells_that_the_scan_misses_a_part_of_it() -> None:
    small = FanBeam.covering(
        tl.Grid((20, 20), 5.0), 30, source_to_isocenter=595.0, source_to_detector=1086.0
    )
    for _ in range(2):
        with pytest.warns(CoverageWarning):
            process([SLICES[0]], settings(geometry=small))


@pytest.mark.filterwarnings("ignore::tomolearn.catalogue.TrainedElsewhereWarning")
def test_network_gets_images_in_its_own_units() -> None:
    what = settings_of("lgd-ellipses(image_scale=50)", views=30, refinement=1)
    found = process([SLICES[0]], what)[0]
    A = what.acquisition.operator(tl.Grid(SHAPE, SPACING))
    x = torch.from_numpy(tl.dicom.hounsfield_to_attenuation(SLICES[0].hounsfield))[None, None]
    with torch.no_grad():
        expected = tl.load("lgd-ellipses")(A(50 * x), A)[0, 0].numpy() / 50
    np.testing.assert_allclose(found, 1000 * (expected / what.mu_water - 1), rtol=1e-3, atol=5)


def test_image_domain_denoises_the_image_itself(numpy_rng: np.random.Generator) -> None:
    clean = SLICES[0].hounsfield
    noisy = replace(SLICES[0], hounsfield=clean + numpy_rng.normal(0, 40, SHAPE).astype(np.float32))
    what = settings_of("tv(weight=60, iterations=500)", geometry=None)
    found = process([noisy], what)[0]
    assert rmse(found, SLICES[0]) < 0.7 * rmse(noisy.hounsfield, SLICES[0])
    # the weight is in HU
    positive = torch.from_numpy(np.maximum(noisy.hounsfield, -1000) + 1000.0).double()
    expected = total_variation(
        positive, Identity(SHAPE), weight=60.0, iterations=500, nonnegative=True
    )
    np.testing.assert_allclose(found, expected.numpy() - 1000, atol=0.5)


@pytest.mark.filterwarnings("ignore::tomolearn.catalogue.TrainedElsewhereWarning")
def test_image_domain_takes_networks_that_correct_images() -> None:
    what = settings_of("unet-ellipses(image_scale=50)", geometry=None)
    found = process(SLICES[:2], what)[1]
    mu = torch.from_numpy(tl.dicom.hounsfield_to_attenuation(SLICES[1].hounsfield))[None, None]
    with torch.no_grad():
        expected = tl.load("unet-ellipses").denoiser()(50 * mu)[0, 0].numpy() / 50
    np.testing.assert_allclose(found, 1000 * (expected / what.mu_water - 1), rtol=1e-3, atol=5)


def test_slices_are_of_one_kind() -> None:
    other = replace(SLICES[0], spacing=(1.0, 1.0))
    with pytest.raises(ValueError, match="slices: expected 1 to 2 of one shape and spacing"):
        process([SLICES[0], other], settings())
    with pytest.raises(ValueError, match="got 3 of 1 kinds"):
        process([*SLICES, SLICES[0]], settings())
    with pytest.raises(ValueError, match="got 0 of 0 kinds"):
        process([], settings())
