"""Comparisons as text: CSV for programs, Markdown for documents, cells for any other table."""

from __future__ import annotations

import csv
import io
import math
from typing import NamedTuple

from tomolearn.evaluation.metrics import STANDARD
from tomolearn.evaluation.results import Comparison, listed
from tomolearn.metrics import DataRange, Summary

_RANGES = {"reference": "max − min", "reference-max": "max"}


class _Column(NamedTuple):
    heading: str
    metric: str
    form: str


def card_metrics(comparison: Comparison) -> dict[str, float | int | str]:
    """Return what a card of weights says about the first method of a comparison."""
    metrics, convention = comparison.rows[0].metrics, comparison.task.convention
    return {
        "psnr": round(metrics["psnr"].mean, 3),
        "psnr_std": round(metrics["psnr"].std, 3),
        "ssim": round(metrics["ssim"].mean, 4),
        "ssim_std": round(metrics["ssim"].std, 4),
        "convention": f"{convention.name}: PSNR with range {convention.psnr_range}, "
        f"SSIM with range {convention.ssim_range}",
        "ssim_range_1": round(metrics["ssim_range_1"].mean, 4),
        "test_pairs": comparison.rows[0].n,
    }


def csv_table(comparison: Comparison) -> str:
    """Return a comparison as CSV: means, standard deviations, median times, all with all digits.

    The columns are those of `Row.metrics`, "pairs" the number of images that a method has.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = comparison.rows[0].metrics
    columns = [f"{name}_{average}" for name in names for average in ("mean", "std")]
    writer.writerow(["method", "pairs", *columns, "milliseconds", "parameters"])
    for row in comparison.rows:
        averages = [x for summary in row.metrics.values() for x in (summary.mean, summary.std)]
        writer.writerow([row.method, row.n, *averages, row.milliseconds, row.n_parameters])
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
    return ["method", *(column.heading for column in _columns(comparison)), "ms", "parameters"]


def text_rows(comparison: Comparison) -> list[list[str]]:
    """Return the texts of each method: name, metrics, time and number of learned parameters.

    The metrics are those of the task's convention, then those with data range 1, unless they are
    the same, then those that were asked for.
    """
    columns = _columns(comparison)
    return [
        [
            row.method,
            *(_average(row.metrics[column.metric], column.form) for column in columns),
            _time(row.milliseconds),
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
    text = (
        f"Means{spread} over {comparison.n} {pairs} of the {comparison.split} split of "
        f"{comparison.task.name}; PSNR in dB; L is the data range{clipped}. Time: median per "
        f"image, one at a time after a warm-up call, on {comparison.device}."
    )
    if comparison.skipped:
        number = "1 pair does" if len(comparison.skipped) == 1 else f"{len(comparison.skipped)} do"
        text += f" {number} not count: {listed(comparison.skipped)}."
    for row in comparison.rows:
        if row.failures:
            text += f" {row.method} has no image of {len(row.failures)}: {listed(row.failures)}."
    if any(summary.n_exact for row in comparison.rows for summary in row.metrics.values()):
        text += " Exact images, whose PSNR is infinite, are counted and not averaged."
    return text


def _columns(comparison: Comparison) -> list[_Column]:
    convention = comparison.task.convention
    clipped = "" if convention.clip is None else ", clipped"
    psnr, ssim = range_text(convention.psnr_range), range_text(convention.ssim_range)
    columns = [
        _Column(f"PSNR (L = {psnr}{clipped})", "psnr", ".2f"),
        _Column(f"SSIM (L = {ssim}{clipped})", "ssim", ".3f"),
    ]
    if convention.psnr_range != 1 or clipped:
        columns.append(_Column("PSNR (L = 1)", "psnr_range_1", ".2f"))
    if convention.ssim_range != 1 or clipped:
        columns.append(_Column("SSIM (L = 1)", "ssim_range_1", ".3f"))
    others = (name for name in comparison.rows[0].metrics if name not in STANDARD)
    return [*columns, *(_Column(name, name, ".4g") for name in others)]


def _time(milliseconds: float) -> str:
    if math.isnan(milliseconds):
        return "–"
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def range_text(data_range: DataRange) -> str:
    """Return a data range in words."""
    return _RANGES[data_range] if isinstance(data_range, str) else f"{data_range:g}"


def _average(summary: Summary, form: str) -> str:
    if summary.n == 0:
        return "–"
    text = f"{summary.mean:{form}}"
    if summary.n - summary.n_exact > 1:
        text += f" ± {summary.std:{form}}"
    notes = [f"n = {summary.n}"] if summary.n < summary.values.numel() else []
    if summary.n_exact:
        notes.append(f"{summary.n_exact} exact")
    return f"{text} ({', '.join(notes)})" if notes else text
