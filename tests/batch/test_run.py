"""Whole batches, on real workers: results, ledger, summary, and that each rerun is the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from batch_settings import settings_of
from batch_trees import SPACING, body, results, slice_dataset, write_series
from dicom_files import write
from distributed import LocalCluster

from tomolearn.batch import (
    LEDGER,
    SUMMARY,
    THUMBNAILS,
    BatchReport,
    BatchSettings,
    InProcessExecutor,
    batch_method,
    read_ledger,
    run_batch,
)
from tomolearn.batch.processing import process
from tomolearn.batch.thumbnails import write_thumbnail
from tomolearn.batch.workspace import folder_name
from tomolearn.dicom import body_mask, find_series

SETTINGS = settings_of("fbp", views=120, photons=1e6)


def cut_pixels(path: Path) -> None:
    """Spoil an image in a way that its header does not show: a slope of a billion billions."""
    dataset = pydicom.dcmread(path)
    dataset.RescaleSlope = "1e30"
    dataset.save_as(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four series: good, good with other files between, with a spoilt slice, all spoilt."""
    root = tmp_path_factory.mktemp("source")
    write_series(root / "a" / "deep" / "er", "a", 6)
    write_series(root / "mixed", "b", 5)
    write(root / "mixed" / "scout.dcm", slice_dataset("s", 0, ImageType=["ORIGINAL", "LOCALIZER"]))
    (root / "mixed" / "notes.txt").write_text("no DICOM")
    cut_pixels(write_series(root / "c", "c", 3)[1])
    for path in write_series(root / "d", "d", 2):
        cut_pixels(path)
    return root


@pytest.fixture(scope="module")
def batch(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BatchReport]:
    out = tmp_path_factory.mktemp("results") / "out"
    return out, run_batch(source, out, SETTINGS, workers=2)


def by_patient(report: BatchReport) -> dict[str, Any]:
    return {record["patient"]: record for record in report.records}


def test_every_series_has_its_status(batch: tuple[Path, BatchReport]) -> None:
    report = batch[1]
    found = {name: (r["status"], r["written"]) for name, r in by_patient(report).items()}
    assert found == {
        "patient-a": ("done", 6),
        "patient-b": ("done", 5),
        "patient-c": ("incomplete", 2),
        "patient-d": ("failed", 0),
    }
    assert (report.n_written, report.n_lost, report.n_kept) == (13, 3, 0)
    assert not report.is_complete


def test_results_are_the_slices_in_order(batch: tuple[Path, BatchReport], source: Path) -> None:
    out, report = batch
    found = find_series(out)
    assert {str(one.reason) for one in found.skipped} == {"not DICOM"}  # ledger, summary, ...
    assert len(found.series) == 3
    sources = {series.patient_id: series for series in find_series(source).series}
    for series in found.series:
        record = by_patient(report)[series.patient_id]
        folder = out / record["output"]
        assert sorted(folder.iterdir()) == sorted(one.path for one in series.slices)
        heights = {one.position[2] for one in series.slices}
        assert heights <= {one.position[2] for one in sources[series.patient_id].slices}
        for k, one in enumerate(series.slices):
            height = round(one.position[2] / 5)
            assert one.path.name == f"{height + 1:05d}.dcm"
            image, truth = series.read(k).hounsfield, body(height)
            inside = body_mask(truth)
            rmse = np.sqrt(np.square(image - truth)[inside].mean())
            assert rmse < 40
            # it is this slice and not its neighbour
            other = np.sqrt(np.square(image - body(height + 3))[inside].mean())
            assert other > 2 * rmse


def test_agreement_is_that_of_the_files(batch: tuple[Path, BatchReport], source: Path) -> None:
    out, report = batch
    record = by_patient(report)["patient-a"]
    (made,) = (one for one in find_series(out).series if one.patient_id == "patient-a")
    (scanned,) = (one for one in find_series(source).series if one.patient_id == "patient-a")
    errors = []
    for k in range(6):
        truth = scanned.read(k).hounsfield
        errors.append((made.read(k).hounsfield - truth)[body_mask(truth)].astype(np.float64))
    error = np.concatenate(errors)
    # files hold whole Hounsfield units
    assert record["agreement"]["rmse_hu"] == pytest.approx(np.sqrt((error**2).mean()), rel=0.01)
    assert record["agreement"]["bias_hu"] == pytest.approx(error.mean(), abs=0.1)


def test_ledger_accounts_for_every_file(batch: tuple[Path, BatchReport], source: Path) -> None:
    out, report = batch
    records = read_ledger(out / LEDGER)
    assert records[0]["event"] == "run"
    assert records[0]["settings"] == SETTINGS.to_dict()
    skipped = {r["path"]: r["reason"] for r in records if r["event"] == "left out"}
    assert skipped == {"mixed/scout.dcm": "localizer", "mixed/notes.txt": "not DICOM"}
    series = [r for r in records if r["event"] == "series"]
    assert sorted(series, key=lambda r: r["patient"]) == sorted(
        report.records, key=lambda r: r["patient"]
    )
    lost = [one for r in series for one in r["lost"]]
    assert {one["path"] for one in lost} == {"c/c-001.dcm", "d/d-000.dcm", "d/d-001.dcm"}
    assert all("RescaleSlope" in one["reason"] for one in lost)
    n_files = sum(path.is_file() for path in source.rglob("*"))
    assert n_files == len(skipped) + sum(r["written"] for r in series) + len(lost)


def test_summary_shows_every_series(batch: tuple[Path, BatchReport]) -> None:
    out, report = batch
    page = (out / SUMMARY).read_text(encoding="utf-8")
    assert "4 of 4 series" in page
    for record in report.records:
        for text in (record["patient"], record["status"], record["source"], record["series"]):
            assert text in page
        if record["status"] == "done":
            assert f'src="{THUMBNAILS}/{record["derived"]}.png"' in page
    assert "RescaleSlope" in page
    assert "mixed/scout.dcm" in page


def test_thumbnails_show_source_and_result(batch: tuple[Path, BatchReport]) -> None:
    from matplotlib.image import imread

    out, report = batch
    record = by_patient(report)["patient-b"]
    sheet = imread(out / THUMBNAILS / f"{record['derived']}.png")
    height, width = sheet.shape
    assert max(height, (width - 2) / 2) == 160
    left, right = sheet[:, : width // 2 - 1], sheet[:, width // 2 + 1 :]
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.98


def test_the_same_run_again_does_nothing(batch: tuple[Path, BatchReport], source: Path) -> None:
    out, first = batch
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    again = run_batch(source, out, SETTINGS, workers=0)
    assert (again.n_kept, again.n_written, again.n_lost) == (4, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")} == before
    assert [r["status"] for r in again.records] == [r["status"] for r in first.records]
    assert "patient-a" in (out / SUMMARY).read_text(encoding="utf-8")
    # files that were left out are not listed twice
    events = [record["event"] for record in read_ledger(out / LEDGER)]
    assert events.count("left out") == 2


def test_results_do_not_depend_on_workers_or_on_what_else_there_is(
    batch: tuple[Path, BatchReport], source: Path, tmp_path: Path
) -> None:
    out, _ = batch
    run_batch(source, tmp_path / "one", SETTINGS, workers=1)
    assert results(tmp_path / "one") == results(out)
    run_batch(source / "mixed", tmp_path / "two", SETTINGS, workers=1)
    assert results(tmp_path / "two").items() < results(out).items()


def test_starting_over_makes_the_same_files(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
    before = results(tmp_path / "out")
    (spoilt,) = tmp_path.glob("out/*/*/00001.dcm")
    spoilt.write_bytes(b"")
    report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0, resume=False)
    assert report.n_written == 2
    assert results(tmp_path / "out") == before


def test_a_result_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 3)
    run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
    before = results(tmp_path / "out")
    (deleted,) = tmp_path.glob("out/*/*/00002.dcm")
    deleted.unlink()
    report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
    assert (report.n_kept, report.n_written) == (0, 3)
    assert results(tmp_path / "out") == before


def test_a_link_to_the_results_makes_them_no_input(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    (tmp_path / "in" / "results").symlink_to(tmp_path / "out", target_is_directory=True)
    for _ in range(2):
        report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
        assert len(report.records) == 1
    assert report.is_complete


def test_patients_with_one_identifier_stay_apart(tmp_path: Path) -> None:
    for number, name in enumerate("xy"):
        ids = {"PatientID": name, "StudyInstanceUID": f"1.2.{number}"}
        write_series(tmp_path / "in" / name, "a", 3, **ids)
    report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
    assert [(r["patient"], r["status"], r["written"]) for r in report.records] == [
        ("x", "done", 3),
        ("y", "done", 3),
    ]
    made = find_series(tmp_path / "out").series
    assert [(one.patient_id, len(one), one.findings) for one in made] == [
        ("x", 3, ()),
        ("y", 3, ()),
    ]


def test_nothing_is_made_where_there_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_batch(tmp_path / "nowhere", tmp_path / "out", SETTINGS, workers=0)
    assert not (tmp_path / "out").exists()


def test_the_kernel_is_that_of_the_reconstruction(tmp_path: Path) -> None:
    """An image that was processed as it is keeps the kernel of its source."""
    write_series(tmp_path / "in", "a", 1, ConvolutionKernel="B30f")
    scanned = settings_of("fbp(filter=hann)", views=12)
    as_it_is = settings_of("tv(weight=1.0, iterations=2)", geometry=None)
    for settings, kernel in ((scanned, "FBP hann"), (as_it_is, "B30f")):
        (record,) = run_batch(tmp_path / "in", tmp_path / "out", settings, workers=0).records
        made = pydicom.dcmread(tmp_path / "out" / record["output"] / "00001.dcm")
        assert made.ConvolutionKernel == kernel


def test_the_thumbnail_is_of_the_middle_slice(tmp_path: Path) -> None:
    from matplotlib.image import imread

    write_series(tmp_path / "in", "a", 9)
    (record,) = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0).records
    sheet = imread(tmp_path / "out" / THUMBNAILS / f"{record['derived']}.png")
    left = sheet[:, : sheet.shape[1] // 2 - 1]
    folder = tmp_path / "expected"
    folder.mkdir()
    ct = [one.read(k) for one in find_series(tmp_path / "in").series for k in (4, 8)]
    shown = []
    for name, one in zip("ab", ct, strict=True):
        write_thumbnail(folder / name, one, one.hounsfield)
        sheet = imread(folder / name)
        shown.append(sheet[:, : sheet.shape[1] // 2 - 1])
    assert (left == shown[0]).all()
    assert (left != shown[1]).any()


def test_a_repaired_file_is_taken_up(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", "a", 3)
    cut_pixels(paths[1])
    for n_written in (2, 0):
        report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
        assert report.n_written == n_written
        assert not report.is_complete
    assert run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0, retry=True).n_lost == 1
    write(paths[1], slice_dataset("a", 1))
    report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
    assert report.is_complete
    assert len(list(tmp_path.glob("out/*/*/*.dcm"))) == 3


def test_other_settings_and_other_slices_are_other_series(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    for settings in (
        SETTINGS,
        BatchSettings(batch_method("tv", iterations=5), SETTINGS.acquisition),
    ):
        run_batch(tmp_path / "in", tmp_path / "out", settings, workers=0)
    write_series(tmp_path / "in", "a", 3)
    report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
    assert report.n_written == 3
    folders = [path for path in tmp_path.glob("out/*/*") if any(path.glob("*.dcm"))]
    assert len(folders) == 3
    assert len({path.parent for path in folders}) == 1


def test_a_cluster_of_ones_own(tmp_path: Path, source: Path, batch: Any) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        run_batch(source / "mixed", tmp_path / "out", SETTINGS, scheduler=address)
    assert results(tmp_path / "out").items() < results(batch[0]).items()


def test_nobody_at_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "0.2s")
    import dask

    dask.config.refresh()
    write_series(tmp_path / "in", "a", 1)
    with pytest.raises(ConnectionError, match="scheduler: expected the address of a Dask sched"):
        run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, scheduler="tcp://127.0.0.1:1")
    monkeypatch.undo()
    dask.config.refresh()


@pytest.mark.parametrize("where", ["", "results", ".."])
def test_results_are_apart_from_the_input(where: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_series(source, "a", 1)
    with pytest.raises(ValueError, match="out: expected a folder apart from the input"):
        run_batch(source, source / where, SETTINGS)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_batch(tmp_path / "nowhere", tmp_path / "out", SETTINGS)
    with pytest.raises(ValueError, match="workers: expected an integer >= 0, got -1"):
        run_batch(tmp_path, tmp_path / "out", SETTINGS, workers=-1)
    with pytest.raises(ValueError, match="workers: expected none beside a scheduler, got 2"):
        run_batch(tmp_path, tmp_path / "out", SETTINGS, workers=2, scheduler="tcp://a:1")
    here = InProcessExecutor()
    with pytest.raises(ValueError, match="workers: expected none beside an executor, got 0"):
        run_batch(tmp_path, tmp_path / "out", SETTINGS, workers=0, executor=here)
    with pytest.raises(ValueError, match="scheduler: expected none beside an executor, got tcp"):
        run_batch(tmp_path, tmp_path / "out", SETTINGS, scheduler="tcp://a:1", executor=here)
    (tmp_path / "in").mkdir()
    with pytest.raises((ValueError, OSError), match="no-such-weights"):
        run_batch(tmp_path / "in", tmp_path / "out", settings_of("no-such-weights"))


def test_an_empty_folder_is_an_empty_batch(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
    assert report.records == ()
    assert report.is_complete
    assert json.loads((tmp_path / "out" / LEDGER).read_text())["series"] == 0


def test_padding_and_pixels_are_those_of_each_slice(tmp_path: Path) -> None:
    """A series whose slices have pixels of two sizes, and corners that were not measured."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index, spacing in enumerate([SPACING, (6.0, 7.0), SPACING]):
        dataset = slice_dataset("a", index, PixelSpacing=list(spacing))
        stored = dataset.pixel_array.copy()
        stored[:3, :5] = -2000
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        write(folder / f"{index}.dcm", dataset)
    report = run_batch(folder, tmp_path / "out", SETTINGS, workers=0)
    (record,) = report.records
    assert record["status"] == "done"
    assert "mixed pixel spacing" in {one["kind"] for one in record["findings"]}
    (source,), (made,) = (find_series(f).series for f in (folder, tmp_path / "out"))
    for k in range(3):
        before, after = source.read(k), made.read(k)
        assert after.spacing == before.spacing
        np.testing.assert_array_equal(after.padding, before.padding)
        assert before.padding.sum() == 15
        (expected,) = process([before], SETTINGS)
        measured = ~before.padding
        np.testing.assert_array_equal(after.hounsfield[measured], np.rint(expected)[measured])


@pytest.mark.parametrize("study", ["../../escaped", "/absolute", "..", "1.2/3", "thumbnails"])
def test_a_damaged_identifier_is_no_path(study: str) -> None:
    name = folder_name(study)
    assert name.isalnum()
    assert len(name) == 32
    assert folder_name("1.2.840.10008") == "1.2.840.10008"
