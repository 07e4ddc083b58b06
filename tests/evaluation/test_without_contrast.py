"""Images without contrast among others, and images without error: left out, counted, named."""

import csv
import io
import json
import math

import h5py
import numpy as np
import pytest
import torch
from small_task import small_task

import tomolearn as tl
from tomolearn import SkippedImagesWarning
from tomolearn.evaluation import compare
from tomolearn.evaluation.metrics import measure
from tomolearn.evaluation.tables import csv_table, markdown_table, note, text_rows
from tomolearn.metrics import CONVENTIONS, Summary

TASK = small_task()


def fbp(sinogram, operator):
    return tl.fbp(sinogram, operator, filter="hann")


def stored(path, images, task=TASK):
    """Write pairs of these images, each with the sinogram of the task's first pair."""
    sinogram = task.pairs("test")[0][0][0].numpy()
    with h5py.File(path, "w") as file:
        file["sinogram"] = np.stack([sinogram] * len(images))
        file["image"] = np.stack(images).astype(np.float32)
    return path


def blanks():
    truth = TASK.pairs("test")[0][1][0].numpy()
    return {
        "zero": 0 * truth,
        "constant": 0 * truth + 0.3,
        # an interpolation of a constant image is constant but for rounding
        "rounding": 0.3 + 1e-8 * truth,
        "not finite": np.where(truth > 0.5, np.nan, truth),
    }


@pytest.mark.parametrize("blank", blanks())
@pytest.mark.parametrize("position", [0, 1, 2])
def test_it_is_left_out_counted_and_named(blank, position, tmp_path):
    truth = TASK.pairs("test")[0][1][0].numpy()
    images = [truth, 0.8 * truth]
    images.insert(position, blanks()[blank])
    calls = []
    methods = {"fbp": fbp, "mine": lambda y, A: calls.append(y) or fbp(y, A)}
    with pytest.warns(SkippedImagesWarning, match=rf"1 of 3 pairs do not count: {position} \(im"):
        comparison = compare(TASK, methods, data=stored(tmp_path / "pairs.h5", images))
    assert comparison.n == 2
    assert len(calls) == 3
    assert list(comparison.skipped) == [position]
    assert f"1 pair does not count: {position} (image " in note(comparison)
    without = stored(tmp_path / "others.h5", [truth, 0.8 * truth])
    expected = compare(TASK, methods, data=without)
    for row, other in zip(comparison.rows, expected.rows, strict=True):
        for name, summary in row.metrics.items():
            assert summary.values.tolist() == other.metrics[name].values.tolist()
    assert torch.equal(comparison.truth, expected.truth)
    found = comparison.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["skipped"]) == [str(position)]


def test_air_counts_where_the_range_is_fixed_but_not_zero_images(tmp_path):
    task = small_task(convention=CONVENTIONS["range-1"])
    truth = blanks()
    pairs = stored(tmp_path / "pairs.h5", [truth["constant"], truth["rounding"]], task)
    assert compare(task, {"fbp": fbp}, data=pairs).n == 2


def test_pairs_without_any_contrast_are_told(tmp_path):
    pairs = stored(tmp_path / "pairs.h5", [blanks()["zero"]] * 2)
    with pytest.raises(ValueError, match="pairs: expected one at least whose image has metrics"):
        compare(TASK, {"fbp": fbp}, data=pairs)


def test_slices_of_air_in_a_volume_do_not_count():
    truth = TASK.pairs("test")[0][1][0]
    volume = torch.stack([torch.zeros(16, 16), truth, torch.full((16, 16), 0.1)])[None, None]
    noisy = volume + 0.01
    found = measure(noisy, volume, TASK.convention, {})
    alone = measure(noisy[:, :, 1], volume[:, :, 1], TASK.convention, {})
    assert found == alone


def exact(*which):
    """Return a method that knows some of the images, and images."""
    truths = [TASK.pairs("test")[index][1] for index in range(4)]
    calls = iter([which[0] if which else 0, *range(4)])  # the first call does not count

    def method(sinogram, operator):
        index = next(calls)
        return truths[index][None] if index in which else fbp(sinogram, operator)

    return method


def test_one_exact_image_is_counted_and_the_others_averaged():
    comparison = compare(TASK, {"oracle": exact(1), "fbp": fbp})
    oracle, honest = (row.metrics["psnr"] for row in comparison.rows)
    rest = [value for index, value in enumerate(honest.values.tolist()) if index != 1]
    assert oracle.values[1] == math.inf
    assert (oracle.n, oracle.n_exact, honest.n_exact) == (4, 1, 0)
    assert oracle.mean == pytest.approx(np.mean(rest))
    assert oracle.std == pytest.approx(np.std(rest))
    assert text_rows(comparison)[0][1] == f"{np.mean(rest):.2f} ± {np.std(rest):.2f} (1 exact)"
    assert "are counted and not averaged" in note(comparison)
    line = next(csv.DictReader(io.StringIO(csv_table(comparison))))
    assert float(line["psnr_mean"]) == oracle.mean
    found = comparison.to_dict()["rows"][0]["metrics"]["psnr"]
    assert (found["n"], found["exact"], found["values"][1]) == (4, 1, None)
    assert "nan" not in markdown_table(comparison)


def test_nothing_but_exact_images():
    comparison = compare(TASK, {"oracle": exact(0, 1, 2, 3)})
    psnr = comparison.rows[0].metrics["psnr"]
    assert (psnr.mean, psnr.std, psnr.n_exact) == (math.inf, 0, 4)
    assert text_rows(comparison)[0][1] == "inf (4 exact)"
    assert "nan" not in markdown_table(comparison) + csv_table(comparison)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([30.0, 31.0], "30.5 ± 0.5 (n = 2)"),
        ([30.0, math.inf, 31.0], "30.5 ± 0.5 (n = 3, 1 exact)"),
        ([30.0, math.nan, 31.0], "30.5 ± 0.5 (n = 2)"),
        ([math.inf], "inf ± 0 (n = 1, 1 exact)"),
        ([math.nan], "nan ± nan (n = 0)"),
    ],
)
def test_summary_in_words(values, text):
    assert str(Summary(torch.tensor(values, dtype=torch.float64))) == text
