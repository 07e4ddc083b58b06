"""Speed of batches: that whole runs are measured, and that failing ones are no figures."""

from pathlib import Path

import pytest
from batch_trees import slice_dataset, write_series
from dicom_files import write

from tomolearn.batch.process_executor import n_cores
from tomolearn.benchmarks.batch import measure_batch


def test_runs_are_measured_with_one_worker_and_with_all(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 3)
    found = list(measure_batch(tmp_path / "in", tv=False))
    rates = [one for one in found if one.unit == "slices / s"]
    memories = [one for one in found if one.unit == "MiB"]
    crews = ["1 worker"] + [f"{n_cores()} workers"] * (n_cores() > 1)
    assert [one.contender for one in rates] == crews == [one.contender for one in memories]
    assert {one.case for one in found} == {"3 slices"}
    # a process starts, loads torch and computes: neither a thousandth of a second nor minutes
    assert all(3 / 120 < one.value < 3 / 0.5 for one in rates)
    assert all(100 < one.value < 8000 for one in memories)
    assert rates[0].ratio is None
    assert all(one.ratio == one.value / rates[0].value for one in rates[1:])


def test_a_run_that_fails_is_no_figure(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.dcm", slice_dataset("a", 0, RescaleSlope="1e30"))
    with pytest.raises(OSError, match=r"(?s)tomolearn dicom: exit code 1: .*1 slices lost"):
        list(measure_batch(tmp_path / "in", tv=False))


def test_rounds_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rounds: expected an integer >= 1, got 0"):
        list(measure_batch(tmp_path, rounds=0))
