"""The value that phantoms are described by."""

import dataclasses

import numpy as np
import pytest

from data_sim import Ellipses

FIELDS = {
    "value": [1.0, 2.0, 3.0],
    "semi_axes": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]],
    "centre": [[0.0, 0.1], [0.2, 0.3], [0.4, 0.5]],
    "rotation": [0.0, 1.0, 2.0],
}


def test_arrays_are_private_copies_that_cannot_be_changed():
    value = np.array([1.0, 2.0, 3.0])
    ellipses = Ellipses(**{**FIELDS, "value": value, "counts": [1, 2]})
    value[0] = 7
    assert ellipses.value.tolist() == [1, 2, 3]
    for field in dataclasses.fields(Ellipses):
        with pytest.raises(ValueError, match="read-only"):
            getattr(ellipses, field.name)[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        ellipses.value = value


def test_a_batch_is_split_by_its_counts():
    batch = Ellipses(**FIELDS, counts=[2, 0, 1])
    assert batch.batch_shape == (3,)
    assert batch.n_ellipses == 3
    assert batch.image_index.tolist() == [0, 0, 2]
    assert batch.images(0, 1).value.tolist() == [1, 2]
    assert batch.images(1, 2).value.tolist() == []
    assert batch.images(1, 3).counts.tolist() == [0, 1]
    assert batch.images(1, 3).centre.tolist() == [[0.4, 0.5]]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"value": [[1.0]]}, ValueError, r"value: expected shape \(n,\), got \(1, 1\)"),
        ({"value": ["a"]}, TypeError, "value: expected real numbers, got dtype <U1"),
        ({"value": [1j, 1, 1]}, TypeError, "value: expected real numbers, got dtype complex128"),
        ({"rotation": [0.0]}, ValueError, r"rotation: expected shape \(3,\), got \(1,\)"),
        ({"centre": np.zeros((3, 3))}, ValueError, r"centre: expected shape \(3, 2\), got"),
        ({"rotation": [0, 0, np.nan]}, ValueError, "rotation: expected finite numbers, got 1"),
        ({"semi_axes": np.zeros((3, 2))}, ValueError, "semi_axes: expected positive .* got 0.0"),
        ({"counts": [1, 1]}, ValueError, "counts: expected a sum of 3 ellipses, got 2"),
        ({"counts": [-1, 4]}, ValueError, "counts: expected non-negative .* minimum -1"),
        ({"counts": [1.0, 2.0]}, TypeError, "counts: expected integers, got dtype float64"),
    ],
)
def test_what_is_no_phantom_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        Ellipses(**{**FIELDS, **change})


def test_phantoms_outside_the_batch_are_refused():
    with pytest.raises(ValueError, match=r"counts: expected a batch .* got None"):
        Ellipses(**FIELDS).images(0, 1)
    batch = Ellipses(**FIELDS, counts=[1, 2])
    with pytest.raises(ValueError, match=r"stop <= 2, got 2 and 3"):
        batch.images(2, 3)
    with pytest.raises(ValueError, match="start: expected an integer >= 0, got -1"):
        batch.images(-1, 0)
