import numpy as np
import pytest
from scipy import fft

from data_sim import as_scanned


def test_an_edge_is_shown_with_the_modulation_transfer_function(numpy_rng):
    image = np.zeros((64, 256))
    image[:, 128:] = 1
    spacing, mtf50 = 0.5, 0.3
    shown = as_scanned(image, numpy_rng, spacing=spacing, mtf50=mtf50)
    transfer = np.abs(fft.rfft(np.diff(shown[32])))
    frequency = fft.rfftfreq(255, spacing)
    assert np.interp(mtf50, frequency, transfer) == pytest.approx(0.5, abs=0.01)
    assert np.interp(2 * mtf50, frequency, transfer) == pytest.approx(1 / 16, abs=0.01)


def test_noise_has_its_size_and_no_mean(numpy_rng):
    image = np.full((256, 256), 40, np.float32)
    shown = as_scanned(image, numpy_rng, spacing=0.7, mtf50=0.35, noise=12)
    assert shown.dtype == np.float32
    assert shown.std() == pytest.approx(12, rel=0.02)
    assert shown.mean() == pytest.approx(40, abs=1e-3)


@pytest.mark.parametrize(
    ("image", "settings", "message"),
    [
        (np.zeros(4), {}, r"image: expected shape \(rows, columns\), got \(4,\)"),
        (np.zeros((4, 4)), {"mtf50": 0}, "mtf50: expected a positive number"),
        (np.zeros((4, 4)), {"spacing": -1.0}, "spacing: expected a positive number"),
        (np.zeros((4, 4)), {"noise": -1.0}, "noise: expected a non-negative number"),
    ],
)
def test_refusals(image, settings, message, numpy_rng):
    with pytest.raises(ValueError, match=message):
        as_scanned(image, numpy_rng, **{"spacing": 1.0, "mtf50": 0.3, **settings})
