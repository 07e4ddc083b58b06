"""The written tree: layouts, valid DICOM, geometry and values, repetition, resuming."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_validation import errors_of, kind_of
from lidc_trees import PATIENTS, SEED, SHAPE, SLICES, contents
from scipy import ndimage

from data_sim import lidc_patient, write_lidc
from data_sim.lidc import patient_files, writing
from data_sim.lidc.datasets import ct_dataset
from data_sim.lidc.images import stored_slice
from data_sim.lidc.radiograph import radiograph

SMALL = (48, 48)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("classic") / "tree"
    found = write_lidc(root, PATIENTS, SLICES, seed=SEED, shape=SHAPE)
    assert (found.patients, found.slices, found.radiographs) == (5, 25, 2)
    assert found.annotations == 7
    return found.root


@pytest.fixture(scope="module")
def patients():
    return [lidc_patient(k, SEED, slices=SLICES, shape=SHAPE) for k in range(1, PATIENTS + 1)]


def of_class(root, name):
    files = [(path, pydicom.dcmread(path)) for path in sorted(root.rglob("*.dcm"))]
    return [(path, data) for path, data in files if name in data.SOPClassUID.name]


@pytest.mark.parametrize("name", ["CT Image", "Computed Radiography", "Digital X-Ray"])
def test_dciodvfy_finds_no_error(tree, name):
    files = of_class(tree, name)
    # one of each patient: every scanner
    files = list({data.PatientID: path for path, data in files}.values())
    assert len(files) >= (PATIENTS if name == "CT Image" else 1)
    kinds = {"CT Image": "CTImage", "Computed": "CRImage", "Digital": "DXImageForPresentation"}
    for path in files:
        assert errors_of(path) == set()
        assert kind_of(path) == kinds[name if name == "CT Image" else name.split()[0].split("-")[0]]


def test_dciodvfy_would_find_one(tree, tmp_path):
    _, data = of_class(tree, "CT Image")[0]
    del data.ImagePositionPatient
    data.save_as(tmp_path / "broken.dcm")
    assert any("ImagePositionPatient" in error for error in errors_of(tmp_path / "broken.dcm"))


def test_classic_layout(tree, patients):
    files = contents(tree)
    expected = set()
    for patient in patients:
        found = patient_files(patient, tree)
        expected |= {str(path.relative_to(tree)) for path in found.all}
    assert set(files) == expected
    uid = r"2\.25\.\d+"
    series = rf"LIDC-IDRI-000[1-5]/{uid}/{uid}"
    assert all(re.fullmatch(rf"{series}/(1-00[1-5]\.dcm|1-1\.dcm|\d{{3}}\.xml)", f) for f in files)
    for path, data in of_class(tree, "Image"):
        names = path.relative_to(tree).parts
        assert names[:3] == (data.PatientID, data.StudyInstanceUID, data.SeriesInstanceUID)
        if data.Modality == "CT":
            assert names[3] == f"1-{data.InstanceNumber:03d}.dcm"
    # the annotations of a series lie beside it
    folders = {path.parent for path in tree.rglob("*.dcm")}
    assert {path.parent for path in tree.rglob("*.xml")} == folders


def test_nbia_layout(tmp_path):
    options = {"seed": SEED, "shape": SMALL}
    found = write_lidc(tmp_path / "nbia", 3, 2, layout="nbia", **options)
    assert [path.name for path in found.root.iterdir()] == ["LIDC-IDRI"]
    study, series = r"01-01-2000-NA-NA-(\d{5})", r"(3\d{6})\.000000-NA-(\d{5})"
    for path in found.root.rglob("*.dcm"):
        data = pydicom.dcmread(path, stop_before_pixels=True)
        parts = path.relative_to(found.root / "LIDC-IDRI").parts
        assert parts[0] == data.PatientID
        assert re.fullmatch(study, parts[1])[1] == data.StudyInstanceUID[-5:]
        match = re.fullmatch(series, parts[2])
        assert match[1] == str(data.SeriesNumber)
        assert match[2] == data.SeriesInstanceUID[-5:]
        if data.Modality == "CT":
            assert parts[3] == f"1-{data.InstanceNumber:03d}.dcm"
    # the same files under other names
    classic = write_lidc(tmp_path / "classic", 3, 2, **options)
    assert sorted(contents(found.root).values()) == sorted(contents(classic.root).values())


def test_annotations_in_a_tree_of_their_own(tmp_path):
    beside = write_lidc(tmp_path / "a", 3, 1, seed=SEED, shape=SMALL)
    apart = write_lidc(tmp_path / "b", 3, 1, seed=SEED, shape=SMALL, annotations="tree")
    files = contents(apart.root)
    found = {path for path in files if path.endswith(".xml")}
    assert {f"tcia-lidc-xml/157/{n}.xml" for n in range(158, 161)} < found
    assert all(path.startswith("tcia-lidc-xml/157/") for path in found)
    assert len(found) == apart.annotations == 4
    assert sorted(files.values()) == sorted(contents(beside.root).values())


def test_annotation_names_are_the_patients_own():
    for annotations in ("series", "tree"):
        names = []
        for index in (1, 200, 201, 842, 843, 1010, 5000, 9999):
            patient = lidc_patient(index, slices=1, shape=SMALL)
            files = patient_files(patient, "root", "classic", annotations)
            names += [path for path in files.all if path.suffix == ".xml"]
        assert len(set(names)) == len(names)


def test_headers_are_like_the_published_ones(tree, patients):
    slices = of_class(tree, "CT Image")
    assert len(slices) == PATIENTS * SLICES
    for _, data in slices:
        patient = patients[int(data.PatientID[-4:]) - 1]
        assert data.PatientID == patient.patient_id
        assert data.StudyDate == data.SeriesDate == data.ContentDate == "20000101"
        assert data.PatientIdentityRemoved == "YES"
        assert data.PatientPosition in ("FFS", "HFS")
        assert (data.Rows, data.Columns) == SHAPE
        assert data.BitsAllocated == 16
        assert data.RescaleSlope == 1
        assert data.ImageType == ["ORIGINAL", "PRIMARY", "AXIAL"]
        padded = "PixelPaddingValue" in data
        assert padded == (data.Manufacturer == "GE MEDICAL SYSTEMS")
        assert (data.PixelRepresentation == 1) == (data.Manufacturer[:2] in ("GE", "TO"))
    found = {(d.Manufacturer[:2], d.RescaleIntercept, d.PixelRepresentation) for _, d in slices}
    assert found == {("GE", -1024, 1), ("SI", -1024, 0), ("Ph", -1024, 0), ("TO", 0, 1)}
    assert len({data.SOPInstanceUID for _, data in slices}) == len(slices)
    for patient in patients:
        own = [data for _, data in slices if data.PatientID == patient.patient_id]
        own.sort(key=lambda data: data.ImagePositionPatient[2])
        assert len({data.SeriesInstanceUID for data in own}) == 1
        assert len({data.FrameOfReferenceUID for data in own}) == 1
        numbers = [data.InstanceNumber for data in own]
        assert numbers == sorted(numbers, reverse=patient.acquisition.descending)
        assert [data.SOPInstanceUID for data in own] == [
            patient.sop_instance_uid(i) for i in range(SLICES)
        ]


def test_pixels_are_the_thorax_at_the_files_own_position(tree, patients):
    for patient in patients:
        path = patient_files(patient, tree).slices[3]
        data = pydicom.dcmread(path)
        z = data.ImagePositionPatient[2] - patient.acquisition.origin[2]
        truth = patient.thorax.slice(
            z, data.pixel_array.shape, tuple(map(float, data.PixelSpacing)), table=True
        )
        image = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        x, y = ((np.arange(n) - (n - 1) / 2) * data.PixelSpacing[0] for n in image.shape)
        circle = np.hypot(x[:, None], y) <= min(image.shape) * data.PixelSpacing[0] / 2
        if patient.acquisition.scanner.padding is not None:
            assert (data.pixel_array[~circle] == -2000).all()
            assert data.get("PixelPaddingValue", -2000) == -2000
        error = (image - truth)[circle]
        assert abs(error.mean()) < 1
        # nothing but noise, which never exceeds six of its standard deviations
        assert np.abs(error).max() < 6 * patient.acquisition.kernel.noise + 1


def test_nodules_are_seen_where_dicom_says():
    """What a nodule adds to the stored values, placed by the formula of PS3.3 C.7.6.2.1.1."""
    tried = 0
    for index in range(1, 40):
        patient = lidc_patient(index, SEED, slices=1, shape=(128, 160))
        for lesion in patient.lesions:
            nodule, z = lesion.nodule, patient.heights[0]
            if nodule.scale(z) < 0.5 or nodule.diameter < 5 or lesion.cavity is not None:
                continue
            others = tuple(other for other in patient.thorax.nodules if other is not nodule)
            without = replace(patient, thorax=replace(patient.thorax, nodules=others))
            data = ct_dataset(patient, 0, stored_slice(patient, 0))
            # the noise is the same
            added = data.pixel_array - stored_slice(without, 0).astype(float)
            rows, columns = np.nonzero(np.abs(added) > 0.5 * np.abs(added).max())
            step = np.array(data.PixelSpacing, dtype=float)
            right, down = np.reshape(np.array(data.ImageOrientationPatient, dtype=float), (2, 3))
            found = np.array(data.ImagePositionPatient, dtype=float)
            found += columns.mean() * step[1] * right + rows.mean() * step[0] * down
            middle = nodule.outline(z, 200).mean(axis=0)
            # a region of n pixels has its centroid within a fraction of one
            expected = patient.to_patient((*middle, z))
            assert found == pytest.approx(expected, abs=0.6 * step[0])
            tried += 1
    assert tried >= 8


def test_radiographs(tree, patients):
    shown = [patient for patient in patients if patient.radiograph]
    assert {patient.radiograph for patient in shown} == {"CR", "DX"}
    for patient in shown:
        files = patient_files(patient, tree)
        data = pydicom.dcmread(files.radiograph)
        ct = pydicom.dcmread(files.slices[0])
        assert data.Modality == patient.radiograph
        assert data.PatientID == ct.PatientID
        assert data.StudyInstanceUID != ct.StudyInstanceUID
        image = data.pixel_array.astype(float)
        assert data.Columns == SHAPE[1]
        # spine bright, lungs dark, air beside the body black
        rows, columns = image.shape
        middle = slice(rows // 3, rows // 2)
        spine = np.median(image[middle, columns // 2 - 4 : columns // 2 + 4])
        for side in (0.3, 0.7):
            lung = np.median(image[middle, round(side * columns) - 3 : round(side * columns) + 3])
            assert lung < 0.8 * spine
        assert np.median(image[:, 0]) < 250
        # the heart on the patient's left, at the viewer's right
        low = image[rows // 2 : 3 * rows // 4]
        assert low[:, columns // 2 :].sum() > low[:, : columns // 2].sum()


def test_radiographs_show_nodules_where_they_are_marked():
    patient = next(
        p
        for p in (lidc_patient(k, SEED, slices=1, shape=(128, 128)) for k in range(1, 40))
        if any(x.nodule.diameter > 9 and x.nodule.hu > -100 for x in p.lesions)
    )
    big = max(range(len(patient.lesions)), key=lambda k: patient.lesions[k].nodule.diameter)
    image = radiograph(patient)
    bare = radiograph(replace(patient, thorax=replace(patient.thorax, nodules=())))
    added = ndimage.gaussian_filter(image.pixels.astype(float) - bare.pixels, 1.0)
    assert big in image.places
    peak = np.unravel_index(added.argmax(), added.shape)
    # half a nodule's radius, in pixels of 2.8 mm
    assert np.abs(np.subtract(peak, image.places[big])).max() <= 2


def test_a_request_gives_the_same_files_again(tmp_path):
    first = write_lidc(tmp_path / "first", 3, 2, seed=SEED, shape=SMALL)
    again = write_lidc(tmp_path / "again", 3, 2, seed=SEED, shape=SMALL, jobs=2)
    assert contents(again.root) == contents(first.root)
    assert again.slices == first.slices
    other = write_lidc(tmp_path / "other", 1, 1, seed=SEED + 1, shape=SMALL)
    assert not set(contents(other.root)) & set(contents(first.root))


def test_patients_do_not_depend_on_each_other(tmp_path, tree):
    two = contents(write_lidc(tmp_path, 2, SLICES, seed=SEED, shape=SHAPE).root)
    assert two.items() <= contents(tree).items()
    assert {path.split("/")[0] for path in two} == {"LIDC-IDRI-0001", "LIDC-IDRI-0002"}


def test_resume_completes_and_keeps(tmp_path):
    arguments = {"seed": SEED, "shape": SMALL}
    whole = contents(write_lidc(tmp_path / "whole", 3, 3, **arguments).root)
    root = write_lidc(tmp_path / "part", 2, 3, **arguments).root
    files = sorted(path for path in root.rglob("*") if path.is_file())
    files[0].unlink()
    files[-1].unlink()
    kept = files[1].stat()
    half = files[1].with_name(f".{files[0].name}.1.partial")
    half.write_bytes(b"half")
    tree = write_lidc(root, 3, 3, resume=True, **arguments)
    assert (tree.patients, tree.slices) == (3, 9)
    assert contents(root) == whole
    assert files[1].stat().st_mtime_ns == kept.st_mtime_ns
    # once more, nothing to do
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_lidc(root, 3, 3, resume=True, **arguments)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_radiographs_are_resumed_too(tmp_path):
    root = write_lidc(tmp_path, 3, 1, seed=SEED, shape=SMALL).root
    whole = contents(root)
    (path,) = root.rglob("1-1.dcm")
    for missing in (path, next(path.parent.glob("*.xml"))):
        missing.unlink()
        write_lidc(root, 3, 1, seed=SEED, shape=SMALL, resume=True)
        assert contents(root) == whole


def test_a_killed_run_leaves_no_half_file(tmp_path):
    arguments = ["--patients", "4", "--slices", "8", "--size", "64", "--seed", str(SEED)]
    whole = contents(write_lidc(tmp_path / "whole", 4, 8, seed=SEED, shape=(64, 64)).root)
    root = tmp_path / "killed"
    command = [sys.executable, "-m", "data_sim", "lidc", str(root), *arguments, "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and len(list(root.rglob("*.dcm"))) < 3:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    found = {path: data for path, data in contents(root).items() if not path.endswith(".partial")}
    assert len(found) >= 3
    assert found.items() <= whole.items()
    write_lidc(root, 4, 8, seed=SEED, shape=(64, 64), resume=True)
    assert contents(root) == whole


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data_sim.lidc.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_lidc(tmp_path, 1, 1, shape=SMALL)
    assert contents(tmp_path) == {}


def test_progress(tmp_path):
    seen = []
    write_lidc(tmp_path, 3, 1, shape=SMALL, progress=lambda *n: seen.append(n))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_no_more_processes_than_patients(tmp_path):
    tree = write_lidc(tmp_path, 1, 1, shape=SMALL, jobs=50)
    assert len(list(tree.root.rglob("*-001.dcm"))) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"patients": 0}, ValueError, "patients: expected an integer >= 1, got 0"),
        ({"patients": 10000}, ValueError, "patients: expected 1 to 9999, got 10000"),
        ({"patients": "2"}, TypeError, "patients: expected an integer"),
        ({"slices": 0}, ValueError, "slices: expected an integer >= 1, got 0"),
        ({"slices": 999}, ValueError, "slices: expected 1 to 300 slices of a chest, got 999"),
        ({"seed": -1}, ValueError, "seed: expected an integer >= 0, got -1"),
        ({"seed": 0.5}, TypeError, "seed: expected an integer"),
        ({"layout": "flat"}, ValueError, "layout: expected one of classic, nbia, got 'flat'"),
        ({"annotations": "no"}, ValueError, "annotations: expected one of series, tree, got 'no'"),
        ({"shape": (512, 16)}, ValueError, r"shape\[1\]: expected an integer >= 32"),
        ({"shape": 512}, TypeError, "shape: expected a pair"),
        ({"jobs": 0}, ValueError, "jobs: expected an integer >= 1, got 0"),
    ],
)
def test_errors(tmp_path, options, error, message):
    arguments = {"patients": 1, "slices": 1, "shape": SMALL} | options
    with pytest.raises(error, match=message):
        write_lidc(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_folders_with_something_in_them_are_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FileExistsError, match="expected a folder, got a file"):
        write_lidc(file, 1, 1, shape=SMALL)
    with pytest.raises(FileExistsError, match="expected an empty folder"):
        write_lidc(tmp_path, 1, 1, shape=SMALL)
    with pytest.raises(FileExistsError, match="file: expected only what belongs to the layout"):
        write_lidc(tmp_path, 1, 1, shape=SMALL, resume=True)
    with pytest.raises(NotADirectoryError):
        write_lidc(file / "below", 1, 1, shape=SMALL)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"slices": 2}, {"shape": (50, 48)}, {"annotations": "tree"}]
)
def test_another_request_is_not_mixed_in(tmp_path, other):
    first = {"slices": 1, "shape": SMALL, "seed": 0}
    write_lidc(tmp_path, 1, **first)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="expected only files of this request"):
        write_lidc(tmp_path, 1, resume=True, **(first | other))
    assert contents(tmp_path) == before


def test_layouts_are_not_mixed(tmp_path):
    write_lidc(tmp_path, 1, 1, shape=SMALL)
    with pytest.raises(FileExistsError, match="LIDC-IDRI-0001: expected only what belongs"):
        write_lidc(tmp_path, 1, 1, shape=SMALL, layout="nbia", resume=True)


def test_a_dead_process_is_an_error(tmp_path, monkeypatch):
    class Broken:
        def __init__(self, *arguments, **options):
            pass

        def submit(self, *arguments):
            future = Future()
            future.set_exception(BrokenProcessPool("terminated abruptly"))
            return future

        def shutdown(self, **options):
            pass

    monkeypatch.setattr(writing, "ProcessPoolExecutor", Broken)
    with pytest.raises(ChildProcessError, match="a process that was writing patients died"):
        write_lidc(tmp_path, 2, 1, shape=SMALL, jobs=2)
