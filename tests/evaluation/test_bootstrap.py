"""Bootstrap intervals cover the true mean as often as they say, on scores whose law is known."""

import math

import numpy as np
import pytest
from scipy.stats import t

from tomolearn.evaluation import paired_bootstrap

TRIALS = 600


def coverage(draw, n: int, mean: float) -> float:
    rng = np.random.default_rng(5)
    # the mapping's methods share their resamples, which does not change the law of each
    found = paired_bootstrap({str(k): draw(rng, n) for k in range(TRIALS)}, resamples=2000)
    return float(np.mean([one.low <= mean <= one.high for one in found.values()]))


@pytest.mark.parametrize(("n", "least"), [(5, 0.87), (10, 0.92), (100, 0.93)])
def test_normal_scores_are_covered(n, least) -> None:
    # three standard deviations of a fraction of 600 trials are 2.7 %; of five pairs resamples have
    # too little to vary
    assert least <= coverage(lambda rng, n: rng.normal(30, 2, n), n, 30) <= 0.98


def test_skewed_scores_are_covered_by_and_large() -> None:
    assert 0.88 <= coverage(lambda rng, n: rng.exponential(1, n), 30, 1) <= 0.97


def test_intervals_are_those_of_students_t_for_many_normal_scores() -> None:
    values = np.random.default_rng(1).normal(30, 2, 60)
    found = paired_bootstrap({"a": values})["a"]
    half = t.ppf(0.975, 59) * values.std(ddof=1) / math.sqrt(60)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(2)
    difficulty = rng.normal(30, 5, 50)
    scores = {"a": difficulty, "b": difficulty + rng.normal(0.3, 0.1, 50)}
    alone, paired = paired_bootstrap(scores), paired_bootstrap(scores, reference="a")
    assert alone["a"].high > alone["b"].low  # means that overlap
    assert paired["b"].low > 0.2
    assert paired["a"].low == paired["a"].high == 0


def test_missing_scores_are_left_out() -> None:
    full, holes = [1.0, 2.0, 3.0, 4.0], [1.0, math.nan, 3.0, math.inf]
    found = paired_bootstrap({"full": full, "holes": holes})
    assert found["holes"].mean == 2
    one = paired_bootstrap({"one": [1.0, math.nan]})["one"]
    assert math.isnan(one.low)
    assert one.to_dict() == {"mean": 1.0, "low": None, "high": None}


def test_the_seed_decides() -> None:
    scores = {"a": list(range(20))}
    assert paired_bootstrap(scores) == paired_bootstrap(scores)
    assert paired_bootstrap(scores) != paired_bootstrap(scores, seed=1)


@pytest.mark.parametrize(
    ("scores", "options", "text"),
    [
        ({}, {}, "scores: expected as many of each method"),
        ({"a": [1.0], "b": [1.0, 2.0]}, {}, "scores: expected as many of each method"),
        ({"a": [1.0, 2.0]}, {"reference": "b"}, "reference: expected one of a, got 'b'"),
        ({"a": [1.0, 2.0]}, {"level": 1.0}, "level: expected a number below 1"),
        ({"a": [1.0, 2.0]}, {"resamples": 3}, "resamples: expected an integer >= 100"),
    ],
)
def test_wrong_arguments(scores, options, text) -> None:
    with pytest.raises(ValueError, match=text):
        paired_bootstrap(scores, **options)
