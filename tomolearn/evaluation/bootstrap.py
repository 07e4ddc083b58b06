"""Paired bootstrap: confidence intervals of mean scores and of their differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import TomolearnError

_CHUNK = 2**22  # indices that are drawn at once


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Parameters
    ----------
    mean, low, high : float
        Mean and ends; the ends are not numbers where fewer than two values are.
    """

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Return the three numbers, ready for JSON, None for what is no number."""
        return {key: value if math.isfinite(value) else None for key, value in vars(self).items()}


def paired_bootstrap(
    scores: Mapping[str, Sequence[float]],
    *,
    reference: str | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return confidence intervals of mean scores, by methods that were judged on the same pairs.

    Pairs are drawn with replacement, the same ones for all methods, so that with a reference what
    makes a pair difficult for both falls out of the difference. Ends are percentiles, at levels
    that are widened for small numbers of pairs as Student's t would be [1]_; without it ten pairs
    give 90 % in place of 95.

    Parameters
    ----------
    scores : mapping of str to sequence of float
        One score of each pair for each method, in the same order. What is not finite, of a pair
        that a method has no image of, is left out.
    reference : str, optional
        Return means of the differences to this method.
    level : float
        Probability with which the interval is to cover, between 0 and 1.
    resamples, seed : int
        Number of draws, and the seed of the generator.

    Raises
    ------
    TypeError, ValueError
        If there are no scores, their numbers differ, the reference is not among them, or `level`
        is not between 0 and 1.

    References
    ----------
    .. [1] T. C. Hesterberg, "What teachers should know about the bootstrap: resampling in the
       undergraduate statistics curriculum", Am. Stat. 69 (2015), arXiv:1411.5279
    """
    level = check_float("level", level, positive=True)
    if level >= 1:
        raise TomolearnError(f"level: expected a number below 1, got {level}")
    check_int("resamples", resamples, minimum=100)
    check_int("seed", seed, minimum=0)
    values = {name: np.asarray(one, dtype=np.float64) for name, one in scores.items()}
    lengths = {name: one.shape for name, one in values.items()}
    if not values or len(set(lengths.values())) > 1 or next(iter(lengths.values())) == (0,):
        raise TomolearnError(f"scores: expected as many of each method, got {lengths or 'none'}")
    if reference is not None:
        check_choice("reference", reference, tuple(values))
        values = {name: one - values[reference] for name, one in values.items()}
    table = np.stack(list(values.values()))
    table[~np.isfinite(table)] = np.nan
    means = _resampled_means(table, resamples, np.random.default_rng(seed))
    return {
        name: _interval(one, drawn, level)
        for name, one, drawn in zip(values, table, means, strict=True)
    }


def _resampled_means(
    table: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the mean of each row (methods, pairs) over the same resampled pairs."""
    n = table.shape[1]
    there = np.isfinite(table)
    filled = np.where(there, table, 0.0)
    found = np.empty((len(table), resamples))
    step = max(1, _CHUNK // n)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        drawn = rng.integers(n, size=(stop - start, n))
        for row, (value, known) in enumerate(zip(filled, there, strict=True)):
            number = known[drawn].sum(1)
            with np.errstate(invalid="ignore"):
                found[row, start:stop] = value[drawn].sum(1) / number
    return found


def _interval(values: NDArray[np.float64], means: NDArray[Any], level: float) -> Interval:
    known = values[np.isfinite(values)]
    n = len(known)
    mean = float(known.mean()) if n else math.nan
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    from scipy.stats import norm, t

    outside = norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf((1 + level) / 2, n - 1))
    low, high = np.nanquantile(means, [outside, 1 - outside])
    return Interval(mean, float(low), float(high))
