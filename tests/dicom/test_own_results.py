"""Own results among the input: known by their marks, and left out unless asked for."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from batch_settings import settings_of
from batch_trees import results, write_series
from dicom_files import write
from dicom_series import along_z, ct_image, item, write_series as write_ct
from typer.testing import CliRunner

from tomolearn.batch import batch_method, run_batch
from tomolearn.cli import app
from tomolearn.dicom import (
    Deidentification,
    Derivation,
    DerivedSeries,
    SkipReason,
    find_series,
)

SETTINGS = settings_of("fbp", views=12)
DATA_OF_0_1 = Path(__file__).parents[1] / "data_of_0_1"


def derived(folder: Path, *, deidentify: bool = False) -> list[Path]:
    """Write a series, derive another one from it, and return the files of that."""
    write_ct(folder / "source", along_z(3))
    (series,) = find_series(folder / "source").series
    secret = Deidentification("correct horse battery staple") if deidentify else None
    made = DerivedSeries(series, Derivation("Smoothed.", method="x"), deidentify=secret)
    paths = []
    for index, one in enumerate(made):
        paths.append(folder / f"{index}.dcm")
        one.write(np.zeros((6, 8)), paths[-1])
    shutil.rmtree(folder / "source")
    return paths


@pytest.mark.parametrize("deidentify", [False, True])
@pytest.mark.parametrize("mark", ["all", "equipment", "file meta", "description"])
def test_each_mark_will_do(mark: str, deidentify: bool, tmp_path: Path) -> None:
    """Renamed, without the marks that others remove."""
    for number, path in enumerate(derived(tmp_path, deidentify=deidentify)):
        dataset = pydicom.dcmread(path)
        if mark == "description":
            dataset.DerivationDescription = "Simulated CT scan, reconstructed by tomolearn; scan: x"
        if mark not in ("all", "equipment"):
            del dataset.ContributingEquipmentSequence
        if mark not in ("all", "file meta"):
            dataset.file_meta.ImplementationClassUID = "1.2.3"
            dataset.file_meta.ImplementationVersionName = "ARCHIVE"
        path.unlink()
        write(tmp_path / f"IM{number:06d}", dataset)
    index = find_series(tmp_path, include_derived=False)
    assert (index.series, index.lost) == ((), ())
    assert index.counts == {"result of tomolearn": 3}
    assert "--include-derived" in index.skipped[0].detail
    assert [len(one) for one in find_series(tmp_path).series] == [3]


def test_equipment_that_others_add_does_not_hide_it(tmp_path: Path) -> None:
    path = derived(tmp_path)[0]
    dataset = pydicom.dcmread(path)
    dataset.file_meta.ImplementationClassUID = "1.2.3"
    equipment = [item(Manufacturer="Others"), *dataset.ContributingEquipmentSequence]
    dataset.ContributingEquipmentSequence = [*equipment, item(Manufacturer="Archive")]
    write(path, dataset)
    index = find_series(path, include_derived=False)
    assert [one.reason for one in index.skipped] == [SkipReason.OWN_RESULT]


def test_scanners_images_are_input(tmp_path: Path) -> None:
    image = ct_image(0, (0, 0, 0), DerivationDescription="MPR", ImageType=["DERIVED", "SECONDARY"])
    image.ContributingEquipmentSequence = [item(Manufacturer="ACME")]
    write(tmp_path / "a", image)
    assert len(find_series(tmp_path, include_derived=False).series) == 1


def test_half_a_result_is_no_loss(tmp_path: Path) -> None:
    paths = derived(tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:-50])
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[: whole.index(b"\x28\0\x02\0US")])
    index = find_series(tmp_path, include_derived=False)
    assert index.counts == {"result of tomolearn": 3}
    assert index.lost == ()


def test_results_of_version_0_1(tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA_OF_0_1 / "interrupted_batch.zip") as archive:
        names = [one for one in archive.namelist() if one.endswith(".dcm")]
        archive.extractall(tmp_path, names)
    index = find_series(tmp_path, include_derived=False)
    assert index.series == ()
    assert index.counts == {"result of tomolearn": len(names)}


def test_results_that_come_back_are_not_derived_again(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    first = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
    before = results(tmp_path / "out")
    shutil.copytree(tmp_path / "out" / first.records[0]["output"], tmp_path / "in" / "back")
    arguments = ["dicom", str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "0"]
    options = ["--views", "12", "--photons", "1e5"]
    result = CliRunner().invoke(app, [*arguments, *options])
    assert result.exit_code == 0, result.output
    assert "skipped: 2 result of tomolearn" in result.stderr
    assert "1 series, 1 to do" in result.stderr
    asked = CliRunner().invoke(app, [*arguments, *options, "--include-derived"])
    assert "2 series, 1 to do" in asked.stderr
    assert before.keys() < results(tmp_path / "out").keys()
    arguments[1] += "/back"
    alone = CliRunner().invoke(app, [*arguments, *options])
    assert alone.exit_code == 1
    assert "2 results of tomolearn: --include-derived takes them" in alone.stderr


def test_improving_results_is_asked_for(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=0)
    settings = settings_of("tv(weight=1, iterations=2)", geometry=None)
    assert settings.method == batch_method("tv", weight=1, iterations=2)
    report = run_batch(
        tmp_path / "out", tmp_path / "better", settings, workers=0, include_derived=True
    )
    assert [one["written"] for one in report.records] == [2]
