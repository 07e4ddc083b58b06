"""Half-widths of a batch as Parametric Maps: values, place, references, and what is done again."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from batch_trees import SHAPE, SPACING, results, write_series
from dicom_validation import errors_of, kind_of
from typer.testing import CliRunner

import tomolearn.batch
from tomolearn.batch import BatchSettings, batch_method, read_ledger
from tomolearn.batch.processing import process, process_uncertain
from tomolearn.cli import app
from tomolearn.dicom import Deidentification, Derivation, DerivedSeries, find_series
from tomolearn.dicom.half_width_map import write_half_widths
from tomolearn.evaluation.calibration import ConformalCalibration
from tomolearn.evaluation.estimation import SavedCalibration
from tomolearn.simulation import Acquisition, CoveringScan

hd = pytest.importorskip("highdicom")
run_batch = partial(tomolearn.batch.run_batch, workers=0)
METHOD = batch_method("ensemble", members="[fbp,fbp(filter=hann)]")
SCAN = Acquisition(CoveringScan("fan", 24))


def settings_with(factor: float | None) -> BatchSettings:
    known = None
    if factor is not None:
        import torch

        factors = ConformalCalibration(0.9, torch.tensor([factor]), 20, "image")
        known = SavedCalibration(METHOD.to_dict(), METHOD.sha256, "small", 0.01, factors)
    return BatchSettings(METHOD, SCAN, uncertainty=True, calibration=known)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_series(tmp_path / "in", "a", 3, ContentDate="20240102", ContentTime="101112")
    return tmp_path / "in"


def test_half_widths_are_those_of_the_method_in_hounsfield_units(source: Path) -> None:
    (series,) = find_series(source).series
    slices = [series.read(k) for k in range(2)]
    settings = settings_with(None)
    images, deviations, meaning = process_uncertain(slices, settings)
    assert meaning == "Standard deviation, not calibrated"
    members = [
        process(slices, BatchSettings(batch_method(name), SCAN))
        for name in ("fbp", "fbp(filter=hann)")
    ]
    for k in range(2):
        pair = np.stack([members[0][k], members[1][k]]).astype(float)
        # of values of a thousand, in single precision
        np.testing.assert_allclose(images[k], pair.mean(0), atol=0.01)
        np.testing.assert_allclose(deviations[k], pair.std(0, ddof=1), atol=0.01)
        assert np.array_equal(images[k], process(slices, settings)[k])
    _, half_widths, meaning = process_uncertain(slices, settings_with(2.0))
    assert meaning == "Half-width for the level 0.9"
    # the floor is a hundredth of the largest attenuation, about water's
    expected = 2 * np.hypot(deviations[0], 0.01 * (images[0].max() + 1000))
    np.testing.assert_allclose(half_widths[0], expected, rtol=1e-3)


def test_maps_are_a_series_beside_the_result(source: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "out", settings_with(2.0)
    report = run_batch(source, out, settings)
    assert report.is_complete
    (record,) = report.records
    folder = out / record["output"]
    assert len(list(folder.iterdir())) == 6
    series = set()
    for k in range(3):
        path, image = folder / f"{k + 1:05d}-half-width.dcm", folder / f"{k + 1:05d}.dcm"
        result, dataset = pydicom.dcmread(image), hd.imread(path)
        series.add(dataset.SeriesInstanceUID)
        assert dataset.SOPClassUID == pydicom.uid.ParametricMapStorage
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
            assert dataset[keyword].value == result[keyword].value
        ((_, _, named),) = dataset.get_source_image_uids()
        assert named == result.SOPInstanceUID
        volume = dataset.get_volume()
        np.testing.assert_allclose(volume.affine[:3, 3], result.ImagePositionPatient)
        np.testing.assert_allclose(volume.spacing[1:], SPACING)
        assert volume.array.shape == (1, *SHAPE)
        assert (volume.array >= 0).all()
        assert volume.array.max() > 10
        (mapping,) = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
        assert mapping.MeasurementUnitsCodeSequence[0].CodeMeaning == "Hounsfield unit"
        assert kind_of(path) == "ParametricMap"
        assert errors_of(path) == set()
    assert len(series) == 1
    assert series.isdisjoint({result.SeriesInstanceUID})
    # kept, and made again where one is missing; the same bytes each time
    before = results(out)
    assert run_batch(source, out, settings).n_kept == 1
    (folder / "00002-half-width.dcm").unlink()
    assert run_batch(source, out, settings).n_kept == 0
    assert {name: digest for name, digest in results(out).items() if name.endswith("dcm")} == {
        name: digest for name, digest in before.items() if name.endswith("dcm")
    }
    assert [len(one) for one in find_series(folder, include_derived=True).series] == [3]


def test_maps_lose_the_patient_with_the_slices(source: Path, tmp_path: Path) -> None:
    removal = Deidentification("a secret of sixteen bytes or more")
    report = run_batch(source, tmp_path / "out", settings_with(2.0), deidentification=removal)
    folder = tmp_path / "out" / report.records[0]["output"]
    content = (folder / "00001-half-width.dcm").read_bytes()
    for word in (b"patient-a", b"Name^a", b"series a"):
        assert word not in content


def test_superseded_results_go_with_their_maps(source: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "out", settings_with(None)
    first = run_batch(source, out, settings).records[0]["output"]
    write_series(source, "a", 4, ContentDate="20240102", ContentTime="101112")
    run_batch(source, out, settings, prune=True)
    assert not (out / first).exists()


def test_command_writes_them(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["dicom", str(source), str(out), "--workers", "0", "--views", "24", "--uncertainty"]
    ensemble = ["--method", "ensemble", "--members", "[fbp,fbp(filter=hann)]"]
    result = CliRunner().invoke(app, [*command, *ensemble])
    assert result.exit_code == 0, result.output
    assert len(list(out.rglob("*-half-width.dcm"))) == 3
    told = read_ledger(out / "ledger.jsonl")[0]["settings"]
    assert told["uncertainty"] == {"calibration": None}
    result = CliRunner().invoke(app, [*command, "--method", "fbp"])
    assert result.exit_code == 2
    assert "--uncertainty: expected a method that samples" in " ".join(result.output.split())


def test_mistakes(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (series,) = find_series(source).series
    derived = DerivedSeries(series, Derivation(description="test", settings={}))[0]
    derived.write(np.zeros(SHAPE, np.float32), tmp_path / "x.dcm")
    write = partial(
        write_half_widths, derived=derived, image=tmp_path / "x.dcm", meaning="half-width"
    )
    for wrong in (np.full(SHAPE, -1.0), np.full(SHAPE, np.nan), np.ones((3, 3))):
        with pytest.raises(ValueError, match="half_widths: expected finite numbers that are not"):
            write(wrong, tmp_path / "w.dcm")
    padding = np.zeros(SHAPE, dtype=bool)
    padding[0] = True
    write(np.ones(SHAPE), tmp_path / "w.dcm", padding=padding)
    values = pydicom.dcmread(tmp_path / "w.dcm")
    assert (values.pixel_array[0] == values.FloatPixelPaddingValue).all()
    assert (values.pixel_array[1:] == 1).all()
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ImportError, match=r"pip install 'tomolearn\[parametric-maps\]'"):
        write(np.ones(SHAPE), tmp_path / "w.dcm")
