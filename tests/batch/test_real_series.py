"""Batches of real series: the errors and the facts that the ledger has of them."""

import shutil
from pathlib import Path

from batch_settings import settings_of
from dicom_validation import errors_of

from tomolearn.batch import LEDGER, BatchSettings, read_ledger, run_batch


def test_noiseless_views_give_a_chest_back(real_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in (10, 24, 25):
        shutil.copy(real_data / "chest-1" / f"1-{number:03d}.dcm", source)
    (record,) = run_batch(source, tmp_path / "out", BatchSettings(), workers=0).records
    assert record["status"] == "done"
    assert record["agreement"]["rmse_hu"] < 25
    for path in (tmp_path / "out" / record["output"]).iterdir():
        assert errors_of(path) <= errors_of(source / "1-010.dcm")


def test_tilt_and_spacing_of_a_head_are_in_the_ledger(real_data: Path, tmp_path: Path) -> None:
    settings = settings_of(views=60, refinement=1)
    run_batch(real_data / "head-ge", tmp_path / "out", settings, workers=0)
    (record,) = (r for r in read_ledger(tmp_path / "out" / LEDGER) if r["event"] == "series")
    assert (record["status"], record["written"]) == ("done", 28)
    details = {one["kind"]: one["detail"] for one in record["findings"]}
    assert "18.50 degrees" in details["gantry tilt"]
    assert "uneven spacing" in details
