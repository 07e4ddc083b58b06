"""Comparisons as text: CSV for programs, Markdown for documents, cells for any other table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import NamedTuple

from tomolearn.evaluation.comparison import Comparison, Row
from tomolearn.metrics import DataRange, MetricConvention, Summary

__all__ = ["card_metrics", "csv_table", "headings", "markdown_table", "note", "text_rows"]

_RANGES = {"reference": "max − min", "reference-max": "max"}


class _Column(NamedTuple):
    heading: str
    digits: int
    summary: Callable[[Row], Summary]


def card_metrics(comparison: Comparison) -> dict[str, float | int | str]:
    """Return what a card of weights says about the first method of a comparison."""
    row, convention = comparison.rows[0], comparison.task.convention
    return {
        "psnr": round(row.scores.psnr.mean, 3),
        "psnr_std": round(row.scores.psnr.std, 3),
        "ssim": round(row.scores.ssim.mean, 4),
        "ssim_std": round(row.scores.ssim.std, 4),
        "convention": f"{convention.name}: PSNR with range {convention.psnr_range}, "
        f"SSIM with range {convention.ssim_range}",
        "ssim_range_1": round(row.scores_range_1.ssim.mean, 4),
        "test_pairs": comparison.n,
    }


def csv_table(comparison: Comparison) -> str:
    """Return a comparison as CSV: means, standard deviations, median times, all with all digits.

    The columns "psnr" and "ssim" are under the task's convention, "range_1" with data range 1.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    metrics = [
        f"{metric}_{average}"
        for metric in ("psnr", "ssim", "psnr_range_1", "ssim_range_1", "regressed_snr")
        for average in ("mean", "std")
    ]
    writer.writerow(["method", "pairs", *metrics, "milliseconds", "parameters"])
    for row in comparison.rows:
        averages = [
            average
            for summary in (
                row.scores.psnr,
                row.scores.ssim,
                row.scores_range_1.psnr,
                row.scores_range_1.ssim,
                row.regressed_snr,
            )
            for average in (summary.mean, summary.std)
        ]
        writer.writerow([row.method, comparison.n, *averages, row.milliseconds, row.n_parameters])
    return stream.getvalue()


def markdown_table(comparison: Comparison) -> str:
    """Return a comparison as a table in Markdown, and below it what the numbers mean."""
    head = headings(comparison)
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = [head, rule, *text_rows(comparison)]
    cells = ([text.replace("|", "\\|") for text in line] for line in lines)
    return "\n".join(
        [*("| " + " | ".join(line) + " |" for line in cells), "", note(comparison), ""]
    )


def headings(comparison: Comparison) -> list[str]:
    """Return the heads of the columns of `text_rows`."""
    metrics = [column.heading for column in _columns(comparison.task.convention)]
    return ["method", *metrics, "ms", "parameters"]


def text_rows(comparison: Comparison) -> list[list[str]]:
    """Return the texts of each method: name, metrics, time and number of learned parameters.

    The metrics are those of the task's convention, then those with data range 1, unless they are
    the same.
    """
    columns = _columns(comparison.task.convention)
    return [
        [
            row.method,
            *(_average(column.summary(row), column.digits) for column in columns),
            f"{row.milliseconds:,.0f}" if row.milliseconds >= 100 else f"{row.milliseconds:.3g}",
            f"{row.n_parameters:,}",
        ]
        for row in comparison.rows
    ]


def note(comparison: Comparison) -> str:
    """Return a sentence that says what the numbers mean."""
    spread = " and standard deviations" if comparison.n > 1 else ""
    pairs = "pairs" if comparison.n > 1 else "pair"
    clip = comparison.task.convention.clip
    clipped = "" if clip is None else f" after clipping to [{clip[0]:g}, {clip[1]:g}]"
    return (
        f"Means{spread} over {comparison.n} {pairs} of the {comparison.split} split of "
        f"{comparison.task.name}; PSNR in dB; L is the data range{clipped}. Time: median per "
        f"image, one at a time after a warm-up call, on {comparison.device}."
    )


def _columns(convention: MetricConvention) -> list[_Column]:
    clipped = "" if convention.clip is None else ", clipped"
    psnr, ssim = _range(convention.psnr_range), _range(convention.ssim_range)
    columns = [
        _Column(f"PSNR (L = {psnr}{clipped})", 2, lambda row: row.scores.psnr),
        _Column(f"SSIM (L = {ssim}{clipped})", 3, lambda row: row.scores.ssim),
    ]
    if convention.psnr_range != 1 or clipped:
        columns.append(_Column("PSNR (L = 1)", 2, lambda row: row.scores_range_1.psnr))
    if convention.ssim_range != 1 or clipped:
        columns.append(_Column("SSIM (L = 1)", 3, lambda row: row.scores_range_1.ssim))
    return columns


def _range(data_range: DataRange) -> str:
    return _RANGES[data_range] if isinstance(data_range, str) else f"{data_range:g}"


def _average(summary: Summary, digits: int) -> str:
    spread = f" ± {summary.std:.{digits}f}" if summary.n > 1 else ""
    return f"{summary.mean:.{digits}f}{spread}"
