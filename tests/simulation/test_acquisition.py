"""Acquisitions: what is measured, on which grid, and what the noise depends on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_sim import low_dose
from tomolearn import ConeBeam, FanBeam, Grid, ParallelBeam, RayTransform
from tomolearn.simulation import (
    Acquisition,
    CoveringScan,
    GaussianNoise,
    PhotonNoise,
    Refinement,
    independent_streams,
)

GRID = Grid((12, 16), 2.0)
SCAN = ParallelBeam.covering(GRID, 10)
NOISE = PhotonNoise(1e4, electronic_std=3.0)
CONE = ConeBeam(
    n_angles=3,
    detector_shape=(4, 5),
    detector_spacing=2.0,
    source_to_isocenter=90.0,
    source_to_detector=150.0,
)
ACQUISITIONS = [
    Acquisition(SCAN),
    Acquisition(SCAN, GaussianNoise(0.05), Refinement("average", 2)),
    Acquisition(CoveringScan("fan", 30), NOISE, Refinement("constant", 3)),
    Acquisition(CoveringScan("parallel", 7), refinement=Refinement("mirrored", shape=(40, 41))),
    Acquisition(CONE, PhotonNoise(1e4, 0.02, 1e-8), Refinement("linear", 2)),
]


@pytest.fixture
def image(rng):
    return torch.rand(GRID.shape, generator=rng)


@pytest.mark.parametrize("acquisition", ACQUISITIONS, ids=str)
def test_json_round_trip(acquisition):
    found = Acquisition.from_dict(json.loads(json.dumps(acquisition.to_dict())))
    assert found == acquisition
    assert hash(found) == hash(acquisition)


def test_without_noise_it_is_the_ray_transform(image):
    stack = image.expand(2, 1, *GRID.shape)
    expected = RayTransform(GRID, SCAN)(stack)
    assert torch.equal(Acquisition(SCAN).measure(stack, GRID), expected)
    assert torch.equal(Acquisition(SCAN).measure(image, GRID), RayTransform(GRID, SCAN)(image))
    # one image and two are followed in another order, and rounded apart
    torch.testing.assert_close(expected[0, 0], RayTransform(GRID, SCAN)(image))


def test_a_finer_grid_has_the_same_scan(image):
    acquisition = Acquisition(CoveringScan("fan", 9), refinement=Refinement("constant", 3))
    fine = GRID.refined((36, 48))
    scan = FanBeam.covering(GRID, 9, source_to_isocenter=595.0, source_to_detector=1086.0)
    blocks = torch.from_numpy(np.kron(image.numpy(), np.ones((3, 3), np.float32)))
    expected = RayTransform(fine, scan)(blocks)
    assert acquisition.simulation_grid(GRID) == fine
    assert torch.equal(acquisition.measure(image, GRID), expected)
    # a fine image is projected as it is
    assert torch.equal(acquisition.measure(blocks, GRID), expected)
    assert acquisition.operator(GRID).scan == scan
    assert acquisition.operator(GRID).grid == GRID


def test_noise_is_that_of_the_detector(image):
    noisy = Acquisition(SCAN, NOISE).measure(image, GRID, np.random.default_rng(5))
    clean = RayTransform(GRID, SCAN)(image).numpy()
    expected = low_dose(clean, np.random.default_rng(5), photons=1e4, electronic_std=3.0)
    assert np.array_equal(noisy.numpy(), expected)


def test_noise_of_an_image_does_not_depend_on_its_neighbours(image):
    acquisition = Acquisition(SCAN, NOISE)
    images = torch.stack([image, 2 * image, 3 * image])[:, None]
    rngs = [independent_streams(1, key).noise for key in range(3)]
    together = acquisition.measure(images, GRID, rngs)
    alone = acquisition.measure(images[1], GRID, independent_streams(1, 1).noise)
    torch.testing.assert_close(together[1], alone, rtol=1e-5, atol=1e-5)
    assert not torch.equal(together[0], together[1])


def test_streams_are_independent():
    n = 10_000
    image, noise = (one.standard_normal(n) for one in independent_streams(0, 1))
    other = independent_streams(0, 2).image.standard_normal(n)
    for first, second in ((image, noise), (image, other)):
        # five standard errors of a correlation that is zero
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(n)
    again = independent_streams(0, 1)
    assert np.array_equal(again.image.standard_normal(n), image)


@pytest.mark.parametrize("ndim", [2, 3])
def test_linear_refinement_is_exact_on_planes(ndim):
    grid = Grid((6, 8, 10)[:ndim], 2.0)
    scan = SCAN if ndim == 2 else CONE
    coordinates = np.meshgrid(*grid.coordinates(), indexing="ij")
    slopes = (0.3, -1.1, 0.7)[:ndim]
    plane = sum(s * x for s, x in zip(slopes, coordinates, strict=True))
    for interpolation in ("linear", "mirrored"):
        acquisition = Acquisition(scan, refinement=Refinement(interpolation, 3))
        fine = acquisition.refine(torch.from_numpy(plane)[None], grid)
        finer = acquisition.simulation_grid(grid)
        expected = sum(
            s * x
            for s, x in zip(slopes, np.meshgrid(*finer.coordinates(), indexing="ij"), strict=True)
        )
        # between the centres of the outermost pixels
        inner = (slice(2, -2),) * ndim
        np.testing.assert_allclose(fine[0].numpy()[inner], expected[inner], atol=1e-12)
        means = acquisition.average(fine, grid)[0].numpy()
        inner = (slice(1, -1),) * ndim
        np.testing.assert_allclose(means[inner], plane[inner], atol=1e-12)


@pytest.mark.parametrize("ndim", [2, 3])
def test_means_of_constant_pixels_are_the_image(ndim, rng):
    grid = Grid((6, 8, 10)[:ndim], 2.0)
    scan = SCAN if ndim == 2 else CONE
    images = torch.rand(2, 3, *grid.shape, generator=rng)
    acquisition = Acquisition(scan, refinement=Refinement("constant", 2))
    fine = acquisition.refine(images, grid)
    assert fine.shape == (2, 3, *(2 * n for n in grid.shape))
    torch.testing.assert_close(acquisition.average(fine, grid), images)


@pytest.mark.parametrize(("interpolation", "mode"), [("linear", "edge"), ("mirrored", "reflect")])
def test_refinement_is_that_of_scikit_image(interpolation, mode, image):
    from skimage.transform import resize

    shape = (31, 45)
    acquisition = Acquisition(SCAN, refinement=Refinement(interpolation, shape=shape))
    found = acquisition.refine(image, GRID).numpy()
    expected = resize(image.numpy(), shape, order=1, mode=mode, anti_aliasing=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gradient_passes_without_noise(image):
    image.requires_grad_(True)
    acquisition = Acquisition(SCAN, refinement=Refinement("linear", 2))
    acquisition.measure(image, GRID).sum().backward()
    assert image.grad is not None


def test_description():
    text = str(Acquisition(CoveringScan("fan", 500), PhotonNoise(1e4, electronic_std=5)))
    assert text == "fan beam, 500 views, 10,000 photons, electronic noise 5"
    assert str(Acquisition(CoveringScan("parallel"))) == "parallel beam, 1000 views, no noise"


FINE = Acquisition(SCAN, refinement=Refinement("average", 2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Acquisition("fan"), TypeError, "a CoveringScan or Direct, got str"),
        (lambda: Acquisition(SCAN, 5), TypeError, "noise: expected GaussianNoise"),
        (lambda: Acquisition(SCAN, refinement=2), TypeError, "refinement: expected a Refinement"),
        (
            lambda: CoveringScan("helix"),
            ValueError,
            "kind: expected one of fan, parallel, cone, got",
        ),
        (lambda: CoveringScan("fan", 0), ValueError, "views: expected an integer >= 1, got 0"),
        (lambda: Refinement("cubic", 2), ValueError, "interpolation: expected one of average"),
        (lambda: Refinement("linear"), TypeError, "factor, shape: expected exactly one"),
        (lambda: Refinement("linear", 2, (3, 3)), TypeError, "factor, shape: expected exactly"),
        (lambda: Refinement("linear", 0), ValueError, "factor: expected an integer >= 1"),
        (
            lambda: Acquisition(
                SCAN, refinement=Refinement("average", shape=(25, 32))
            ).simulation_grid(GRID),
            ValueError,
            r"grid: expected a shape that divides the finer grid's, \(25, 32\), got \(12, 16\)",
        ),
        (
            lambda: FINE.measure(torch.zeros(GRID.shape), GRID),
            ValueError,
            r"images: expected shape \(..., 24, 32\), got \(12, 16\)",
        ),
        (
            lambda: Acquisition(SCAN).measure(torch.zeros(3, 3), GRID),
            ValueError,
            r"images: expected shape \(..., 12, 16\)",
        ),
        (lambda: Acquisition(SCAN).measure(0, GRID), TypeError, "images: expected a torch.Tensor"),
        (
            lambda: FINE.average(torch.zeros(GRID.shape), GRID),
            ValueError,
            r"fine: expected shape \(..., 24, 32\)",
        ),
        (
            lambda: Acquisition(SCAN, NOISE).measure(torch.zeros(2, *GRID.shape), GRID),
            ValueError,
            "rng: expected a generator, or one for each of 2 images, .* got 0",
        ),
        (
            lambda: Acquisition.from_dict({"scan": SCAN.to_dict()}),
            ValueError,
            "acquisition: expected exactly scan, noise and refinement, got scan",
        ),
        (
            lambda: Acquisition.from_dict(
                Acquisition(SCAN).to_dict() | {"noise": {"type": "PinkNoise"}}
            ),
            ValueError,
            "noise: expected one of GaussianNoise, .*, got 'PinkNoise'",
        ),
        (
            lambda: Acquisition.from_dict(
                Acquisition(SCAN).to_dict()
                | {"noise": {"type": "GaussianNoise", "relative": 1, "colour": 2}}
            ),
            ValueError,
            "GaussianNoise: expected only the fields relative, std, got colour",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_noise_is_replaced_alone():
    assert replace(FINE, noise=NOISE).refinement == FINE.refinement
