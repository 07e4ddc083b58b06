"""Stored pairs of version 0.1: a task reads them as its own."""

from pathlib import Path

import pytest
import torch
from small_task import small_task

from tomolearn import Grid

PAIRS = Path(__file__).resolve().parents[1] / "data_of_0_1" / "pairs.h5"


def test_pairs_are_those_that_the_task_draws_today() -> None:
    task = small_task()
    stored, drawn = task.pairs("test", data=PAIRS), task.pairs("test")
    assert len(stored) == 3
    for index in range(3):
        for found, expected in zip(stored[index], drawn[index], strict=True):
            # noise is of the order of 1: sums in float32, in another order
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_pairs_of_another_task_are_refused() -> None:
    other = small_task(grid=Grid((20, 20)))
    with pytest.raises(ValueError, match=r"pairs\.h5: expected"):
        other.pairs("test", data=PAIRS)
