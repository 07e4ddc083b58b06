"""Metrics with their conventions."""

from tomolearn.evaluation.metrics import (
    CONVENTIONS,
    Evaluation,
    MetricConvention,
    Summary,
    evaluate,
    psnr,
    ssim,
)

__all__ = [
    "CONVENTIONS",
    "Evaluation",
    "MetricConvention",
    "Summary",
    "evaluate",
    "psnr",
    "ssim",
]
