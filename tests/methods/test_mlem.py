"""Expectation maximisation: against a slow loop, the conditions of its limit, and its laws."""

import numpy as np
import pytest
import torch

from tests.helpers.builders import dense_operator, matrix_of
from tomolearn import Grid, ParallelBeam, RayTransform, mlem, variational
from tomolearn.methods import History

GRID = Grid((6, 5))
RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 8))
MATRIX = matrix_of(RAYS, GRID.shape, torch.float64).numpy()


@pytest.fixture
def counts(rng):
    mean = 5 * RAYS(torch.rand(2, *GRID.shape, generator=rng, dtype=torch.float64))
    return torch.poisson(mean, generator=rng)


def slow(y, w, iterations, subsets, background):
    """Return what the definition gives, in loops over the subsets of views."""
    from tomolearn.methods.iterative.subsets import subset_order

    views = np.arange(len(y.ravel())) // RAYS.range_shape[-1]
    x = np.full(MATRIX.shape[1], (w * y).sum() / (MATRIX.T @ w.ravel()).sum())
    for _ in range(iterations):
        for first in subset_order(subsets, "golden"):
            chosen = views % subsets == first
            A, part, weight = MATRIX[chosen], y.ravel()[chosen], w.ravel()[chosen]
            mean = A @ x + background
            ratio = np.divide(part, mean, out=np.zeros_like(part), where=mean > 0)
            seen = A.T @ weight > 0
            x[seen] *= (A.T @ (weight * ratio))[seen] / (A.T @ weight)[seen]
    return x.reshape(GRID.shape)


@pytest.mark.parametrize(("subsets", "background"), [(1, 0.0), (1, 2.0), (4, 0.5), (8, 0.0)])
def test_it_is_its_definition(subsets, background, counts, rng):
    weights = torch.rand(RAYS.range_shape, generator=rng, dtype=torch.float64) + 0.1
    weights[2, 4] = 0.0
    settings = {"iterations": 7, "subsets": subsets, "background": background}
    found = mlem(counts, RAYS, weights=weights, **settings)
    for image, y in zip(found, counts, strict=True):
        expected = slow(y.numpy(), weights.numpy(), 7, subsets, background)
        np.testing.assert_allclose(image.numpy(), expected, rtol=1e-6)


def test_its_limit_is_the_most_likely_image(counts):
    history = History(every=100)
    x = mlem(counts, RAYS, iterations=4000, background=0.3, callback=history)
    mean = RAYS(x) + 0.3
    slope = RAYS.adjoint(1 - counts / mean)
    # the conditions of Kuhn and Tucker
    assert slope.min() > -0.02
    assert (slope * x).abs().max() < 0.02
    objective = torch.stack([state.objective for state in history.states])
    assert (objective.diff(dim=0) <= 1e-9).all()
    other = History(every=50)
    variational(
        counts,
        RAYS,
        prior="squared-norm",
        weight=0.0,
        data="poisson-emission",
        background=0.3,
        minimum=0.0,
        iterations=2000,
        callback=other,
    )
    torch.testing.assert_close(objective[-1], other.states[-1].objective, rtol=1e-2, atol=1e-2)


def test_as_many_counts_are_explained_as_were_measured(counts):
    seen = RAYS(torch.ones(GRID.shape)) > 0
    counts = counts * seen
    for iterations in (1, 5):
        x = mlem(counts, RAYS, iterations=iterations)
        torch.testing.assert_close(RAYS(x).sum((1, 2)), counts.sum((1, 2)))


def test_what_is_zero_stays_zero(counts):
    x0 = torch.ones(GRID.shape)
    x0[2:4] = 0.0
    x = mlem(counts, RAYS, x0=x0)
    assert (x[:, 2:4] == 0).all()
    assert (mlem(0 * counts, RAYS) == 0).all()


def test_ordered_subsets_are_faster(counts):
    best = mlem(counts, RAYS, iterations=3000)
    plain, subsets = (mlem(counts, RAYS, iterations=5, subsets=n) for n in (1, 4))
    assert (subsets - best).norm() < (plain - best).norm()


def test_what_is_no_emission(counts):
    with pytest.raises(ValueError, match=r"sinogram: expected counts, .* for mlem, got -1; sin"):
        mlem(counts - 1, RAYS)
    with pytest.raises(ValueError, match="x0: expected an image of emission, without negative"):
        mlem(counts, RAYS, x0=-torch.ones(GRID.shape))
    with pytest.raises(ValueError, match="subsets: expected at most the 8 views, got 9"):
        mlem(counts, RAYS, subsets=9)
    with pytest.raises(TypeError, match="operator: expected a RayTransform"):
        mlem(torch.ones(4), dense_operator(), subsets=2)
    with pytest.raises(ValueError, match="background: expected a non-negative number, got -1"):
        mlem(counts, RAYS, background=-1.0)
