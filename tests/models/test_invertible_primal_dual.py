"""Activations that are computed from outputs, against those that are kept."""

import pytest
import torch
from builders import DenseOperator
from networks import small_network
from torch import nn

from tomolearn import Grid, ParallelBeam, RayTransform
from tomolearn.models import InvertiblePrimalDual
from tomolearn.numerics import Coupling, run_couplings

GRID = Grid((12, 12))
RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 7))
DOUBLE = torch.float64


def model_of(iterations, **arguments):
    torch.manual_seed(0)
    return InvertiblePrimalDual(iterations=iterations, channels=8, **arguments)


def gradients(model, y, *, autocast=False):
    y = y.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        image = model(y, RAYS)
    found = torch.autograd.grad(image.square().sum(), [*model.parameters(), y])
    return torch.cat([one.flatten() for one in found])


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_gradients_are_those_of_kept_activations(iterations, rng):
    model = model_of(iterations).double()
    y = RAYS(torch.rand(2, 1, 12, 12, generator=rng, dtype=DOUBLE))
    found = gradients(model, y)
    model.recompute_activations = False
    assert relative(found, gradients(model, y)) < 1e-12


def test_gradients_in_mixed_precision(rng):
    # what is recovered is rounded, the convolutions round by 2**-9 either way
    model = model_of(5)
    y = RAYS(torch.rand(2, 1, 12, 12, generator=rng))
    exact = gradients(model, y)
    found = gradients(model, y, autocast=True)
    model.recompute_activations = False
    kept = gradients(model, y, autocast=True)
    assert 0 < relative(kept, exact) < 0.05
    assert relative(found, kept) < 2 * relative(kept, exact)


def test_what_is_kept_does_not_grow_with_the_iterations(rng):
    def kept(iterations, recompute):
        model = model_of(iterations)
        model.recompute_activations = recompute
        weights = {one.data_ptr() for one in model.parameters()}
        sizes = []

        def pack(tensor):
            if tensor.data_ptr() not in weights:
                sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(y, RAYS)
        return sum(sizes)

    y = RAYS(torch.rand(1, 1, 12, 12, generator=rng))
    assert kept(20, True) == kept(5, True)
    assert kept(20, False) > 3 * kept(5, False)


def test_formula(rng):
    model = model_of(2, n_primal=2, n_dual=2).double()
    matrix = torch.randn(20, 12, generator=rng, dtype=DOUBLE)
    operator = DenseOperator(matrix.numpy(), (3, 4), (4, 5))
    y = torch.randn(1, 1, 4, 5, generator=rng, dtype=DOUBLE)
    norm = float(torch.linalg.matrix_norm(matrix, 2))

    def project(x):
        return (x.flatten(1) @ matrix.T / norm).reshape(1, 1, 4, 5)

    def back_project(x):
        return (x.flatten(1) @ matrix / norm).reshape(1, 1, 3, 4)

    (G0, G1), (F0, F1) = model.dual_updates, model.primal_updates
    x, z = torch.zeros(1, 1, 3, 4, dtype=DOUBLE), torch.zeros(1, 1, 4, 5, dtype=DOUBLE)
    dual_0 = G0(z, z, y / norm)
    primal_0 = F0(x, back_project(dual_0))
    dual_1 = G1(dual_0, project(primal_0), y / norm)
    primal_1 = F1(primal_0, back_project(dual_0 + dual_1))
    expected = primal_0 + primal_1
    assert relative(model(y, operator).detach(), expected.detach()) < 1e-5  # norms to 1e-6


def test_operators_that_are_learned_keep_activations(rng):
    class Learned(DenseOperator):
        def __init__(self):
            super().__init__(torch.eye(12, dtype=DOUBLE).numpy(), (3, 4), (3, 4))
            self.gain = nn.Parameter(torch.tensor(1.0, dtype=DOUBLE))

        def _evaluate(self, x):
            return self.gain * super()._evaluate(x)

    operator = Learned()
    model = small_network("invertible-primal-dual").double()
    y = torch.rand(1, 3, 4, generator=rng, dtype=DOUBLE)
    image = model(y, operator)
    # kept activations have derivatives of any order
    (slope,) = torch.autograd.grad(
        image.sum(), [model.dual_updates[0].layers[0].weight], create_graph=True
    )
    assert slope.requires_grad


def test_a_part_that_nothing_changes_has_its_gradient(rng):
    weight = torch.rand(3, generator=rng, dtype=DOUBLE).requires_grad_()
    state = [torch.rand(3, generator=rng, dtype=DOUBLE).requires_grad_() for _ in range(2)]

    def change(parts, given, weights):
        return weights["w"] * parts[1] ** 2 + given[0]

    given = torch.rand(3, generator=rng, dtype=DOUBLE).requires_grad_()
    found = run_couplings([Coupling(0, change, {"w": weight})] * 2, state, [given])
    slopes = torch.autograd.grad(found[0].sum() + found[1].sum(), [*state, given, weight])
    one, two = torch.ones(3, dtype=DOUBLE), 2 * torch.ones(3, dtype=DOUBLE)
    expected = [one, one + 4 * weight * state[1], two, 2 * state[1] ** 2]
    for slope, known in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope, known)


@pytest.mark.parametrize("name", ["n_primal", "n_dual"])
def test_halves_need_even_numbers(name):
    with pytest.raises(ValueError, match=f"{name}: expected an even number, got 5"):
        InvertiblePrimalDual(**{name: 5})
