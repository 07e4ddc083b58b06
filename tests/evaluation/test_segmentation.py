"""The metric of segmentations against scikit-learn and by its properties."""

import pytest
import torch

from tomolearn import TomolearnError
from tomolearn.metrics import METRICS, matthews_correlation, segment


def disc_and_noise(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    axis = torch.arange(64.0) - 31.5
    truth = (axis[:, None] ** 2 + axis**2 < 22**2).float()
    truth[25:40, 12:30] = 0
    random = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    return truth + noise * random, truth


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_matthews_correlation_is_that_of_scikit_learn(noise: float) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    image, truth = disc_and_noise(noise)
    found = segment(image)
    expected = metrics.matthews_corrcoef(truth.flatten() > 0.5, found.flatten())
    assert matthews_correlation(image, truth) == pytest.approx(expected, abs=1e-12)
    assert METRICS.find("matthews")(image, truth) == pytest.approx(expected, abs=1e-12)


def test_two_values_are_parted_whatever_they_are() -> None:
    _, truth = disc_and_noise(0.0)
    for low, high in ((0.0, 255.0), (-3e-3, 0.035), (1e6, 1e6 + 1)):
        assert torch.equal(segment(low + (high - low) * truth.double()), truth > 0.5)
    assert matthews_correlation(0.035 * truth, 255 * truth) == pytest.approx(1, abs=1e-12)
    assert matthews_correlation(-truth, truth) == pytest.approx(-1, abs=1e-12)


def test_a_single_class_scores_zero() -> None:
    _, truth = disc_and_noise(0.0)
    for value in (0.0, 0.1):
        assert matthews_correlation(torch.full_like(truth, value), truth) == 0


def test_bad_images_are_named() -> None:
    image, truth = disc_and_noise(0.0)
    with pytest.raises(TomolearnError, match="image: expected the shape of the reference"):
        matthews_correlation(image[1:], truth)
    with pytest.raises(TomolearnError, match="image: expected finite values, got 4096 others"):
        segment(image * float("nan"))
    with pytest.raises(TomolearnError, match="image: expected one pixel at least"):
        segment(image[:0])
