"""Tables: every number is that of the comparison, in its column."""

import csv
import io

import pytest
from small_task import small_task

from tomolearn.evaluation import compare
from tomolearn.evaluation.tables import csv_table, headings, markdown_table, note, text_rows
from tomolearn.metrics import CONVENTIONS, MetricConvention


def compared(images=2, metrics=(), **changes):
    methods = {"F|B|P": "fbp", "tv": "tv"}
    return compare(small_task(**changes), methods, images=images, metrics=metrics)


def test_csv_has_all_digits():
    comparison = compared()
    lines = list(csv.DictReader(io.StringIO(csv_table(comparison))))
    for line, row in zip(lines, comparison.rows, strict=True):
        expected = {"pairs": 2, "milliseconds": row.milliseconds, "parameters": 0}
        for name, summary in row.metrics.items():
            expected |= {f"{name}_mean": summary.mean, f"{name}_std": summary.std}
        assert line.pop("method") == row.method
        assert {key: float(value) for key, value in line.items()} == expected


def test_markdown_is_a_table_with_a_note():
    comparison = compared()
    head, rule, *body = markdown_table(comparison).splitlines()
    assert head == (
        "| method | PSNR (L = max − min) | SSIM (L = 2) | PSNR (L = 1) | SSIM (L = 1) | ms "
        "| parameters |"
    )
    assert rule.count("---") == 7
    row = comparison.rows[1]
    assert body[0].startswith("| F\\|B\\|P | ")
    assert body[1].startswith(
        f"| tv | {row.metrics['psnr'].mean:.2f} ± {row.metrics['psnr'].std:.2f} | "
    )
    assert f" | {row.metrics['ssim_range_1'].mean:.3f} ± " in body[1]
    assert body[2:] == ["", note(comparison)]


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        (CONVENTIONS["adler"], ["PSNR (L = 1)", "SSIM (L = 2)", "SSIM (L = 1)"]),
        (CONVENTIONS["range-1"], ["PSNR (L = 1)", "SSIM (L = 1)"]),
        (
            CONVENTIONS["lunz"],
            ["PSNR (L = 1, clipped)", "SSIM (L = 1, clipped)", "PSNR (L = 1)", "SSIM (L = 1)"],
        ),
        (
            MetricConvention("x", psnr_range="reference-max", ssim_range=1),
            ["PSNR (L = max)", "SSIM (L = 1)", "PSNR (L = 1)"],
        ),
    ],
)
def test_no_metric_comes_twice(convention, expected):
    comparison = compared(convention=convention)
    assert headings(comparison) == ["method", *expected, "ms", "parameters"]
    assert {len(row) for row in text_rows(comparison)} == {len(expected) + 3}


def test_one_pair_has_no_spread():
    comparison = compared(images=1)
    assert "±" not in markdown_table(comparison)
    assert note(comparison).startswith("Means over 1 pair of the test split of small; PSNR in dB")


def test_note_says_what_was_done():
    text = note(compared(convention=CONVENTIONS["lunz"]))
    assert "Means and standard deviations over 2 pairs of the test split of small" in text
    assert "after clipping to [0, 1]" in text
    assert "median per image, one at a time after a warm-up call, on cpu" in text


def test_metrics_that_were_asked_for_come_last():
    comparison = compared(metrics=["rmse"])
    assert headings(comparison)[-3:] == ["rmse", "ms", "parameters"]
    rmse = comparison.rows[0].metrics["rmse"]
    assert text_rows(comparison)[0][-3] == f"{rmse.mean:.4g} ± {rmse.std:.4g}"
    line = next(csv.DictReader(io.StringIO(csv_table(comparison))))
    assert float(line["rmse_mean"]) == rmse.mean
