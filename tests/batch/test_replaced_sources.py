"""Sources that are replaced while a batch runs: no series has slices of two patients."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from batch_settings import settings_of
from batch_trees import slice_dataset, write_series
from dicom_files import write

from tomolearn.batch import BatchReport, InProcessExecutor, run_batch, work
from tomolearn.batch.chunks import Chunk

SETTINGS = settings_of("fbp", views=12)
N, VICTIM = 4, 2

OTHERS: dict[str, dict[str, Any]] = {
    "patient": {"PatientID": "other"},
    "name": {"PatientName": "Other^Name"},
    "no patient": {"PatientID": None},
    "study": {"StudyInstanceUID": "1.2.3.4.5"},
    "series": {"SeriesInstanceUID": "1.2.3.4.5"},
    "image": {"SOPInstanceUID": "1.2.3.4.5"},
    "place": {"ImagePositionPatient": [-100.0, -150.0, 77.0]},
    "kernel": {"ConvolutionKernel": "sharp"},
    "pixels": {"RescaleIntercept": -1000},
}


def replacing(path: Path, elements: dict[str, Any], *, hide: bool) -> Callable[[], None]:
    """Return what replaces a file, with the time of the old one if that is to be hidden."""

    def replace() -> None:
        status = path.stat()
        new = write(path.with_name("new"), slice_dataset("a", VICTIM, **elements))
        new.replace(path)
        moment = status.st_mtime_ns + (0 if hide else 10**9)
        os.utime(path, ns=(moment, moment))

    return replace


def check(out: Path, report: BatchReport, path: Path) -> None:
    (record,) = report.records
    assert (record["status"], record["written"], record["slices"]) == ("incomplete", N - 1, N)
    (lost,) = record["lost"]
    assert (lost["path"], lost["transient"]) == (path.name, True)
    assert "the series was found" in lost["reason"]
    assert not report.is_complete
    made = [pydicom.dcmread(one) for one in (out / record["output"]).iterdir()]
    assert {(one.PatientID, str(one.PatientName)) for one in made} == {("patient-a", "Name^a")}


class BetweenSearchAndWork(InProcessExecutor):
    """Executor that lets something happen before its first chunk."""

    def __init__(self, happen: Callable[[], None]) -> None:
        super().__init__()
        self._happen = happen

    def submit(self, chunk: Chunk) -> None:
        self._happen()
        self._happen = lambda: None
        super().submit(chunk)


@pytest.mark.parametrize("other", [name for name in OTHERS if name != "pixels"])
def test_replaced_between_search_and_reading(other: str, tmp_path: Path) -> None:
    """Even if size and time of the file do not tell."""
    path = write_series(tmp_path / "in", "a", N)[VICTIM]
    happen = replacing(path, OTHERS[other], hide=True)
    executor = BetweenSearchAndWork(happen)
    out = tmp_path / "out"
    report = run_batch(tmp_path / "in", out, SETTINGS, executor=executor)
    check(out, report, path)


def test_rewritten_between_search_and_reading(tmp_path: Path) -> None:
    path = write_series(tmp_path / "in", "a", N)[VICTIM]
    executor = BetweenSearchAndWork(replacing(path, OTHERS["pixels"], hide=False))
    out = tmp_path / "out"
    report = run_batch(tmp_path / "in", out, SETTINGS, executor=executor)
    check(out, report, path)
    assert "another size or time of change" in report.records[0]["lost"][0]["reason"]
    # the next run finds the file as it is now
    again = run_batch(tmp_path / "in", out, SETTINGS, workers=0)
    assert (again.is_complete, again.records[0]["written"]) == (True, N)


@pytest.mark.parametrize("other", ["patient", "name", "pixels", "gone"])
def test_replaced_between_pixels_and_header(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_series(tmp_path / "in", "a", N)[VICTIM]
    happen = path.unlink
    if other != "gone":
        happen = replacing(path, OTHERS[other], hide=other != "pixels")
    process, done = work.process, list[bool]()

    def process_then_happen(slices: Any, settings: Any) -> Any:
        found = process(slices, settings)
        if not done and slices[0].instance_number == VICTIM + 1:
            done.append(True)
            happen()
        return found

    monkeypatch.setattr(work, "process", process_then_happen)
    out = tmp_path / "out"
    report = run_batch(tmp_path / "in", out, SETTINGS, workers=0)
    assert done
    if other == "gone":
        (record,) = report.records
        assert (record["status"], record["written"]) == ("incomplete", N - 1)
        assert "No such file" in record["lost"][0]["reason"]
    else:
        check(out, report, path)


def test_copy_stands_in_for_a_replaced_file(tmp_path: Path) -> None:
    path = write_series(tmp_path / "in" / "1", "a", N)[VICTIM]
    write_series(tmp_path / "in" / "2", "a", N)
    executor = BetweenSearchAndWork(replacing(path, OTHERS["patient"], hide=True))
    out = tmp_path / "out"
    report = run_batch(tmp_path / "in", out, SETTINGS, executor=executor)
    assert report.is_complete
    (record,) = report.records
    assert ["read from this copy" in one["what"] for one in record["deviations"]] == [True]
    made = [pydicom.dcmread(one) for one in (out / record["output"]).iterdir()]
    assert {one.PatientID for one in made} == {"patient-a"}
    assert len(made) == N
