"""Weights chosen without the truth, against the best one with it, closed forms, and mistakes."""

import math

import numpy as np
import pytest
import torch

import tomolearn as tl
from tomolearn.data import RandomEllipses
from tomolearn.methods import Tikhonov, TotalVariation
from tomolearn.metrics import psnr

GRID = tl.Grid((24, 24))
A = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 40))
NOISE = 0.3


@pytest.fixture(scope="module")
def pair():
    truth = torch.from_numpy(RandomEllipses()((24, 24), np.random.default_rng(3))).float()
    rng = torch.Generator().manual_seed(3)
    y = A(truth)
    return truth, y + NOISE * torch.randn(y.shape, generator=rng)


def quality(weight, truth, y):
    x = tl.total_variation(y, A, weight=weight, iterations=300)
    return float(psnr(x, truth, data_range="reference"))


@pytest.mark.parametrize(
    ("rule", "known", "loss"),
    [
        ("left-out-views", {}, 0.3),
        # the principle is known to smooth too much: by 0.5 to 2.3 dB on such images, measured
        ("discrepancy", {"noise_level": NOISE}, 2.0),
    ],
)
def test_chosen_weight_is_nearly_the_best(pair, rule, known, loss):
    truth, y = pair
    choice = tl.choose_weight(TotalVariation(iterations=300), y, A, rule=rule, **known)
    assert choice.rule == rule
    assert list(choice.weights) == sorted(choice.weights)
    assert len(choice.weights) == len(choice.errors) <= 14
    found = quality(choice.weight, truth, y)
    optimum = max(quality(weight, truth, y) for weight in np.geomspace(0.2, 20, 16))
    assert found > optimum - loss
    # it is no accident: much more or less is worse than either rule may be
    for other in (choice.weight / 20, choice.weight * 20):
        assert quality(other, truth, y) < optimum - 2


def test_discrepancy_is_met(pair):
    _, y = pair
    choice = tl.choose_weight(
        Tikhonov(weight=1.0, iterations=200), y, A, rule="discrepancy", noise_level=NOISE, tau=1.1
    )
    x = tl.tikhonov(y, A, weight=choice.weight, iterations=200)
    residual = float((A(x) - y).norm())
    assert residual == pytest.approx(1.1 * NOISE * math.sqrt(y.numel()), rel=0.02)
    assert choice.target == pytest.approx(1.1 * NOISE)
    # residuals grow with the weight
    assert list(choice.errors) == sorted(choice.errors)


def test_photons_say_what_the_noise_is(pair):
    _, y = pair
    y = y / 50
    level = math.sqrt(float((torch.exp(y.double()) / 1e3).clamp(max=1).mean()))
    method = Tikhonov(weight=1.0, iterations=100)
    by_photons = tl.choose_weight(method, y, A, rule="discrepancy", photons=1e3)
    by_level = tl.choose_weight(method, y, A, rule="discrepancy", noise_level=level)
    assert by_photons.weight == pytest.approx(by_level.weight)


def test_units_scale_the_weight_of_total_variation(pair):
    _, y = pair
    method = TotalVariation(iterations=100)
    one, ten = (tl.choose_weight(method, factor * y, A).weight for factor in (1, 10))
    assert ten == pytest.approx(10 * one, rel=1e-3)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("fbp", {}, "method: expected one with a weight, such as tv, .*, got fbp"),
        ("tv", {"rule": "l-curve"}, "rule: expected one of left-out-views, discrepancy"),
        ("tv", {"rule": "discrepancy"}, "noise_level: expected it or photons"),
        ("tv", {"noise_level": 1.0, "photons": 1e3}, "noise_level: expected it or photons, got b"),
        ("tv", {"parts": 41}, "parts: expected at most the 40 views, got 41"),
        ("tv", {"accuracy": 1.0}, "accuracy: expected a factor above 1"),
        (
            "tv(iterations=20)",
            {"rule": "discrepancy", "noise_level": 1e3},
            "no image would have one as large",
        ),
        (
            "tikhonov(weight=1, iterations=20)",
            {"rule": "discrepancy", "noise_level": 1e-3},
            "the noise is more, tau larger, or more iterations",
        ),
    ],
)
def test_mistakes(pair, method, options, message):
    with pytest.raises(ValueError, match=message):
        tl.choose_weight(method, pair[1], A, **options)


def test_views_need_a_scan_and_noise_has_to_be_there(pair):
    D = tl.FiniteDifferences((8, 8))
    with pytest.raises(TypeError, match=r"operator: expected a RayTransform, .* takes any"):
        tl.choose_weight("tv", torch.rand(D.range_shape), D)
    with pytest.raises(ValueError, match="sinogram: expected one with noise"):
        tl.choose_weight("tv", torch.zeros(A.range_shape), A)


def test_weights_of_measured_values(pair):
    _, y = pair
    method = Tikhonov(weight=1.0, iterations=60)
    plain = tl.choose_weight(method, y, A)
    ones = tl.choose_weight(method, y, A, weights=torch.ones(y.shape))
    assert ones.weight == pytest.approx(plain.weight)
    # noise that varies, and dead bins in which anything stands
    w = torch.linspace(0.2, 5, y.shape[1]).expand(y.shape).clone()
    w[:, 12] = w[7, 3:9] = 0.0
    noisy = A(pair[0]) + (y - A(pair[0])) / w.clamp(min=0.1).sqrt()
    spoiled = torch.where(w > 0, noisy, math.nan)
    choices = [
        tl.choose_weight(method, data, A, weights=w, rule=rule, **known)
        for rule, known in (("left-out-views", {}), ("discrepancy", {"noise_level": NOISE}))
        for data in (noisy, spoiled)
    ]
    assert choices[0] == choices[1]
    assert choices[2] == choices[3]
    x = tl.tikhonov(spoiled, A, weight=choices[2].weight, iterations=60, weights=w)
    residual = float((w.sqrt() * (A(x) - noisy)).norm())
    assert residual == pytest.approx(NOISE * math.sqrt(int((w > 0).sum())), rel=0.02)
    with pytest.raises(ValueError, match="photons: expected noise_level with weights"):
        tl.choose_weight(method, y, A, weights=w, photons=1e4, rule="discrepancy")
