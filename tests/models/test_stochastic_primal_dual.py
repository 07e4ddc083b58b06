"""Subsets of views against the rows of the whole operator, and against all views at once."""

import math

import pytest
import torch

from tomolearn import Grid, ParallelBeam, RayTransform, TomolearnError
from tomolearn.methods.iterative.subsets import subset_order
from tomolearn.models import LearnedPrimalDual, StochasticPrimalDual

GRID = Grid((12, 12))
A = RayTransform(GRID, ParallelBeam.covering(GRID, 7))
DOUBLE = torch.float64
SMALL = {"iterations": 5, "n_primal": 3, "n_dual": 2, "channels": 6}


@pytest.fixture
def y(rng):
    return A(torch.rand(2, 1, 12, 12, generator=rng, dtype=DOUBLE))


def network(subsets):
    torch.manual_seed(0)
    return StochasticPrimalDual(subsets=subsets, **SMALL).double().eval()


def test_one_subset_is_learned_primal_dual(y):
    model = network(1)
    whole = LearnedPrimalDual(**SMALL).double().eval()
    whole.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(y, A), whole(y, A))


@pytest.mark.parametrize("subsets", [2, 3, 7])
def test_subsets_are_rows_of_the_operator(subsets, y):
    model = network(subsets)
    norm = A.norm() / math.sqrt(subsets)
    primal = torch.zeros(2, 3, 12, 12, dtype=DOUBLE)
    dual = torch.zeros(2, 2, *A.range_shape, dtype=DOUBLE)
    for k, (G, F) in enumerate(zip(model.dual_updates, model.primal_updates, strict=True)):
        b = int(subset_order(subsets, "golden")[k % subsets])
        rows = slice(b, None, subsets)
        projected = A(primal[:, 1:2])[:, :, rows] / norm
        changed = torch.zeros_like(dual)
        part = dual[:, :, rows] + G(dual[:, :, rows], projected, y[:, :, rows] / norm)
        dual[:, :, rows] = part
        changed[:, :, rows] = part
        primal = primal + F(primal, A.T(changed[:, :1]) / norm)
    torch.testing.assert_close(model(y, A), primal[:, :1])


def test_iterations_keep_activations_of_fewer_views(y):
    def kept(subsets):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        ):
            network(subsets)(y, A)
        return sum(sizes)

    # a sinogram has 7 x 19 values, an image 12 x 12
    assert kept(7) < 0.75 * kept(1)


def test_more_subsets_than_views(y):
    with pytest.raises(TomolearnError, match="subsets: expected at most the 7 views, got 8"):
        network(8)(y, A)
