"""Comparisons of methods, their figures and tables, speed; and the metrics that they use."""

from tomolearn.evaluation.comparison import Comparison, Row, compare
from tomolearn.evaluation.methods import TrainedElsewhereWarning
from tomolearn.metrics import (
    CONVENTIONS,
    Evaluation,
    MetricConvention,
    Summary,
    evaluate,
    psnr,
    regressed_snr,
    ssim,
)

__all__ = [
    "CONVENTIONS",
    "Comparison",
    "Evaluation",
    "MetricConvention",
    "Row",
    "Summary",
    "TrainedElsewhereWarning",
    "compare",
    "evaluate",
    "psnr",
    "regressed_snr",
    "ssim",
]
