"""The laws of all regularisers of `helpers/priors.py`."""

import pytest
import torch
from priors import REGULARISERS, Case

import tomolearn as tl
from tomolearn.priors import PRIORS, Regulariser
from tomolearn.priors.composed import ComposedRegulariser

CERTIFIED = {name: case for name, case in REGULARISERS.items() if case.make().convexity is not None}
COMPOSED = {
    name: case
    for name, case in REGULARISERS.items()
    if isinstance(case.make(), ComposedRegulariser)
}

BOUNDED = {
    name: case
    for name, case in REGULARISERS.items()
    if case.make().lipschitz(case.shape) is not None
}


def over(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


def offering(kind):
    return over({name: case for name, case in REGULARISERS.items() if kind in case.kinds})


def images(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def made(case: Case) -> Regulariser:
    torch.manual_seed(0)
    return case.make().double()


def sizes(x, case):
    return x.flatten(x.ndim - len(case.shape)).norm(dim=-1)


def products(x, y, case):
    return (x * y).flatten(x.ndim - len(case.shape)).sum(-1)


def test_every_regulariser_of_the_table_is_tested():
    tested = {type(case.make()) for case in REGULARISERS.values()}
    entered = {kind for kind in PRIORS.values() if issubclass(kind, Regulariser)}
    assert {kind for kind in entered if kind.__module__.startswith("tomolearn.")} <= tested


@over(REGULARISERS)
def test_leading_axes_are_a_batch(case, rng):
    R, x = made(case), images(rng, 2, 3, *case.shape)
    together = R(x).detach()
    assert together.shape == (2, 3)
    # iterations of a batch end together, and each value is known to its accuracy
    tolerance = 2 * case.value_accuracy * float(sizes(x, case).max()) * 10
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(together[i, j], R(x[i, j]), rtol=1e-9, atol=tolerance)


@over(REGULARISERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_precision_of_the_image(case, dtype, rng):
    R, x = made(case), images(rng, 2, *case.shape)
    exact, rounded = R(x).detach(), case.make().to(dtype)
    rounded.load_state_dict({k: v.to(dtype) for k, v in R.state_dict().items()})
    found = rounded(x.to(dtype)).detach()
    assert found.dtype == dtype
    slack = 10 * case.value_accuracy * float(sizes(x, case).max())
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=slack + 1e-12)
    for kind in case.kinds:
        call = rounded.gradient if kind == "gradient" else lambda x: rounded.proximal(x, 0.2)
        reference = R.gradient if kind == "gradient" else lambda x: R.proximal(x, 0.2)
        result = call(x.to(dtype))
        assert result.dtype == dtype
        away = sizes(result.double() - reference(x), case) / sizes(x, case)
        assert float(away.max()) < 2 * case.accuracy + 1e-4


@over(REGULARISERS)
def test_files_bring_the_same_regulariser_back(case, rng, tmp_path):
    R = case.make()
    tl.save(R, tmp_path / "prior")
    again = tl.load(tmp_path / "prior", kind="regulariser")
    assert type(again) is type(R)
    assert again.arguments == R.arguments
    x = images(rng, *case.shape).float()
    torch.testing.assert_close(again(x), R(x))


@over(CERTIFIED)
def test_convexity_holds_on_segments(case, rng):
    R = made(case)
    x, y = images(rng, 12, *case.shape), images(rng, 12, *case.shape)
    x[6:], y[6:] = 0.05 * x[6:], 0.05 * y[6:]  # ridges bend near zero
    m = R.convexity
    slack = 10 * case.value_accuracy * float(sizes(x, case).max()) + 1e-9

    def rest(x):
        return R(x) - m * sizes(x, case).square() / 2

    for part in (0.5, 0.2):
        between = part * x + (1 - part) * y
        assert bool((rest(between) <= part * rest(x) + (1 - part) * rest(y) + slack).all())


@offering("gradient")
def test_gradient_is_that_of_the_value(case, rng):
    R, x, step = made(case), images(rng, 3, *case.shape), 1e-5
    slope = R.gradient(x)
    for _ in range(5):
        d = images(rng, 3, *case.shape)
        expected = (R(x + step * d) - R(x - step * d)) / (2 * step)
        torch.testing.assert_close(products(slope, d, case), expected, rtol=1e-5, atol=1e-5)


@over(BOUNDED)
def test_lipschitz_constant_bounds_the_gradient(case, rng):
    R = made(case)
    bound = R.lipschitz(case.shape)
    d = images(rng, 8, *case.shape)
    largest = 0.0
    with torch.no_grad():
        for scale in (1e-3, 1e-1, 1.0, 10.0):
            x = scale * images(rng, 8, *case.shape)
            # towards the direction that the gradient stretches most
            for _ in range(100 if scale == 1e-3 else 10):
                change = R.gradient(x + scale * d) - R.gradient(x)
                ratio = sizes(change, case) / (scale * sizes(d, case))
                largest = max(largest, float(ratio.max()))
                d = change / sizes(change, case).reshape(-1, *(1,) * len(case.shape))
    assert largest <= bound * (1 + 1e-9)
    if case.linear:
        assert bound <= largest * 1.01


@offering("proximal")
def test_proximal_point_is_a_minimum(case, rng):
    R, z, step = made(case), images(rng, 3, *case.shape), 0.3
    x = R.proximal(z, step)
    known = case.accuracy * sizes(z, case)

    def objective(x):
        return sizes(x - z, case).square() / 2 + step * R(x)

    slack = known.square() / 2 + 10 * case.value_accuracy * sizes(z, case) + 1e-9
    least = objective(x)
    assert bool(least.isfinite().all())
    # the objective is strongly convex: any other point is worse by half its squared distance
    for scale in (1e-3, 1e-2, 1e-1, 1.0):
        away = scale * images(rng, 3, *case.shape)
        distance = (sizes(away, case) - known).clamp_min(0)
        assert bool((objective(x + away) >= least + distance.square() / 2 - slack).all())


@offering("proximal")
def test_proximal_map_is_firmly_nonexpansive(case, rng):
    R = made(case)
    x, y = images(rng, 12, *case.shape), images(rng, 12, *case.shape)
    y[6:] = x[6:] + 0.1 * y[6:]
    p, q = R.proximal(x, 0.4), R.proximal(y, 0.4)
    slack = 4 * case.accuracy * sizes(x - y, case) * (sizes(x, case) + sizes(y, case)) + 1e-9
    assert bool((products(p - q, x - y, case) >= products(p - q, p - q, case) - slack).all())


@offering("proximal")
def test_each_image_has_its_own_step(case, rng):
    R, z = made(case), images(rng, 2, 2, *case.shape)
    steps = torch.tensor([[0.0, 0.1], [0.2, 0.4]])
    together = R.proximal(z, steps)
    torch.testing.assert_close(
        together[0, 0], z[0, 0], rtol=0, atol=1e-11 + case.accuracy * float(z[0, 0].norm())
    )
    for i in range(2):
        for j in range(2):
            alone = R.proximal(z[i, j], float(steps[i, j]))
            distance = float((together[i, j] - alone).norm() / z[i, j].norm())
            assert distance < 2 * case.accuracy + 1e-9


@offering("proximal")
def test_negative_steps_are_refused(case):
    with pytest.raises(ValueError, match="step: expected non-negative"):
        made(case).proximal(torch.zeros(case.shape), -0.1)


@over(COMPOSED)
def test_analysis_has_its_transpose_and_norm(case, rng):
    R = made(case)
    K = R.analysis(case.shape)
    assert K.domain_shape == ((1 + R.extra, *case.shape) if R.extra else case.shape)
    assert len(K.range_shape) == 1 + len(case.shape)
    x, y = images(rng, 2, *K.domain_shape), images(rng, 2, *K.range_shape)
    assert float((K(x) * y).sum()) == pytest.approx(float((x * K.adjoint(y)).sum()), abs=1e-10)
    basis = torch.eye(x[0].numel(), dtype=torch.float64)
    matrix = K(basis.reshape(-1, *K.domain_shape)).flatten(1)
    largest = float(torch.linalg.svdvals(matrix)[0])
    assert largest * (1 - 1e-6) <= K.norm() <= 1.1 * largest


@over(COMPOSED)
def test_value_is_that_of_the_analysis(case, rng):
    R = made(case)
    x = images(rng, 3, *case.shape)
    K = R.analysis(case.shape)
    if R.extra:  # the least of all auxiliary images
        z = images(rng, 3, 1 + R.extra, *case.shape)
        for scale in (0.0, 0.1, 1.0):
            some = torch.cat((x.unsqueeze(1), scale * z[:, 1:]), 1)
            assert bool((R(x) <= R.analysis_value(K(some)) * (1 + case.value_accuracy)).all())
    else:
        torch.testing.assert_close(R(x), R.analysis_value(K(x)))


@over(COMPOSED)
@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_dual_proximal_map_is_that_of_the_conjugate(case, weight, rng):
    R = made(case)
    d = images(rng, 3, *R.analysis(case.shape).range_shape)
    step = 0.6
    p = R.dual_proximal(d, step, weight)
    # optimality is r = (d - p) / step in the subdifferential of the conjugate at p, which is
    # Fenchel's equality
    r = (d - p) / step
    both = weight * R.analysis_value(r) + R.dual_value(p, weight)
    torch.testing.assert_close(both, (r * p).flatten(1).sum(1), rtol=1e-9, atol=1e-9)
    # and Moreau's decomposition
    q = R.analysis_proximal(d, weight)
    torch.testing.assert_close(d - R.dual_proximal(d, 1.0, weight), q)
    for _ in range(3):
        other = q + 0.3 * images(rng, *q.shape)
        worse = (other - d).square().flatten(1).sum(1) / 2 + weight * R.analysis_value(other)
        best = (q - d).square().flatten(1).sum(1) / 2 + weight * R.analysis_value(q)
        assert bool((worse >= best).all())
