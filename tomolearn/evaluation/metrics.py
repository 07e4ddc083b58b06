"""Metrics of a comparison: those that every one has, and those of users and other packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.metrics import (
    METRICS,
    Metric,
    MetricConvention,
    Summary,
    evaluate,
    regressed_snr,
    without_metrics,
)

STANDARD = ("psnr", "ssim", "psnr_range_1", "ssim_range_1", "regressed_snr")
"""What is always measured: under the task's convention, with data range 1, after regression."""


def named(argument: str, given: Any, values: str) -> list[tuple[Any, Any]]:
    """Return pairs of a name and a value from what `evaluation.compare` is given."""
    if isinstance(given, str) or not isinstance(given, (Sequence, Mapping)):
        raise TomolearnTypeError(
            f"{argument}: expected a list of names or a mapping of names to {values}, "
            f"got {given!r} ({type(given).__name__})"
        )
    return list(given.items()) if isinstance(given, Mapping) else [(name, name) for name in given]


def choose_metrics(metrics: Sequence[str] | Mapping[str, str | Metric]) -> dict[str, Metric]:
    """Return the metrics that `evaluation.compare` is given."""
    pairs = dict(named("metrics", metrics, "functions"))
    for name in pairs:
        if name in STANDARD:
            raise TomolearnError(f"metrics: expected others than the standard ones, got {name!r}")
    return {
        name: METRICS.find(value) if isinstance(value, str) else METRICS.check(name, value)
        for name, value in pairs.items()
    }


def measure(
    image: torch.Tensor,
    truth: torch.Tensor,
    convention: MetricConvention,
    metrics: Mapping[str, Metric],
) -> dict[str, float]:
    """Return all metrics of one image, shape (1, 1, ...), on the CPU."""
    # of a volume the mean over the slices that have metrics
    has_metrics = [reason is None for reason in without_metrics(truth, convention)]
    x, y = (one.reshape(-1, *one.shape[-2:])[has_metrics] for one in (image, truth))
    own, plain = evaluate(x, y, convention), evaluate(x, y, "range-1")
    values = (
        own.psnr.mean,
        own.ssim.mean,
        plain.psnr.mean,
        plain.ssim.mean,
        Summary(regressed_snr(x, y)).mean,
    )
    found = dict(zip(STANDARD, values, strict=True))
    for name, metric in metrics.items():
        value = metric(image[0, 0].clone(), truth[0, 0].clone())
        try:
            found[name] = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TomolearnTypeError(f"{name}: expected a number, got {value!r}") from error
    return found
