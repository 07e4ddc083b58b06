"""Iterations on a grid that is larger than the image that is asked for."""

import warnings

import pytest
import torch

import tomolearn as tl
from tests.methods.test_iteration import GRID, METHODS, OPERATOR, every_method
from tomolearn import CoverageWarning, Diagonal, Grid, ParallelBeam, RayTransform
from tomolearn.methods import History

LARGER = Grid((14, 12))
MARGIN = RayTransform.derived(LARGER, OPERATOR.scan, "auto")


@every_method
def test_it_is_the_reconstruction_on_a_larger_grid(name, rng):
    y = OPERATOR(torch.rand(2, *GRID.shape, generator=rng))
    x0 = torch.rand(GRID.shape, generator=rng)
    start = torch.nn.functional.pad(x0, (2, 2, 2, 2))
    history = History(images=True)
    images = METHODS[name](y, OPERATOR, iterations=4, padding=2, x0=x0, callback=history)
    expected = METHODS[name](y, MARGIN, iterations=4, x0=start)
    assert torch.equal(images, expected[:, 2:-2, 2:-2])
    assert torch.equal(history.states[-1].image, images)
    empty = METHODS[name](y[:0], OPERATOR, padding=2)
    assert empty.shape == (0, *GRID.shape)
    plain = METHODS[name](y, OPERATOR, iterations=4, x0=x0)
    assert torch.equal(METHODS[name](y, OPERATOR, iterations=4, x0=x0, padding=0), plain)
    with pytest.raises(ValueError, match=r"padding: expected .*, got -1"):
        METHODS[name](y, OPERATOR, padding=-1)
    with pytest.raises(ValueError, match=r"x0: expected shape \(10, 8\)"):
        METHODS[name](y, OPERATOR, padding=2, x0=start)


def test_an_object_larger_than_the_grid():
    whole = Grid((40, 40))
    inner = Grid((20, 20))
    scan = ParallelBeam.covering(whole, 40)
    y = RayTransform(whole, scan)(torch.ones(whole.shape))
    operator = RayTransform(inner, scan)
    plain = tl.cgls(y, operator, iterations=10)
    padded = tl.cgls(y, operator, iterations=10, padding=10)
    assert (plain - 1).abs().max() > 1
    assert (padded - 1).abs().max() < 0.1


def test_what_cannot_be_padded(rng):
    y = OPERATOR(torch.rand(GRID.shape, generator=rng))
    composed = Diagonal(torch.ones(OPERATOR.range_shape)) @ OPERATOR
    with pytest.raises(TypeError, match="operator: expected a RayTransform"):
        tl.cgls(y, composed, padding=2)
    inside = torch.ones(GRID.shape, dtype=torch.bool)
    for name, given in (("support", inside), ("differentiable", True)):
        with pytest.raises(ValueError, match=f"padding: expected 0 with {name}, got 2"):
            tl.variational(
                y, OPERATOR, prior="squared-norm", weight=1.0, padding=2, **{name: given}
            )
    near = tl.FanBeam(9, 12, 1.0, 9.0, 20.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        operator = RayTransform(GRID, near)
        with pytest.raises(ValueError, match="scan: expected every source outside of the grid"):
            tl.cgls(torch.ones(operator.range_shape), operator, padding=8)
