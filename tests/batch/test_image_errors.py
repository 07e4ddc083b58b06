"""Errors within the body, against the formulas and scikit-image."""

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from tomolearn.batch import ImageErrors, measure_errors

AIR = -1000.0


def patient() -> np.ndarray:
    image = np.full((40, 50), AIR, np.float32)
    image[10:30, 10:40] = 40
    image[15:25, 15:22] = -850  # a lung
    image[35:37, 5:45] = 0  # the table
    return image


def test_errors_are_those_within_the_body(numpy_rng: np.random.Generator) -> None:
    source = patient()
    source[0, 0] = -3000.0
    found = source + numpy_rng.normal(3, 20, source.shape).astype(np.float32)
    padding = np.zeros(source.shape, bool)
    padding[10:12] = True
    one = measure_errors(found, source, padding)
    error = (found - source).astype(np.float64)[12:30, 10:40]
    assert one.pixels == error.size
    series = ImageErrors.pooled([one])
    assert series.bias_hu == pytest.approx(error.mean())
    assert series.rmse_hu == pytest.approx(np.sqrt((error**2).mean()))
    assert series.psnr == pytest.approx(10 * math.log10(2000**2 / (error**2).mean()))
    truth = np.maximum(source, AIR)
    expected = structural_similarity(truth.astype("f8"), found.astype("f8"), data_range=2000)
    assert series.ssim == pytest.approx(expected)


def test_slices_count_by_their_pixels() -> None:
    series = ImageErrors.pooled(
        [
            ImageErrors(1, 8.0, 64.0, 0.5),
            ImageErrors(3, 0.0, 0.0, 0.9),
            ImageErrors(0, 0.0, 0.0, None),
        ]
    )
    assert series.bias_hu == 2
    assert series.rmse_hu == 4
    assert series.ssim == pytest.approx(0.7)


def test_nothing_measured_is_none() -> None:
    nothing = ImageErrors.pooled([])
    assert (nothing.rmse_hu, nothing.bias_hu, nothing.psnr, nothing.ssim) == (None,) * 4
    # equal images have no finite PSNR
    assert ImageErrors(4, 0.0, 0.0, 1.0).psnr is None


def test_a_slice_smaller_than_the_window_has_no_similarity() -> None:
    tiny = np.zeros((6, 9), np.float32)
    assert measure_errors(tiny, tiny, np.zeros(tiny.shape, bool)).ssim is None
