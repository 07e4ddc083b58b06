"""The compiled steps of total variation against those in torch."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from builders import DenseOperator

from tomolearn.methods import total_variation
from tomolearn.methods.variational import compiled_steps as compiled, primal_dual
from tomolearn.methods.variational.compiled_steps import CompiledVariationSteps
from tomolearn.methods.variational.primal_dual import variation_steps
from tomolearn.methods.variational.tv_steps import VariationSteps

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}
STATE = ("x", "image", "ahead", "p", "p_new", "q", "q_new")
# whole blocks of 16 pixels and not, rows shorter than a block, no neighbours along an axis
SHAPES = [(32, 48), (19, 37), (9, 17), (6, 5), (1, 40), (40, 1), (1, 1)]
WEIGHT = 0.05


def problem(kind, shape, batch, dtype, weight=WEIGHT, nonnegative=False, bins=35):
    """Return steps and the matrix of an operator of norm one."""
    size = math.prod(shape)
    rng = torch.Generator().manual_seed(5)
    matrix = torch.randn(bins, size, generator=rng, dtype=torch.float64)
    matrix = (matrix / torch.linalg.matrix_norm(matrix, 2)).to(dtype)
    x = torch.randn(batch, *shape, generator=rng, dtype=torch.float64).to(dtype)
    y = torch.randn(batch, bins, generator=rng, dtype=torch.float64).to(dtype)
    # other steps for every image
    faster = torch.linspace(1, 2, batch, dtype=dtype)
    steps = (-0.3 / faster, 0.9 * faster, 0.2 * faster)
    return kind(x, y, weight, nonnegative, *steps, relaxation=1.8), matrix


def iterate(steps, matrix, count=12):
    for _ in range(count):
        steps.image_step((steps.p @ matrix).reshape(steps.x.shape))
        steps.data_dual_step(steps.ahead.flatten(1) @ matrix.T)
        steps.gradient_dual_step()
    return steps


def assert_same_state(ours, theirs, dtype):
    for name in STATE:
        found, expected = getattr(ours, name), getattr(theirs, name)
        if name.startswith("q") and not len(expected):
            expected = torch.zeros_like(found)
        torch.testing.assert_close(
            found, expected, rtol=0, atol=TOLERANCE[dtype], msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("weight", [WEIGHT, 0.0])
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_steps_equal_torch(shape, dtype, batch, nonnegative, weight):
    options = (shape, batch, dtype, weight, nonnegative)
    theirs = iterate(*problem(VariationSteps, *options))
    ours = iterate(*problem(CompiledVariationSteps, *options))
    assert_same_state(ours, theirs, dtype)
    assert ours.image.dtype == dtype
    assert ours.ahead.is_contiguous()
    # the comparison has met both sides of every maximum
    if weight and nonnegative and min(shape) > 1:
        assert (ours.image == 0).any()
        assert (ours.image > 0).any()
    if weight and min(shape) > 1:
        lengths = theirs.q_new.square().sum(0).sqrt()
        assert (lengths < 0.99 * weight).any()
        assert (lengths > 0.999 * weight).any()


@pytest.mark.parametrize("shape", [(32, 48), (19, 37), (2, 33)])
def test_several_threads_share_the_work(shape, monkeypatch):
    theirs = iterate(*problem(VariationSteps, shape, 2, torch.float64))
    monkeypatch.setattr(compiled, "_SMALL_WORK", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    ours, matrix = problem(CompiledVariationSteps, shape, 2, torch.float64)
    assert ours._threads == 3
    assert_same_state(iterate(ours, matrix), theirs, torch.float64)


def test_runs_in_several_threads_at_once():
    def solve(_):
        return iterate(*problem(CompiledVariationSteps, (32, 48), 2, torch.float32), count=50).image

    alone = solve(0)
    with ThreadPoolExecutor(4) as pool:
        for image in pool.map(solve, range(8)):
            assert torch.equal(image, alone)


def test_images_of_a_batch_do_not_mix():
    both = iterate(*problem(CompiledVariationSteps, (9, 17), 2, torch.float64))
    steps, matrix = problem(VariationSteps, (9, 17), 2, torch.float64)
    for k in range(2):
        one = CompiledVariationSteps(
            steps.x[k : k + 1].clone(),
            steps.y[k : k + 1].clone(),
            WEIGHT,
            False,
            *(s[k : k + 1] for s in (steps.primal_step, steps.data_step, steps.gradient_step)),
            1.8,
        )
        iterate(one, matrix)
        torch.testing.assert_close(both.image[k], one.image[0], rtol=0, atol=1e-13)


def test_any_precision_and_order_of_the_projections():
    steps = [problem(CompiledVariationSteps, (9, 17), 2, torch.float32)[0] for _ in range(2)]
    slope = torch.randn(2, 17, 9).transpose(1, 2)
    projection = torch.randn(35, 2).T
    steps[0].image_step(slope.contiguous())
    steps[0].data_dual_step(projection.contiguous())
    steps[1].image_step(slope.double())
    steps[1].data_dual_step(projection.double())
    assert_same_state(*steps, torch.float32)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_what_is_not_finite_stays_so(nonnegative):
    steps = problem(CompiledVariationSteps, (9, 17), 1, torch.float32, nonnegative=nonnegative)[0]
    slope = torch.zeros(1, 9, 17)
    slope[0, 2, 3] = slope[0, 8, 16] = math.nan
    steps.image_step(slope)
    assert steps.image.isnan().nonzero().tolist() == [[0, 2, 3], [0, 8, 16]]


@pytest.mark.parametrize("kind", [VariationSteps, CompiledVariationSteps])
def test_a_weight_below_single_precision_does_not_divide_by_zero(kind):
    steps, matrix = problem(kind, (9, 17), 1, torch.float32, weight=1e-60)
    steps.x.zero_()
    assert iterate(steps, matrix).q_new.isfinite().all()


def test_choice():
    def kind(*shape):
        return type(problem(variation_steps, shape, 1, torch.float32)[0])

    assert kind(4, 5) is CompiledVariationSteps
    assert kind(4) is kind(4, 2, 3) is VariationSteps


@pytest.mark.parametrize("nonnegative", [False, True])
def test_reconstructions_and_certificates_are_the_same(nonnegative, monkeypatch):
    rng = np.random.default_rng(1)
    operator = DenseOperator(rng.standard_normal((40, 11 * 18)), (11, 18), (40,))
    y = torch.from_numpy(rng.standard_normal((2, 40)))
    results = []
    for _ in range(2):
        states = []
        x = total_variation(
            y,
            operator,
            weight=1.0,
            iterations=50,
            nonnegative=nonnegative,
            callback=states.append,
        )
        results.append((x, states[-1].objective, states[-1].gap, states[-1].residual))
        monkeypatch.setattr(primal_dual, "variation_steps", VariationSteps)
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-10)
