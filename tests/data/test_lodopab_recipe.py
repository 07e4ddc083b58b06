"""The images and observations of LoDoPaB-CT against ODL and a plain reading of its script."""

import numpy as np
import pytest
import torch

from data_sim import random_thorax_slice
from tomolearn import RayTransform, fbp
from tomolearn.data.lodopab import MU_MAX_PER_M, Recipe
from tomolearn.metrics import psnr

SMALL = Recipe(slice_size=96, margin=14, simulated_size=180, n_angles=40)


def rngs(n, seed=0):
    return [np.random.default_rng((seed, k)) for k in range(n)]


@pytest.fixture
def hounsfield():
    values = random_thorax_slice((96, 96), np.random.default_rng(3), field=330)
    return np.rint(values).astype(np.float32)


def test_the_published_numbers():
    recipe = Recipe()
    assert pytest.approx(81.35858, abs=1e-9) == MU_MAX_PER_M
    assert (recipe.size, recipe.scan.shape) == (362, (1000, 513))
    assert recipe.grid.size == pytest.approx((260, 260))
    noise = recipe.acquisition.noise
    assert (noise.photons, noise.floor) == (4096, 0.1 / 4096)
    # cell-centred angles on [0, pi), bins on [-rho, rho]
    assert recipe.scan.view_angles[[0, -1]] == pytest.approx(np.pi * np.array([0.5, 999.5]) / 1000)
    half = recipe.scan.detector_spacing * 513 / 2
    assert half == pytest.approx(130 * np.sqrt(2))


def test_image_is_that_of_the_script(hounsfield):
    padding = np.zeros(hounsfield.shape, bool)
    padding[40:50, 20:30] = True
    found = SMALL.image(hounsfield, np.random.default_rng(1), padding=padding)
    # lines of create_dataset.py: raw values with slope 1 and intercept -1024, padding at -2000
    raw = np.where(padding, -2000, hounsfield + 1024).astype(np.int16)
    array = raw[14:-14, 14:-14].astype(np.float32).T
    array += -1024
    array += np.random.default_rng(1).uniform(0.0, 1.0, size=array.shape)
    array *= (20 - 0.02) / 1000
    array += 20
    array /= 3071 * (20 - 0.02) / 1000 + 20
    np.clip(array, 0.0, 1.0, out=array)
    np.testing.assert_allclose(found, array, rtol=1e-6, atol=1e-7)
    assert found.dtype == np.float32
    assert 0.2 < found.max() < 1


def odl_projection(recipe, image):
    """As in the script: ODL's own geometry in metres, on ASTRA's CPU projector."""
    import odl
    from skimage.transform import resize

    from odl.applications.tomo import RayTransform as OdlRayTransform  # isort: skip
    from odl.applications.tomo import parallel_beam_geometry

    low, high = [-0.13, -0.13], [0.13, 0.13]
    coarse = odl.uniform_discr(low, high, (recipe.size,) * 2, dtype="float32")
    fine = odl.uniform_discr(low, high, (recipe.simulated_size,) * 2, dtype="float32")
    first = parallel_beam_geometry(coarse, num_angles=recipe.n_angles)
    geometry = parallel_beam_geometry(
        fine, num_angles=recipe.n_angles, det_shape=first.detector.shape
    )
    transform = OdlRayTransform(fine, geometry, impl="astra_cpu")
    upsampled = resize(image * MU_MAX_PER_M, (recipe.simulated_size,) * 2, order=1)
    return transform(fine.element(upsampled)).asarray()


@pytest.mark.filterwarnings("ignore:The 'astra_cpu' backend may be too slow")
@pytest.mark.parametrize("recipe", [SMALL, Recipe()], ids=["small", "published size"])
def test_observation_is_that_of_odl_up_to_noise(recipe):
    n = recipe.slice_size
    slice_ = np.rint(random_thorax_slice((n, n), np.random.default_rng(5), field=330))
    image = recipe.image(slice_.astype(np.float32), np.random.default_rng(0))
    (found,) = recipe.observations([image], rngs(1))
    expected = odl_projection(recipe, image)
    assert found.shape == expected.shape == recipe.scan.shape
    assert found.dtype == np.float32
    # deviations in standard deviations of a Poisson count, without dark bins
    counts = 4096 * np.exp(-expected)
    bright = counts > 100
    assert bright.mean() > 0.5
    deviation = ((found * MU_MAX_PER_M - expected) * np.sqrt(counts))[bright]
    # the logarithm of a count has a bias of 1 / (2 count); the projectors differ a little
    assert abs(deviation.mean()) < 0.1
    assert deviation.std() == pytest.approx(1, abs=0.05)


def test_no_photon_counts_as_a_tenth():
    dense = np.ones((SMALL.size, SMALL.size), np.float32)
    (found,) = SMALL.observations([dense], rngs(1))
    assert found.max() == pytest.approx(np.log(4096 / 0.1) / MU_MAX_PER_M, rel=1e-6)
    assert (found == found.max()).mean() > 0.3


def test_reconstruction_lies_as_the_image(hounsfield):
    image = SMALL.image(hounsfield, np.random.default_rng(1))
    (observation,) = Recipe(96, 14, 180, 200).observations([image], rngs(1))
    operator = RayTransform(SMALL.grid, Recipe(96, 14, 180, 200).scan)
    found = fbp(torch.from_numpy(observation)[None] * 1000, operator, filter="hann")[0]
    truth = torch.from_numpy(image)
    right = psnr(found, truth, data_range="reference").item()
    turned = psnr(found.T.contiguous(), truth, data_range="reference").item()
    assert right > 20
    assert right > turned + 2


def test_noise_is_a_matter_of_seed_and_slice():
    first = [rng.random() for rng in Recipe.streams(0, "1.2.3")]
    assert [rng.random() for rng in Recipe.streams(0, "1.2.3")] == first
    others = [Recipe.streams(1, "1.2.3"), Recipe.streams(0, "1.2.4")]
    values = [*first, *(rng.random() for pair in others for rng in pair)]
    assert len(set(values)) == 6


def test_batches_change_nothing(hounsfield):
    images = [SMALL.image(hounsfield + k, np.random.default_rng(k)) for k in range(3)]
    together = SMALL.observations(images, rngs(3))
    for image, rng, expected in zip(images, rngs(3), together, strict=True):
        # a count may flip where an expectation differs in its last digit
        alone = SMALL.observations([image], [rng])[0]
        assert np.mean(np.abs(alone - expected) > 1e-6) < 0.01


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Recipe(margin=256), "margin: expected one that leaves pixels of 512, got 256"),
        (lambda: Recipe(n_angles=0), "n_angles: expected an integer >= 1"),
        (lambda: Recipe(photons=0), "photons: expected a positive"),
        (lambda: Recipe(floor=-1), "floor: expected a positive"),
        (
            lambda: Recipe().image(np.zeros((5, 512), np.float32), np.random.default_rng()),
            r"hounsfield: expected shape \(512, 512\), got \(5, 512\)",
        ),
    ],
)
def test_errors(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_fbp_of_a_real_chest_is_as_good_as_published(real_data):
    # the publication's mean is 30.4 dB, of slices from thin to thick
    from tomolearn.dicom import find_series

    (series,) = find_series(real_data / "chest-1").series
    read = series.read(20)
    recipe = Recipe()
    dither, photons = recipe.streams(0, read.sop_instance_uid)
    image = recipe.image(read.hounsfield, dither, padding=read.padding)
    observation = torch.from_numpy(recipe.observations([image], [photons])) * 1000
    operator = RayTransform(recipe.grid, recipe.scan)
    found = fbp(observation, operator, filter="hann", frequency_scaling=0.641)[0]
    truth = torch.from_numpy(image)
    right = psnr(found, truth, data_range="reference").item()
    assert 30 < right < 37
    assert right > psnr(found.T.contiguous(), truth, data_range="reference").item() + 2
