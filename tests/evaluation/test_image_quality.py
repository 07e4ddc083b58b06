"""Noise power, edge MTF and contrast to noise of images for which they are known in closed form."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from data_sim import Ellipses, rasterise
from tomolearn.evaluation import contrast_to_noise, edge_mtf, noise_power_spectrum

SPACING = 0.7


def disc(n: int, radius: float, center: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Means over pixels of a disc, lengths in pixels."""
    x, y = (2 * one / n for one in center)
    circle = Ellipses(np.ones(1), np.full((1, 2), 2 * radius / n), np.array([[x, y]]), np.zeros(1))
    return rasterise(circle, (n, n), oversampling=8, dtype=np.float64)


@pytest.mark.parametrize("n", [1, 40])
def test_white_noise_is_flat(rng, n) -> None:
    noise = 3 * torch.randn((n, 96, 96), generator=rng, dtype=torch.float64)
    found = noise_power_spectrum(noise + 100, SPACING)
    level = 9 * SPACING**2
    assert found.std == pytest.approx(3, rel=0.03)
    # a ring of radius k has about 2 pi k values of n images, each exponentially distributed
    for k, power in enumerate(found.power, start=1):
        assert power == pytest.approx(level, rel=5 / math.sqrt(math.pi * k * n))
    assert found.frequencies[-1] == pytest.approx(0.5 / SPACING, rel=0.02)


def test_coloured_noise_has_the_filters_power(rng) -> None:
    noise = torch.randn((300, 64, 64), generator=rng, dtype=torch.float64).numpy()
    sigma = 1.2  # pixels
    smooth = torch.from_numpy(gaussian_filter(noise, (0, sigma, sigma), mode="wrap"))
    found = noise_power_spectrum(smooth, SPACING)
    for f, power in list(zip(found.frequencies, found.power, strict=True))[:16]:
        expected = SPACING**2 * math.exp(-2 * (math.pi * f * SPACING * sigma) ** 2) ** 2
        assert power == pytest.approx(expected, rel=0.06)
    assert found.mean_frequency < noise_power_spectrum(torch.from_numpy(noise), 0.7).mean_frequency


def test_structure_is_no_noise(rng) -> None:
    noise = torch.randn((50, 32, 32), generator=rng, dtype=torch.float64)
    ramp = 100 * torch.linspace(0, 1, 32, dtype=torch.float64)
    np.testing.assert_allclose(
        noise_power_spectrum(noise + ramp, 1.0).power, noise_power_spectrum(noise, 1.0).power
    )


@pytest.mark.parametrize("sigma", [0.8, 1.2, 2.0])
@pytest.mark.parametrize("center", [(0.0, 0.0), (7.3, -4.6)])
def test_mtf_of_a_known_blur(sigma, center) -> None:
    radius = 40.0
    image = torch.from_numpy(gaussian_filter(disc(144, radius, center), sigma))
    found = edge_mtf(
        image,
        SPACING,
        center=(center[0] * SPACING, center[1] * SPACING),
        radius=radius * SPACING,
        reach=10 * SPACING,
    )
    f = np.array(found.frequencies) * SPACING
    # the pixel's own sinc lies between 1 and the mean over directions to within 2 % below here
    pixel = np.sinc(f / math.sqrt(2)) ** 2
    expected = np.exp(-2 * (math.pi * f * sigma) ** 2) * pixel
    np.testing.assert_allclose(found.values, expected, atol=0.02)
    assert found.contrast == pytest.approx(1, abs=1e-3)
    half = f[np.argmax(expected < 0.5) - 1] / SPACING
    assert found.frequency_at(0.5) == pytest.approx(half, rel=0.1)


def test_dark_discs_have_the_same_mtf() -> None:
    bright = torch.from_numpy(gaussian_filter(disc(96, 25), 1.0))
    settings = {"center": (0.0, 0.0), "radius": 25.0, "reach": 8.0}
    one, other = edge_mtf(bright, 1.0, **settings), edge_mtf(2 - bright, 1.0, **settings)
    np.testing.assert_allclose(one.values, other.values, atol=1e-9)
    assert other.contrast == pytest.approx(-one.contrast)


def test_contrast_to_noise_is_that_of_the_law(rng) -> None:
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[20:40, 20:40] = True
    images = 2 * torch.randn((30, 64, 64), generator=rng, dtype=torch.float64) + 5
    images[:, inside] -= 3
    # the mean of 400 pixels and 30 images has a standard deviation of 0.01
    assert contrast_to_noise(images, inside, ~inside) == pytest.approx(-1.5, abs=0.05)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: noise_power_spectrum(torch.zeros(2, 4, 9), 1.0), "images: expected 3 dimensions"),
        (lambda: noise_power_spectrum(torch.zeros(9, 9), 1.0), "images: expected 3 dimensions"),
        (lambda: noise_power_spectrum(torch.zeros(2, 9, 9), -1.0), "spacing: expected positive"),
        (
            lambda: noise_power_spectrum(torch.full((1, 9, 9), math.nan), 1.0),
            "images: expected finite values",
        ),
        (lambda: edge(torch.zeros(64, 64)), "image: expected contrast across the edge"),
        (lambda: edge(torch.zeros(64, 64), radius=40.0), "radius: expected a disc and 5 mm"),
        (lambda: edge(torch.zeros(64, 64), reach=20.0), "reach: expected less than the radius"),
        (lambda: edge(torch.zeros(64, 64), reach=1.0), "reach: expected two pixels"),
        (
            lambda: contrast_to_noise(torch.zeros(9, 9), MASK, ~MASK),
            "background: expected noise in each",
        ),
        (
            lambda: contrast_to_noise(torch.zeros(9, 9), MASK, MASK & ~MASK),
            "background: expected 2 pixels",
        ),
    ],
)
def test_wrong_arguments(call, text) -> None:
    with pytest.raises(ValueError, match=text):
        call()


def test_masks_are_of_bool() -> None:
    with pytest.raises(TypeError, match=r"inside: expected a torch\.Tensor of bool"):
        contrast_to_noise(torch.zeros(9, 9), torch.ones(9, 9), ~MASK)


MASK = torch.eye(9, dtype=torch.bool)


def edge(image: torch.Tensor, radius: float = 10.0, reach: float = 5.0) -> None:
    edge_mtf(image, 1.0, center=(0.0, 0.0), radius=radius, reach=reach)
