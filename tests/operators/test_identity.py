"""The identity: values, fresh output, norm; and the denoising that it is for."""

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle

from tomolearn.methods import total_variation
from tomolearn.operators import Identity

UNITS = torch.eye(6, dtype=torch.float64).reshape(6, 2, 3)


def test_matrix_is_the_unit_matrix() -> None:
    np.testing.assert_array_equal(
        np.stack([x.numpy().ravel() for x in Identity((2, 3))(UNITS)], 1), np.eye(6)
    )
    np.testing.assert_array_equal(
        np.stack([x.numpy().ravel() for x in Identity((2, 3)).T(UNITS)], 1), np.eye(6)
    )


def test_output_is_fresh() -> None:
    x = torch.ones(2, 3)
    Identity((2, 3))(x).zero_()
    assert x.sum() == 6


def test_norm_is_one() -> None:
    assert Identity((4,)).norm() == 1.0


def test_total_variation_with_it_denoises(rng: torch.Generator) -> None:
    # scikit-image minimises ||x - y||^2 / 2 + weight TV(x) with the same differences
    image = torch.zeros(40, 30, dtype=torch.float64)
    image[10:30, 8:20] = 1
    noisy = image + 0.1 * torch.randn(image.shape, generator=rng, dtype=torch.float64)
    found = total_variation(noisy, Identity(image.shape), weight=0.3, iterations=20000)
    expected = denoise_tv_chambolle(noisy.numpy(), weight=0.15, eps=1e-14, max_num_iter=100_000)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)
    assert (found - image).square().mean() < 0.2 * (noisy - image).square().mean()


@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_a_shape_has_pixels(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        Identity(shape)


def test_a_shape_is_a_sequence() -> None:
    with pytest.raises(TypeError, match="shape: expected a sequence of integers, got 5"):
        Identity(5)
