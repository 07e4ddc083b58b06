"""Handcrafted regularisers against other libraries, dense minimisation and what they are for."""

import math
from itertools import product

import numpy as np
import pytest
import pywt
import torch
from scipy.optimize import minimize

from tomolearn.operators import FiniteDifferences
from tomolearn.priors import (
    Box,
    DirectionalTotalVariation,
    HuberTotalVariation,
    ShiftInvariantWavelets,
    SquaredDifferences,
    SquaredNorm,
    TotalGeneralisedVariation,
    TotalVariation,
    Wavelets,
)
from tomolearn.priors.wavelets import WaveletTransform, orthogonal_filters

SHAPE = (8, 7)
FINE = {"tolerance": 1e-4, "max_iterations": 50_000}


def images(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def forward(image, axis):
    """Differences to the next pixel, by slices, and one row of zeros."""
    return image.diff(dim=axis, append=image.narrow(axis, image.shape[axis] - 1, 1))


def rounded_length(vectors, rounding):
    """Sum of lengths along the first axis, rounded off where they are short."""
    return (vectors.square().sum(0) + rounding**2).sqrt().sum()


def minimised(function, start):
    """Minimise a smooth function of a tensor by SciPy, with torch's gradient."""

    def both(flat):
        x = torch.from_numpy(flat).reshape(start.shape).requires_grad_()
        value = function(x)
        (slope,) = torch.autograd.grad(value, x)
        return value.item(), slope.numpy().ravel()

    options = {"maxiter": 2000, "maxfun": 2000, "ftol": 1e-14, "gtol": 1e-9, "maxcor": 50}
    found = minimize(both, start.numpy().ravel(), jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x).reshape(start.shape)


def plain_variation(x, rounding):
    return rounded_length(torch.stack([forward(x, 0), forward(x, 1)]), rounding)


def anisotropic(x, rounding):
    return sum(rounded_length(w * forward(x, k)[None], rounding) for k, w in ((0, 1.0), (1, 0.4)))


def directional(x, rounding):
    rows, columns = forward(x, 0), forward(x, 1)
    along = math.cos(0.7) * rows + math.sin(0.7) * columns
    across = -math.sin(0.7) * rows + math.cos(0.7) * columns
    return rounded_length(torch.stack([along, 0.3 * across]), rounding)


def huber(x, rounding):
    lengths = (forward(x, 0).square() + forward(x, 1).square() + 1e-300).sqrt()
    return torch.where(lengths <= 0.5, lengths.square(), lengths - 0.25).sum()


@pytest.mark.parametrize(
    ("regulariser", "definition"),
    [
        (TotalVariation(**FINE), plain_variation),
        (TotalVariation(norm="anisotropic", weights=(1.0, 0.4), **FINE), anisotropic),
        (DirectionalTotalVariation(angle=0.7, anisotropy=0.3, **FINE), directional),
        (HuberTotalVariation(delta=0.5, **FINE), huber),
    ],
    ids=["isotropic", "anisotropic", "directional", "Huber"],
)
def test_proximal_point_is_that_of_a_dense_minimisation(regulariser, definition, rng):
    z, step = images(rng, *SHAPE), 0.3
    torch.testing.assert_close(regulariser(z), definition(z, 0.0))
    expected = z
    for rounding in (1e-1, 1e-2, 1e-3, 1e-4):  # each starts where the last one ended

        def objective(x, rounding=rounding):
            return (x - z).square().sum() / 2 + step * definition(x, rounding)

        expected = minimised(objective, expected)
    # rounding adds at most its size to each pixel's length, and the objective is strongly convex
    slack = math.sqrt(2 * step * 2 * z.numel() * 1e-4)
    found = regulariser.proximal(z, step)
    assert float((found - expected).norm()) < slack + 1e-4 * float(z.norm())
    assert float(objective(found)) <= float(objective(expected)) + step * 2 * z.numel() * 1e-4


def second_order(image, field, rounding):
    """Weighted lengths of the first and second order, by slices of what the field has."""
    rows, columns = image.shape
    a, b = field[0, :-1], field[1, :, :-1]  # of the differences along rows and columns
    first = torch.zeros(2, rows, columns, dtype=torch.float64)
    first[0, :-1] = image.diff(dim=0) - a
    first[1, :, :-1] = image.diff(dim=1) - b
    second = torch.zeros(3, rows, columns, dtype=torch.float64)
    second[0, 1:-1] = a.diff(dim=0)
    second[1, :, 1:-1] = b.diff(dim=1)
    second[2, :-1, 1:] += a.diff(dim=1) / math.sqrt(2)
    second[2, 1:, :-1] += b.diff(dim=0) / math.sqrt(2)
    return rounded_length(first, rounding) + 2 * rounded_length(second, rounding)


def test_generalised_variation_is_that_of_a_dense_minimisation(rng):
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in SHAPE)
    z, step = 0.1 * rows[:, None] * columns + 0.1 * images(rng, *SHAPE), 0.1
    regulariser = TotalGeneralisedVariation(tolerance=1e-3, max_iterations=20_000)
    both, field = torch.cat((z[None], torch.zeros(2, *SHAPE))), torch.zeros(2, *SHAPE).double()
    for rounding in (1e-1, 1e-2, 1e-3):

        def objective(xv, rounding=rounding):
            fit = (xv[0] - z).square().sum() / 2
            return fit + step * second_order(xv[0], xv[1:], rounding)

        both = minimised(objective, both)
        field = minimised(lambda v, rounding=rounding: second_order(z, v, rounding), field)
    slack = 3 * z.numel() * 1e-3
    variation = float(TotalVariation()(z))
    value = float(regulariser(z))
    assert value == pytest.approx(float(second_order(z, field, 0.0)), abs=slack + 1e-3 * variation)
    assert value < 0.7 * variation  # so that the field matters
    distance = float((regulariser.proximal(z, step) - both[0]).norm())
    assert distance < math.sqrt(2 * step * slack) + 1e-3 * float(z.norm())


@pytest.mark.parametrize("shape", [(9, 8), (5, 6, 7)])
def test_affine_images_have_no_generalised_variation(shape):
    regulariser = TotalGeneralisedVariation(ndim=len(shape), spacing=[1.0, 2.0, 0.7][: len(shape)])
    axes = [torch.arange(n, dtype=torch.float64) for n in shape]
    slopes = (0.3, -0.7, 0.2)
    ramp = sum(a * x for a, x in zip(slopes, torch.meshgrid(*axes, indexing="ij"), strict=False))
    size = float(TotalVariation(ndim=len(shape))(ramp))
    assert float(regulariser(ramp + 5)) < 1e-12 * size
    # and stay as they are
    clean = regulariser.proximal(ramp, 0.5)
    assert float((clean - ramp).norm()) <= 1e-2 * float(ramp.norm())


def test_ramps_have_no_staircases(rng):
    rows = torch.linspace(0, 1, 48, dtype=torch.float64)
    ramp = rows[:, None].expand(48, 24)
    noisy = ramp + 0.05 * images(rng, 48, 24)

    def flat_share(image):
        """Share of steps that are less than a tenth of the slope, away from the border."""
        return float((image.diff(dim=0)[2:-2].abs() < 0.1 / 47).double().mean())

    stairs = TotalVariation(tolerance=3e-3).proximal(noisy, 0.3)
    smooth = TotalGeneralisedVariation(tolerance=3e-3).proximal(noisy, 0.3)
    assert flat_share(stairs) > 0.1
    assert flat_share(smooth) == 0.0
    assert float((smooth - ramp).norm()) < float((stairs - ramp).norm()) / 3


def test_piecewise_affine_images_are_denoised_3_db_better_than_by_total_variation(rng):
    rows, columns = torch.meshgrid(
        *2 * (torch.linspace(-1, 1, 48, dtype=torch.float64),), indexing="ij"
    )
    # two planes that meet in a crease, and in a jump
    planes = torch.where(columns < 0, rows, (columns - rows) / 2)
    noisy = planes + 0.1 * images(rng, 48, 48)

    def best(prior):
        errors = [
            (prior.proximal(noisy, weight) - planes).square().mean() for weight in (0.08, 0.12, 0.2)
        ]
        # the smallest is no end of the weights
        assert min(errors) == errors[1]
        return float(min(errors))

    generalised = best(TotalGeneralisedVariation(tolerance=3e-3))
    assert generalised < best(TotalVariation(tolerance=3e-3)) / 10**0.3


@pytest.mark.parametrize(
    ("shape", "wavelet", "levels"),
    [((16, 24), "db4", 2), ((8, 8), "db10", 3), ((8, 16, 12), "sym5", 2), ((16, 16), "haar", 4)],
)
@pytest.mark.filterwarnings("ignore:Level value")
def test_wavelet_coefficients_are_those_of_pywavelets(shape, wavelet, levels, rng):
    x = images(rng, 2, *shape)
    W = WaveletTransform(shape, wavelet, levels)
    for image, coefficients in zip(x, W(x), strict=True):
        expected = pywt.wavedecn(image.numpy(), wavelet, "periodization", levels)
        packed, _ = pywt.coeffs_to_array(expected)
        np.testing.assert_allclose(coefficients.numpy(), packed, atol=1e-12)
    # their filters are orthogonal to about 1e-12
    torch.testing.assert_close(W.T(W(x)), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("wavelet", ["haar", "db5"])
def test_shift_invariant_wavelets_are_the_mean_over_all_shifts(wavelet, rng):
    x = images(rng, 2, 8, 12)
    settings = {"wavelet": wavelet, "levels": 2, "weights": (1.0, 0.3)}
    plain = Wavelets(**settings)
    shifted = [plain(x.roll(shift, (1, 2))) for shift in product(range(4), repeat=2)]
    torch.testing.assert_close(
        ShiftInvariantWavelets(**settings)(x), torch.stack(shifted).mean(0), rtol=1e-10, atol=0
    )


def test_which_wavelets_are_orthogonal():
    for name in pywt.wavelist(kind="discrete"):
        if name.startswith(("bior", "rbio")) or name == "dmey":
            if name in ("bior1.1", "rbio1.1"):  # Haar's
                continue
            with pytest.raises(ValueError, match="wavelet: expected an orthogonal one"):
                orthogonal_filters(name)
        else:
            orthogonal_filters(name)


def test_direction_is_that_of_the_angle(rng):
    x = images(rng, *SHAPE)
    rows = torch.arange(6, dtype=torch.float64)[:, None].expand(6, 9)
    # differences along the rows' axis, angle zero, count once; turned by a right angle, 0.2
    for angle, share in ((0.0, 1.0), (math.pi / 2, 0.2)):
        value = DirectionalTotalVariation(angle=angle, anisotropy=0.2)(rows)
        assert float(value) == pytest.approx(share * 5 * 9)
    same = DirectionalTotalVariation(angle=0.4, anisotropy=1.0)
    torch.testing.assert_close(same(x), TotalVariation()(x))


def test_spacing_scales_squared_differences(rng):
    x = images(rng, 4, 5)
    D = FiniteDifferences((4, 5), (0.5, 2.0))  # of geometric mean one
    torch.testing.assert_close(SquaredDifferences(spacing=(1.0, 4.0))(x), D(x).square().sum() / 2)


def test_bounds_have_the_slack_of_rounding():
    box = Box(lower=0.0, upper=1.0)
    inside = torch.tensor([[-1e-8, 1 + 1e-7]])
    assert float(box(inside)) == 0.0
    assert float(box(inside - 1e-4)) == math.inf
    assert float(box(inside + 1e-4)) == math.inf
    assert float(Box(lower=None, upper=2.0)(-1e9 * inside)) == 0.0


def test_certificates():
    assert SquaredNorm().convexity == 1.0
    assert Wavelets().lipschitz(SHAPE) is None
    assert HuberTotalVariation(delta=0.5).lipschitz((2, 1)) == pytest.approx(2 / 0.5)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: TotalVariation(weights=(1.0, 0.0)), r"weights\[1\]: expected a positive"),
        (lambda: TotalVariation(weights=(1.0,)), "weights: expected 2 finite numbers"),
        (lambda: TotalVariation(norm="l1"), "norm: expected one of isotropic, anisotropic"),
        (lambda: HuberTotalVariation(delta=0.0), "delta: expected a positive number"),
        (lambda: TotalGeneralisedVariation(ratio=-1.0), "ratio: expected a positive number"),
        (lambda: DirectionalTotalVariation(anisotropy=2.0), r"anisotropy: expected .* \(0, 1\]"),
        (lambda: Box(lower=2.0, upper=1.0), "lower: expected at most upper, 1.0, got 2.0"),
        (lambda: Box(lower=None), "lower: expected a bound"),
        (lambda: Wavelets(wavelet="db99"), "wavelet: expected the name of an orthogonal wavelet"),
        (lambda: Wavelets(levels=2, weights=(1.0,)), "weights: expected one for each of 2 levels"),
        (lambda: Wavelets(levels=1, weights=(-1.0,)), r"weights\[0\]: expected a non-negative"),
        (lambda: Wavelets()(torch.zeros(8, 12)), "expected multiples of 8 with 3 levels"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_iterations_that_did_not_suffice_are_told(rng):
    few = TotalGeneralisedVariation(tolerance=1e-6, max_iterations=3)
    z = images(rng, 9, 9)
    with pytest.warns(UserWarning, match="after 3 iterations a proximal point is known to"):
        few.proximal(z, 1.0)
    with pytest.warns(UserWarning, match="after 3 iterations a value is known to"):
        few(z)
