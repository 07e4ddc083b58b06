"""Where the patient is."""

import numpy as np
import pytest

from tomolearn.dicom import body_mask


def patient() -> np.ndarray:
    image = np.full((40, 50), -1000.0, np.float32)
    image[10:30, 10:40] = 40
    image[15:25, 15:22] = -850  # a lung
    image[35:37, 5:45] = 0  # the table
    return image


def test_body_is_the_largest_object_with_its_lungs() -> None:
    expected = np.zeros((40, 50), bool)
    expected[10:30, 10:40] = True
    np.testing.assert_array_equal(body_mask(patient()), expected)


@pytest.mark.parametrize(("threshold", "rows"), [(-500.0, 20), (100.0, 0), (-2000.0, 40)])
def test_what_is_not_above_the_threshold_is_no_body(threshold: float, rows: int) -> None:
    assert body_mask(patient(), threshold=threshold).any(1).sum() == rows


def test_air_has_no_body() -> None:
    assert not body_mask(np.full((5, 5), -1000.0)).any()
