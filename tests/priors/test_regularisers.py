"""Regularisers: gradients, proximal maps and certificates, against definitions and dense solves."""

import pytest
import torch
from skimage.restoration import denoise_tv_chambolle

from tomolearn import ConvergenceWarning, FiniteDifferences, total_variation
from tomolearn.operators import Identity
from tomolearn.priors import PRIORS, Regulariser, SquaredDifferences, TotalVariation

REGULARISERS = {
    "squared differences": (SquaredDifferences(), (7, 6)),
    "squared differences of volumes": (SquaredDifferences(ndim=3), (4, 3, 5)),
    "total variation": (TotalVariation(tolerance=1e-4, max_iterations=10_000), (7, 6)),
    "total variation of volumes": (
        TotalVariation(ndim=3, tolerance=1e-4, max_iterations=10_000),
        (4, 3, 5),
    ),
}
each = pytest.mark.parametrize(
    ("regulariser", "shape"), REGULARISERS.values(), ids=list(REGULARISERS)
)
smooth = pytest.mark.parametrize(
    ("regulariser", "shape"), list(REGULARISERS.values())[:2], ids=list(REGULARISERS)[:2]
)


def images(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


@each
def test_value_is_the_definition(regulariser, shape, rng):
    x = images(rng, 2, 3, *shape)
    squares = torch.zeros_like(x)
    for axis in range(-len(shape), 0):
        difference = x.diff(dim=axis, append=x.narrow(axis, x.shape[axis] - 1, 1))
        squares += difference.square()
    parts = squares / 2 if isinstance(regulariser, SquaredDifferences) else squares.sqrt()
    torch.testing.assert_close(regulariser(x), parts.flatten(2).sum(-1))


@smooth
def test_lipschitz_constant_is_the_largest_eigenvalue(regulariser, shape):
    n = int(torch.tensor(shape).prod())
    basis = torch.eye(n, dtype=torch.float64).reshape(n, *shape)
    matrix = regulariser.gradient(basis).reshape(n, n)
    assert regulariser.lipschitz(shape) == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]))


def test_quadratic_proximal_map_is_a_linear_solve(rng):
    z = images(rng, 5, 4)
    D = FiniteDifferences((5, 4))
    basis = torch.eye(20, dtype=torch.float64).reshape(20, 5, 4)
    matrix = torch.eye(20, dtype=torch.float64) + 0.7 * D.adjoint(D(basis)).reshape(20, 20)
    expected = torch.linalg.solve(matrix, z.flatten()).reshape(5, 4)
    torch.testing.assert_close(SquaredDifferences().proximal(z, 0.7), expected)


@pytest.mark.parametrize("shape", [(9, 8), (5, 6, 4)])
def test_total_variation_against_another_library(shape, rng):
    z = images(rng, *shape)
    regulariser = TotalVariation(ndim=len(shape), tolerance=1e-4, max_iterations=10_000)
    found = regulariser.proximal(z, 0.3)
    expected = denoise_tv_chambolle(z.numpy(), weight=0.3, eps=1e-14, max_num_iter=20_000)
    assert float((found - torch.from_numpy(expected)).norm() / z.norm()) < 2e-4


@pytest.mark.parametrize("shape", [(7, 8), (4, 5, 6)])
def test_total_variation_is_that_of_the_method(shape, rng):
    # the method minimises ||x - z||^2 + weight TV(x), without the half
    z = images(rng, 2, *shape)
    found = TotalVariation(ndim=len(shape), tolerance=1e-4, max_iterations=10_000).proximal(z, 0.2)
    expected = total_variation(z, Identity(shape), weight=0.4, iterations=3000)
    assert float((found - expected).norm() / z.norm()) < 2e-4


def test_tolerance_bounds_the_distance(rng):
    z = images(rng, 3, 8, 8)
    exact = TotalVariation(tolerance=1e-4, max_iterations=10_000).proximal(z, 0.3)
    for tolerance in (1e-1, 1e-2, 1e-3):
        rough = TotalVariation(tolerance=tolerance).proximal(z, 0.3)
        distance = (rough - exact).flatten(1).norm(dim=1) / z.flatten(1).norm(dim=1)
        assert bool((distance <= tolerance + 1e-4).all())
        assert bool((distance > 0).all())


def test_tolerance_that_was_not_reached_is_told(rng):
    with pytest.warns(ConvergenceWarning, match="after 3 iterations a proximal point is known to"):
        TotalVariation(tolerance=1e-6, max_iterations=3).proximal(images(rng, 9, 9), 1.0)


def test_certificates():
    assert SquaredDifferences().convexity == TotalVariation().convexity == 0.0
    assert TotalVariation().lipschitz((8, 8)) is None


class Ridge(Regulariser):
    """Half the squared norm, of which nothing else is known."""

    def value(self, image):
        return image.square().flatten(-2).sum(-1) / 2


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda z: TotalVariation().gradient(z), ValueError, "TotalVariation: .* no gradient"),
        (lambda z: Ridge({}).gradient(z), ValueError, "Ridge: .* has no gradient"),
        (lambda z: Ridge({}).proximal(z, 1.0), ValueError, "Ridge: .* has a gradient only"),
        (lambda z: TotalVariation().proximal(z, -1.0), ValueError, "step: expected non-negative"),
        (
            lambda z: TotalVariation().proximal(z, torch.ones(3)),
            ValueError,
            r"step: expected one number, or one for each image \(2,\), got shape \(3,\)",
        ),
        (lambda z: TotalVariation()(z.half()), ValueError, "image: expected float32 or float64"),
        (lambda z: TotalVariation()(z.numpy()), TypeError, "image: expected a torch.Tensor"),
        (lambda z: SquaredDifferences(ndim=3)(z[0]), ValueError, "image: expected 3 spatial axes"),
        (lambda z: SquaredDifferences(ndim=0), ValueError, "ndim: expected an integer >= 1"),
        (lambda z: TotalVariation(tolerance=0.0), ValueError, "tolerance: expected a positive"),
        (lambda z: PRIORS.find("tv"), ValueError, "prior: expected one of .*squared-differences"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call(torch.zeros(2, 8, 8))
