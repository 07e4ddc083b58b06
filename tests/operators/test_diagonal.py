"""Multiplication by a diagonal, and what learned schemes make of it."""

import math
import pickle

import pytest
import torch

import tomolearn as tl
from tests.helpers.networks import NEEDS_RAYS, SMALL, small_network
from tomolearn import Diagonal, Grid, ParallelBeam, RayTransform

GRID = Grid((10, 8))
RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 7))


def test_it_is_a_diagonal_matrix(rng):
    factors = torch.randn(3, 4, generator=rng, dtype=torch.float64)
    operator = Diagonal(factors)
    x = torch.randn(2, 3, 4, generator=rng, dtype=torch.float64)
    expected = (torch.diag(factors.flatten()) @ x.flatten(1).T).T.reshape(x.shape)
    torch.testing.assert_close(operator(x), expected)
    torch.testing.assert_close(operator.adjoint(x), expected)
    # the operator's own computation, of the matrix's largest singular value
    assert operator.norm() == pytest.approx(tl.LinearOperator.norm(operator), rel=1e-6)
    assert operator(x.bfloat16()).dtype == torch.float32
    factors.zero_()
    assert torch.equal(operator(x), expected)


def test_it_composes_and_is_pickled(rng):
    weights = torch.rand(RAYS.range_shape, generator=rng)
    operator = Diagonal(weights) @ RAYS
    x = torch.rand(3, *GRID.shape, generator=rng)
    copy = pickle.loads(pickle.dumps(operator))
    assert torch.equal(copy(x), weights * RAYS(x))
    y = torch.rand(3, *RAYS.range_shape, generator=rng)
    torch.testing.assert_close(copy.adjoint(y), RAYS.adjoint(weights * y))
    assert copy.norm() <= RAYS.norm()
    assert torch.autograd.gradcheck(operator, x[:1].double().requires_grad_())


@pytest.mark.parametrize("name", [name for name in SMALL if name not in NEEDS_RAYS])
def test_networks_do_not_see_dead_bins(name, rng):
    network = small_network(name, of=RAYS).eval()
    measured = (torch.rand(RAYS.range_shape, generator=rng) > 0.2).float()
    operator = Diagonal(measured) @ RAYS
    y = torch.rand(1, 1, *RAYS.range_shape, generator=rng)
    spoiled = torch.where(measured > 0, y, 1e3)
    image = network(measured * y, operator)
    assert torch.equal(image, network(measured * spoiled, operator))
    assert not torch.allclose(image, network(y, RAYS))


def test_what_is_no_diagonal():
    with pytest.raises(TypeError, match=r"diagonal: expected a torch\.Tensor, got list"):
        Diagonal([1.0, 2.0])
    with pytest.raises(ValueError, match=r"diagonal: .*, got shape \(\); 2 \* A scales"):
        Diagonal(torch.tensor(1.0))
    with pytest.raises(ValueError, match="diagonal: expected finite values, got 2 that are not"):
        Diagonal(torch.tensor([1.0, math.nan, math.inf]))
