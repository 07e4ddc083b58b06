"""Functionals of ODL as regularisers: Euclidean, whatever the size of the pixels."""

import numpy as np
import pytest
import torch
from builders import DenseOperator

from tomolearn import variational
from tomolearn.priors import OdlRegulariser, TotalVariation

odl = pytest.importorskip("odl")
SHAPE = (5, 6)
# pixels of 0.5 by 0.4: ODL weighs its inner products by 0.2
SPACE = odl.uniform_discr([0, 0], [2.5, 2.4], SHAPE)
FUNCTIONALS = {
    "l1": odl.functionals.L1Norm(SPACE),
    "l2 squared": odl.functionals.L2NormSquared(SPACE),
    "huber": odl.functionals.Huber(SPACE, 0.3),
    "scaled and moved": 3 * odl.functionals.L1Norm(SPACE).translated(SPACE.one()),
}


@pytest.fixture
def images(rng):
    return torch.randn(2, 3, *SHAPE, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_proximal_point_is_a_minimum(name, images, rng):
    prior = OdlRegulariser(FUNCTIONALS[name])
    assert prior.has_proximal
    assert prior.convexity == 0
    step = torch.tensor([[0.5, 2.0, 0.0], [1.0, 4.0, 9.0]], dtype=torch.float64)
    x = prior.proximal(images, step)

    def objective(z):
        return (z - images).square().sum((-2, -1)) / 2 + step * prior.value(z)

    for size in (1e-3, 1e-1):
        moved = x + size * torch.randn(50, *x.shape, generator=rng, dtype=torch.float64)
        assert (objective(moved) >= objective(x)).all()
    assert torch.equal(x[0, 2], images[0, 2])


def test_gradient_is_that_of_the_value(images):
    for name in ("l2 squared", "huber"):
        prior = OdlRegulariser(FUNCTIONALS[name])
        assert prior.has_gradient
        direction = torch.ones(SHAPE, dtype=torch.float64)
        difference = (
            prior.value(images + 1e-6 * direction) - prior.value(images - 1e-6 * direction)
        ) / 2e-6
        slope = (prior.gradient(images) * direction).sum((-2, -1))
        torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-6)
    smooth = OdlRegulariser(FUNCTIONALS["l2 squared"])
    assert smooth.lipschitz(SHAPE) == pytest.approx(2 * 0.2)


def test_total_variation_of_odl_is_ours(images):
    # its value only: ODL has no proximal map of a composition
    space = odl.uniform_discr([0, 0], SHAPE, SHAPE)
    gradient = odl.Gradient(space, method="forward", pad_mode="symmetric")
    prior = OdlRegulariser(odl.functionals.GroupL1Norm(gradient.range) * gradient)
    torch.testing.assert_close(prior.value(images), TotalVariation().value(images))
    assert not prior.has_proximal


def test_it_is_a_prior_of_variational_methods(images):
    matrix = np.eye(30) + np.random.default_rng(0).uniform(0, 0.1, (30, 30))
    operator = DenseOperator(matrix, SHAPE, (30,))
    y = operator(images)
    found = [
        variational(
            y,
            operator,
            prior=OdlRegulariser(FUNCTIONALS["l2 squared"]),
            weight=2.0,
            algorithm=algorithm,
            iterations=100,
        )
        for algorithm in ("fista", "lbfgs", "chambolle-pock")
    ]
    # 2 * 0.2 ||x||^2
    normal = matrix.T @ matrix + 0.8 * np.eye(30)
    exact = np.linalg.solve(normal, matrix.T @ y.reshape(-1, 30).numpy().T).T
    for x in found:
        np.testing.assert_allclose(x.reshape(-1, 30), exact, atol=1e-5)


def test_bad_input(images):
    with pytest.raises(TypeError, match="functional: expected a Functional of ODL, got int"):
        OdlRegulariser(3)
    prior = OdlRegulariser(FUNCTIONALS["l1"])
    assert not prior.has_gradient
    with pytest.raises(ValueError, match="this one has no gradient but a proximal map"):
        prior.gradient(images)
    with pytest.raises(ValueError, match=r"image: expected shape \(\.\.\., 5, 6\)"):
        prior.value(images[..., 1:])
    with pytest.raises(TypeError, match="functional: expected one on a space of float32 or"):
        OdlRegulariser(odl.functionals.L1Norm(odl.cn(3)))
