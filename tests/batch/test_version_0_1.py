"""A batch that version 0.1 was killed in: continued by it nothing differs, others say what to do.

The archive is an output folder of version 0.1: series a is done, b has lost a slice for good,
and of the five slices of c four are there, in the hidden folder.
"""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pydicom
import pytest
from batch_settings import settings_of
from batch_trees import results, slice_dataset, write_series
from dicom_files import write

from tomolearn._core.version import __version__
from tomolearn.batch import (
    LEDGER,
    BatchReport,
    read_ledger,
    run_batch,
)

ARCHIVE = Path(__file__).resolve().parents[1] / "data_of_0_1" / "interrupted_batch.zip"
SETTINGS = settings_of("fbp(filter=hann)", views=30, photons=1e5, seed=3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    for name, n_slices in (("a", 2), ("b", 3), ("c", 5)):
        paths = write_series(root / name, name, n_slices)
        if name == "b":
            write(paths[1], slice_dataset("b", 1, RescaleSlope="1e30"))
    (root / "notes.txt").write_text("no DICOM")
    return root


@pytest.fixture
def version_0_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give results the identifiers of that version, which have its name."""
    for module in ("batch.run", "batch.ledger_records", "dicom.derivation"):
        monkeypatch.setattr(f"tomolearn.{module}.__version__", "0.1.0")


def continued(source: Path, out: Path) -> BatchReport:
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(out)
    return run_batch(source, out, SETTINGS, workers=0)


@pytest.mark.usefixtures("version_0_1")
def test_an_interrupted_batch_goes_on(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = continued(source, out)
    assert (report.n_kept, report.n_written, report.n_lost) == (2, 1, 0)
    found = {record["patient"]: (record["status"], record["written"]) for record in report.records}
    assert found == {
        "patient-a": ("done", 2),
        "patient-b": ("incomplete", 2),
        "patient-c": ("done", 5),
    }
    assert [path.name for path in (out / ".tomolearn").iterdir()] == ["lock"]
    events = [record["event"] for record in read_ledger(out / LEDGER)]
    assert sorted(events) == ["left out", "run", "run", "series", "series", "series"]
    assert all(record["agreement"]["rmse_hu"] < 100 for record in report.records)


@pytest.mark.usefixtures("version_0_1")
def test_what_it_left_is_what_is_made_today(source: Path, tmp_path: Path) -> None:
    continued(source, tmp_path / "out")
    run_batch(source, tmp_path / "today", SETTINGS, workers=0)
    names = results(tmp_path / "out").keys()
    assert names == results(tmp_path / "today").keys()
    for name in names:
        if not name.endswith(".dcm"):
            continue
        old, new = (pydicom.dcmread(tmp_path / where / name) for where in ("out", "today"))
        # on another processor, a value half-way between two may be rounded to the other one
        np.testing.assert_allclose(
            old.pixel_array.astype(int), new.pixel_array.astype(int), rtol=0, atol=1
        )
        del old.PixelData, new.PixelData
        assert old == new


def test_a_later_version_says_what_to_do(source: Path, tmp_path: Path) -> None:
    """Its series have other identifiers: the unfinished one would lie there for ever."""
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=rf"of version {__version__}, got those of 0.1.0 .*finish"):
        continued(source, out)
    assert run_batch(source, out, SETTINGS, workers=0, resume=False).n_written == 9
    assert run_batch(source, out, SETTINGS, workers=0).n_kept == 3
