"""The written tree: layouts, valid DICOM, places and values, repetition, resuming, commands."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_validation import errors_of, kind_of
from lidc_trees import PATIENTS, SEED, SHAPE, SLICES, contents
from typer.testing import CliRunner

from data_sim import lidc_patient, write_lidc
from data_sim.__main__ import app
from data_sim.lidc import patient_files
from data_sim.lidc.datasets import ct_dataset

SMALL = (48, 48)


@pytest.fixture(scope="module")
def patients():
    return [lidc_patient(k, SEED, slices=SLICES, shape=SHAPE) for k in range(1, PATIENTS + 1)]


def images(root, modality):
    files = [(path, pydicom.dcmread(path)) for path in sorted(Path(root).rglob("*.dcm"))]
    return [(path, data) for path, data in files if data.Modality == modality]


@pytest.mark.parametrize(("modality", "kind"), [("CT", "CTImage"), ("CR", "CRImage")])
def test_dciodvfy_finds_no_error(lidc_tree, tmp_path, modality, kind):
    # one of each patient: every scanner
    files = {data.PatientID: (path, data) for path, data in images(lidc_tree, modality)}
    assert len(files) == (PATIENTS if modality == "CT" else 2)
    for path, _ in files.values():
        assert (errors_of(path), kind_of(path)) == (set(), kind)
    _, data = files.popitem()[1]
    del data.StudyInstanceUID
    data.save_as(tmp_path / "broken.dcm")
    assert any("StudyInstanceUID" in error for error in errors_of(tmp_path / "broken.dcm"))


def test_classic_layout(lidc_tree, patients):
    expected = {path for patient in patients for path in patient_files(patient, lidc_tree).all}
    assert {path for path in lidc_tree.rglob("*") if path.is_file()} == expected
    for modality in ("CT", "CR"):
        for path, data in images(lidc_tree, modality):
            names = path.relative_to(lidc_tree).parts
            assert names[:3] == (data.PatientID, data.StudyInstanceUID, data.SeriesInstanceUID)
            number = "1" if modality == "CR" else f"{data.InstanceNumber:03d}"
            assert names[3] == f"1-{number}.dcm"
    # the annotations of a series lie beside it
    folders = {path.parent for path in lidc_tree.rglob("*.dcm")}
    assert {path.parent for path in lidc_tree.rglob("*.xml")} == folders


def test_nbia_layout_and_annotations_apart(tmp_path):
    options = {"seed": SEED, "shape": SMALL}
    write_lidc(tmp_path / "nbia", 3, 2, layout="nbia", annotations="tree", **options)
    assert {path.name for path in (tmp_path / "nbia").iterdir()} == {"LIDC-IDRI", "tcia-lidc-xml"}
    for path, data in images(tmp_path / "nbia", "CT"):
        patient, study, series, name = path.relative_to(tmp_path / "nbia" / "LIDC-IDRI").parts
        assert patient == data.PatientID
        assert re.fullmatch(r"01-01-2000-NA-NA-(\d{5})", study)[1] == data.StudyInstanceUID[-5:]
        match = re.fullmatch(r"(3\d{6})\.000000-NA-(\d{5})", series)
        assert match.groups() == (str(data.SeriesNumber), data.SeriesInstanceUID[-5:])
        assert name == f"1-{data.InstanceNumber:03d}.dcm"
    # the same files under other names
    write_lidc(tmp_path / "classic", 3, 2, **options)
    found = [sorted(contents(tmp_path / name).values()) for name in ("nbia", "classic")]
    assert found[0] == found[1]


def test_annotation_names_are_the_patients_own():
    for annotations in ("series", "tree"):
        names = []
        for index in (1, 199, 200, 201, 1010, 9999):
            patient = replace(lidc_patient(index, slices=1, shape=SMALL), has_radiograph=True)
            files = patient_files(patient, "root", "classic", annotations)
            names += [path for path in files.all if path.suffix == ".xml"]
        assert len(set(names)) == len(names) == 12


def test_headers_have_what_readers_stumble_over(lidc_tree, patients):
    slices = [data for _, data in images(lidc_tree, "CT")]
    assert len(slices) == len({data.SOPInstanceUID for data in slices}) == PATIENTS * SLICES
    found = {
        (d.Manufacturer[:2], int(d.RescaleIntercept), d.PixelRepresentation, d.BitsStored, padded)
        for d in slices
        for padded in ["PixelPaddingValue" in d]
    }
    assert found == {
        ("GE", -1024, 1, 16, True),
        ("SI", -1024, 0, 12, False),
        ("Ph", -1024, 0, 12, False),
        ("TO", 0, 1, 16, False),
    }
    assert {data.PatientPosition for data in slices} == {"FFS", "HFS"}
    for patient in patients:
        own = [data for data in slices if data.PatientID == patient.patient_id]
        own.sort(key=lambda data: data.ImagePositionPatient[2])
        numbers = [data.InstanceNumber for data in own]
        assert numbers == sorted(numbers, reverse=patient.protocol.descending)
        uids = [patient.sop_instance_uid(i) for i in range(SLICES)]
        assert [data.SOPInstanceUID for data in own] == uids


def test_pixels_are_the_thorax_at_the_files_own_position(lidc_tree, patients):
    for patient in patients:
        data = pydicom.dcmread(patient_files(patient, lidc_tree).slices[3])
        z = data.ImagePositionPatient[2] - patient.protocol.origin[2]
        spacing = tuple(map(float, data.PixelSpacing))
        truth = patient.thorax.slice(z, data.pixel_array.shape, spacing, table=True)
        image = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        x, y = ((np.arange(n) - (n - 1) / 2) * spacing[0] for n in image.shape)
        circle = np.hypot(x[:, None], y) <= min(image.shape) * spacing[0] / 2
        if patient.protocol.scanner.padding is not None:
            assert (data.pixel_array[~circle] == -2000).all()
            assert data.get("PixelPaddingValue", -2000) == -2000
        error = (image - truth)[circle]
        assert abs(error.mean()) < 1
        # nothing but noise, which never exceeds six of its standard deviations
        assert np.abs(error).max() < 6 * patient.protocol.kernel.noise + 1


def test_nodules_are_seen_where_dicom_says():
    """What a nodule adds to the stored values, placed by the formula of PS3.3 C.7.6.2.1.1."""
    tried = 0
    for index in range(1, 40):
        patient = lidc_patient(index, SEED, slices=1, shape=(128, 160))
        x, y, z = patient.protocol.origin
        for k, lesion in enumerate(patient.lesions):
            nodule, (height,) = lesion.nodule, patient.heights
            if nodule.scale(height) < 0.5 or nodule.diameter < 5 or lesion.cavity is not None:
                continue
            others = tuple(other for other in patient.thorax.nodules if other is not nodule)
            bare = replace(patient, thorax=replace(patient.thorax, nodules=others))
            # the noise is the same
            data = ct_dataset(patient, 0)
            added = data.pixel_array.astype(float) - ct_dataset(bare, 0).pixel_array
            rows, columns = np.nonzero(np.abs(added) > 0.5 * np.abs(added).max())
            step = np.array(data.PixelSpacing, dtype=float)
            right, down = np.reshape(np.array(data.ImageOrientationPatient, dtype=float), (2, 3))
            found = np.array(data.ImagePositionPatient, dtype=float)
            found += columns.mean() * step[1] * right + rows.mean() * step[0] * down
            # the thorax's x runs to the back and its y to the left, DICOM's the other way round
            mask = patient.thorax.nodule_mask(k, height, (1000, 1000), 0.4)
            to_back, to_left = (np.argwhere(mask).mean(axis=0) - 499.5) * 0.4
            expected = (x + to_left, y + to_back, z + height)
            # a region of n pixels has its centroid within a fraction of one
            assert found == pytest.approx(expected, abs=0.6 * step[0])
            tried += 1
    assert tried >= 8


def test_radiographs_show_a_chest(lidc_tree):
    for _, data in images(lidc_tree, "CR"):
        image = data.pixel_array.astype(float)
        rows, columns = image.shape
        # spine bright, lungs dark, air beside the body black
        middle = image[rows // 3 : rows // 2]
        spine = np.median(middle[:, columns // 2 - 3 : columns // 2 + 3])
        for side in (0.3, 0.7):
            at = round(side * columns)
            assert np.median(middle[:, at - 2 : at + 3]) < 0.8 * spine
        assert np.median(image[:, 0]) < 250
        # the heart on the patient's left, at the viewer's right
        low = image[rows // 2 : 3 * rows // 4]
        assert low[:, columns // 2 :].sum() > low[:, : columns // 2].sum()


def test_files_depend_on_seed_and_patient_alone(tmp_path, lidc_tree):
    write_lidc(tmp_path / "two", 2, SLICES, seed=SEED, shape=SHAPE)
    assert contents(tmp_path / "two").items() < contents(lidc_tree).items()
    write_lidc(tmp_path / "other", 2, 1, seed=SEED + 1, shape=SMALL)
    assert not set(contents(tmp_path / "other").values()) & set(contents(lidc_tree).values())


def test_resume_completes_and_keeps(tmp_path):
    arguments = {"seed": SEED, "shape": SMALL}
    write_lidc(tmp_path / "whole", 3, 2, **arguments)
    whole, root = contents(tmp_path / "whole"), tmp_path / "part"
    (*_, last) = write_lidc(root, 3, 2, **arguments)
    assert last.radiograph is not None
    for missing in (last.slices[0], last.annotation, last.radiograph, last.radiograph_annotation):
        missing.unlink()
        missing.with_name(f".{missing.name}.1.partial").write_bytes(b"half")
    kept = last.slices[1].stat()
    write_lidc(root, 3, 2, resume=True, **arguments)
    assert contents(root) == whole
    assert last.slices[1].stat().st_mtime_ns == kept.st_mtime_ns


@pytest.mark.parametrize("other", [{"seed": 1}, {"slices": 2}, {"annotations": "tree"}])
def test_another_request_is_not_mixed_in(tmp_path, other):
    first = {"slices": 1, "shape": SMALL, "seed": 0}
    write_lidc(tmp_path, 1, **first)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="expected only files of this request"):
        write_lidc(tmp_path, 1, resume=True, **(first | other))
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"patients": 0}, ValueError, "patients: expected an integer >= 1, got 0"),
        ({"patients": 10000}, ValueError, "patients: expected 1 to 9999, got 10000"),
        ({"patients": "2"}, TypeError, "patients: expected an integer"),
        ({"slices": 0}, ValueError, "slices: expected an integer >= 1, got 0"),
        ({"slices": 999}, ValueError, "slices: expected 1 to 300, got 999"),
        ({"seed": -1}, ValueError, "seed: expected an integer >= 0, got -1"),
        ({"layout": "flat"}, ValueError, "layout: expected one of classic, nbia, got 'flat'"),
        (
            {"annotations": "no"},
            ValueError,
            "annotations: expected one of series, tree, got 'no'",
        ),
        ({"shape": (512, 16)}, ValueError, r"shape\[1\]: expected an integer >= 32, got 16"),
        ({"shape": 512}, TypeError, "shape: expected a pair"),
    ],
)
def test_errors(tmp_path, options, error, message):
    arguments = {"patients": 1, "slices": 1, "shape": SMALL} | options
    with pytest.raises(error, match=message):
        write_lidc(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


# the command

FEW = ("--patients", "3", "--slices", "2", "--size", "48", "--seed", str(SEED))


def run(*arguments):
    return CliRunner().invoke(app, ["lidc", *map(str, arguments)])


def test_command_writes_what_the_function_writes(tmp_path):
    command = [sys.executable, "-m", "data_sim", "lidc", "tree", *FEW, "--layout", "nbia"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "tree: 3 patients, 6 CT slices, 1 radiographs\n"
    write_lidc(tmp_path / "same", 3, 2, seed=SEED, layout="nbia", shape=SMALL)
    assert contents(tmp_path / "tree") == contents(tmp_path / "same")


def test_command_resumes_when_told_so(tmp_path):
    assert run(tmp_path, *FEW).exit_code == 0
    before = contents(tmp_path)
    again = run(tmp_path, *FEW)
    assert (again.exit_code, "resume keeps what is there" in again.stderr) == (2, True)
    assert run(tmp_path, *FEW, "--resume").exit_code == 0
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("out", "--patients", "0", "--slices", "1"), "patients: expected an integer >= 1, got 0"),
        (("out", "--patients", "1", "--slices", "301"), "slices: expected 1 to 300, got 301"),
        (("file", *FEW), "file: Not a directory"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("arguments", [("out",), ("out", *FEW, "--layout", "flat")])
def test_wrong_usage(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert (result.exit_code, "Usage: " in result.stderr) == (2, True)
    assert not any(tmp_path.iterdir())
