"""Sums over large tensors, against float64."""

import numpy as np
import pytest
import torch

from tomolearn._core.tensors import inner, norm


@pytest.mark.parametrize("size", [1, 2**12 - 1, 2**12, 3 * 2**12 + 5, 2**21 + 3])
def test_float32_values_are_added_up_in_float64(size):
    # equal values: once a sum in float32 is large, every one that is added is rounded alike
    values = np.full((2, size), 1.1, np.float32)
    values[1, ::2] = 3e-3
    x = torch.from_numpy(values)
    exact = np.linalg.norm(values.astype(np.float64), axis=1)
    assert norm(x).dtype == inner(x, x).dtype == torch.float64
    np.testing.assert_allclose(norm(x), exact, rtol=4e-6)
    np.testing.assert_allclose(inner(x, x), exact**2, rtol=8e-6)
    np.testing.assert_allclose(norm(x.double()), exact, rtol=1e-12)


def test_shapes():
    x = torch.rand(3, 2, 5, 7)
    np.testing.assert_allclose(norm(x), x.flatten(1).norm(dim=1), rtol=1e-6)
    np.testing.assert_allclose(inner(x, 2 * x), 2 * x.flatten(1).square().sum(1), rtol=1e-6)
    assert norm(x[:0]).shape == inner(x[:0], x[:0]).shape == (0,)
    assert torch.equal(norm(torch.ones(2, 0)), torch.zeros(2, dtype=torch.float64))
