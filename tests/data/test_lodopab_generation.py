"""Making a set like LoDoPaB-CT of a synthetic tree: its order, its files, a stopped run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_series import along_z, enhanced_image
from lidc_trees import PATIENTS, SEED, SHAPE, SLICES

from data_sim.lidc import write_lidc
from tomolearn import RayTransform
from tomolearn.data import LoDoPaBPairs
from tomolearn.data.lidc import SPLITS, PatientSplits
from tomolearn.data.lodopab import (
    Recipe,
    Sample,
    SampleList,
    generation,
    make_lodopab,
    pairs,
    read_series_list,
    select_samples,
)
from tomolearn.dicom import find_series, read_slice

RECIPE = Recipe(slice_size=SHAPE[0], margin=19, simulated_size=150, n_angles=20)
SPLIT = PatientSplits(
    lists={
        "train": {"LIDC-IDRI-0001", "LIDC-IDRI-0004", "LIDC-IDRI-0005"},
        "validation": {"LIDC-IDRI-0002"},
        "test": {"LIDC-IDRI-0003"},
    }
)
OPTIONS = {"splits": SPLIT, "every": 1, "recipe": RECIPE}
PER_FILE = 4


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    for module in (pairs, generation):
        monkeypatch.setattr(module, "SAMPLES_PER_FILE", PER_FILE)


@pytest.fixture
def made(lidc_tree, tmp_path):
    folder = tmp_path / "made"
    return folder, make_lodopab(lidc_tree, folder, **OPTIONS)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_samples_are_the_slices_of_the_lists(lidc_tree, made):
    folder, samples = made
    for split, patients in SPLIT.lists.items():
        expected = {
            one.sop_instance_uid
            for patient in patients
            for series in find_series(lidc_tree / patient).series
            for one in series.slices
        }
        assert {one.sop_instance_uid for one in samples.samples[split]} == expected
        assert len(samples.samples[split]) == SLICES * len(patients)
        assert len(LoDoPaBPairs(folder, split)) == SLICES * len(patients)
    # mixed, so that a file has several patients
    first = [one.patient for one in samples.samples["train"][:PER_FILE]]
    assert len(set(first)) > 1


def test_pairs_are_the_slices_and_what_a_scan_of_them_shows(lidc_tree, made):
    folder, samples = made
    operator = RayTransform(RECIPE.grid, RECIPE.scan)
    found = LoDoPaBPairs(folder, "train")
    for k, sample in enumerate(samples.samples["train"]):
        sinogram, image = found[k]
        read = read_slice(lidc_tree / sample.path)
        assert (read.sop_instance_uid, read.patient_id) == (sample.sop_instance_uid, sample.patient)
        middle = np.clip(read.hounsfield[19:-19, 19:-19].T, -1000, 3071)
        shown = (image[0].numpy() * 81.35858 - 20) * 1000 / 19.98
        # less than one unit of noise was added
        added = (shown - middle)[middle > -1000]
        assert -1e-2 < added.min() < added.max() < 1 + 1e-2
        clean = operator(image)
        assert (sinogram - clean).norm() < 0.15 * clean.norm()


def test_patients_have_numbers_at_random_part_after_part(made):
    folder, samples = made
    ids = {
        split: np.loadtxt(folder / f"patient_ids_rand_{split}.csv", dtype=int, ndmin=1)
        for split in SPLITS
    }
    assert set(ids["train"]) == {0, 1, 2}
    assert set(ids["validation"]) == {3}
    assert set(ids["test"]) == {4}
    for split in SPLITS:
        patients = [one.patient for one in samples.samples[split]]
        assert len(set(zip(patients, ids[split], strict=True))) == len(set(patients))
        assert len(patients) == len(ids[split])


def test_two_runs_are_the_same_and_seeds_differ(lidc_tree, made, tmp_path):
    make_lodopab(lidc_tree, tmp_path / "again", **OPTIONS)
    assert bytes_of(tmp_path / "again") == bytes_of(made[0])
    other = make_lodopab(lidc_tree, tmp_path / "other", seed=1, **OPTIONS)
    assert other.samples["train"] != made[1].samples["train"]


def test_noise_of_a_slice_does_not_depend_on_the_others(lidc_tree, made, tmp_path):
    splits = PatientSplits(lists={"train": {"LIDC-IDRI-0004"}})
    alone = make_lodopab(lidc_tree, tmp_path / "alone", splits=splits, every=1, recipe=RECIPE)
    places = {one.sop_instance_uid: k for k, one in enumerate(made[1].samples["train"])}
    first, second = LoDoPaBPairs(tmp_path / "alone", "train"), LoDoPaBPairs(made[0], "train")
    for k, one in enumerate(alone.samples["train"]):
        sinogram, image = first[k]
        expected = second[places[one.sop_instance_uid]]
        assert (image == expected[1]).all()
        assert ((sinogram - expected[0]).abs() > 1e-3).float().mean() < 0.01


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [4, 15, 20])
def test_stopped_run_continues(lidc_tree, made, tmp_path, after, monkeypatch):
    folder = tmp_path / "stopped"

    def stop(done, total):
        assert total == PATIENTS * SLICES
        if done >= after:
            raise Stopped

    with pytest.raises(Stopped):
        make_lodopab(lidc_tree, folder, progress=stop, **OPTIONS)
    (folder / ".observation_train_003.hdf5.77.partial").write_text("half")
    kept = bytes_of(folder)
    # a file whose pair is missing is made again
    (folder / "ground_truth_train_000.hdf5").unlink()
    monkeypatch.setattr(generation, "selected", None)
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.hdf5")}
    make_lodopab(lidc_tree, folder, **OPTIONS)
    assert bytes_of(folder) == bytes_of(made[0])
    untouched = [name for name in times if "train_000" not in name]
    assert all((folder / name).stat().st_mtime_ns == times[name] for name in untouched)
    assert len(kept) < len(bytes_of(folder)) + 1


def test_killed_run_continues(lidc_tree, made, tmp_path):
    folder = tmp_path / "killed"
    program = (
        "import sys\n"
        "from tomolearn.data.lodopab import generation, pairs, Recipe, make_lodopab\n"
        "from tomolearn.data.lidc import PatientSplits\n"
        f"generation.SAMPLES_PER_FILE = pairs.SAMPLES_PER_FILE = {PER_FILE}\n"
        f"splits = PatientSplits(lists={ {k: set(v) for k, v in SPLIT.lists.items()}!r})\n"
        f"recipe = Recipe(**{RECIPE.to_dict()!r})\n"
        "make_lodopab(sys.argv[1], sys.argv[2], splits=splits, every=1, recipe=recipe,\n"
        "    progress=lambda done, total: print(done, flush=True))\n"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(lidc_tree), str(folder)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    process.stdout.readline()
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    make_lodopab(lidc_tree, folder, **OPTIONS)
    assert bytes_of(folder) == bytes_of(made[0])


def test_slices_of_another_size_or_damaged_are_counted(lidc_tree, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(lidc_tree, root)
    (series,) = find_series(root / "LIDC-IDRI-0001").series
    data = series.slices[2].path.read_bytes()
    at = data.index(b"\x28\x00\x53\x10DS")
    series.slices[2].path.write_bytes(data[: at + 8] + b"x" + data[at + 9 :])
    write_lidc(tmp_path / "large", 1, 2, seed=SEED, shape=(160, 160))
    shutil.copytree(tmp_path / "large" / "LIDC-IDRI-0001", root / "LIDC-IDRI-0001" / "more")
    found = select_samples(root, **OPTIONS)
    assert found.left_out == {"of another size, 160 x 160": 2, "unreadable": 1}
    assert len(found.samples["train"]) == 3 * SLICES - 1
    with pytest.raises(ValueError, match=r"slices that can be used, got none \(25 of another size"):
        select_samples(lidc_tree, recipe=Recipe(), splits=SPLIT, every=1)


@pytest.mark.parametrize(
    ("every", "per_patient", "number"), [(2, None, 3), (5, None, 1), (1, 2, 2), (1, 99, 5)]
)
def test_selection(lidc_tree, every, per_patient, number):
    found = select_samples(
        lidc_tree, splits=SPLIT, every=every, per_patient=per_patient, recipe=RECIPE
    )
    assert [len(found.samples[split]) for split in SPLITS] == [3 * number, number, number]


def test_one_file_is_shorter(made):
    with h5py.File(made[0] / "observation_train_003.hdf5") as file:
        assert file["data"].shape == (3, *RECIPE.scan.shape)
        assert file["data"].dtype == np.float32


def test_other_settings_need_another_folder(lidc_tree, made):
    with pytest.raises(ValueError, match="got some with another every; choose another folder"):
        make_lodopab(lidc_tree, made[0], **OPTIONS | {"every": 2})
    text = json.loads((made[0] / "samples.json").read_text())
    (made[0] / "samples.json").write_text(json.dumps({**text, "samples": 3}))
    with pytest.raises(ValueError, match=r"samples\.json: expected a list of samples"):
        make_lodopab(lidc_tree, made[0], **OPTIONS)
    (made[0] / "samples.json").unlink()
    with pytest.raises(ValueError, match=r"expected no HDF5 files without samples\.json"):
        make_lodopab(lidc_tree, made[0], **OPTIONS)


def test_slices_that_changed_meanwhile(lidc_tree, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(lidc_tree, root)
    made = make_lodopab(root, tmp_path / "made", **OPTIONS)
    first, second = made.samples["train"][:2]
    shutil.copy(root / second.path, root / first.path)
    (tmp_path / "made" / "observation_train_000.hdf5").unlink()
    with pytest.raises(ValueError, match=f"expected the slice {first.sop_instance_uid} of samples"):
        make_lodopab(root, tmp_path / "made", **OPTIONS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every: expected an integer >= 1"),
        ({"per_patient": 0}, "per_patient: expected"),
        ({"seed": -1}, "seed: expected"),
        (
            {"splits": PatientSplits(lists={"dev": {"a"}})},
            r"splits: expected train.* \['dev'\]",
        ),
        ({"splits": PatientSplits(lists={"test": {"LIDC-IDRI-0077"}})}, "expected slices|LIDC-I"),
    ],
)
def test_errors(lidc_tree, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        make_lodopab(lidc_tree, tmp_path / "out", **OPTIONS | options)
    assert not (tmp_path / "out").exists()
    # one that was there before stays
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=words):
        make_lodopab(lidc_tree, tmp_path / "out", **OPTIONS | options)
    assert list((tmp_path / "out").iterdir()) == []


def test_files_of_another_tree_are_refused(lidc_tree, made, tmp_path):
    """A finished folder was taken for the result of whatever tree."""
    folder, _ = made
    before = bytes_of(folder)
    elsewhere = shutil.copytree(lidc_tree, tmp_path / "elsewhere")
    words = f"expected files made of {elsewhere}, got some of {lidc_tree}; .* if the tree was moved"
    with pytest.raises(ValueError, match=words):
        make_lodopab(elsewhere, folder, **OPTIONS)
    with pytest.raises(ValueError, match="with another root, every; choose another folder"):
        make_lodopab(elsewhere, folder, **OPTIONS | {"every": 2})
    with pytest.raises(NotADirectoryError, match="nowhere: expected a folder of LIDC-IDRI"):
        make_lodopab(tmp_path / "nowhere", folder, **OPTIONS)
    assert bytes_of(folder) == before


def test_a_moved_tree_goes_on_as_the_message_says(lidc_tree, tmp_path):
    root = shutil.copytree(lidc_tree, tmp_path / "root")
    folder = tmp_path / "made"
    make_lodopab(root, folder, **OPTIONS)
    before = bytes_of(folder)
    moved = root.rename(tmp_path / "moved")
    (folder / "observation_train_000.hdf5").unlink()
    known = folder / "samples.json"
    known.write_text(known.read_text().replace(str(root), str(moved)))
    make_lodopab(moved, folder, **OPTIONS)
    assert bytes_of(folder) == before | {"samples.json": known.read_bytes()}


def test_two_runs_at_once(lidc_tree, tmp_path):
    def other(done, total):
        with pytest.raises(BlockingIOError, match="another run is at work in this folder"):
            make_lodopab(lidc_tree, tmp_path / "made", **OPTIONS)

    make_lodopab(lidc_tree, tmp_path / "made", progress=other, **OPTIONS)
    assert not (tmp_path / "made" / ".lock").exists()


def test_listed_patients_are_looked_for_first(lidc_tree, tmp_path, monkeypatch):
    def read(self):
        raise AssertionError("no file is to be read")

    monkeypatch.setattr("tomolearn.data.lidc.folders.PatientFolder.catalogue", read)
    splits = PatientSplits(lists={"train": {"LIDC-IDRI-0001", "LIDC-IDRI-0099"}})
    with pytest.raises(ValueError, match="got 1 that are not: LIDC-IDRI-0099"):
        make_lodopab(lidc_tree, tmp_path / "made", **OPTIONS | {"splits": splits})


def test_series_of_a_list(lidc_tree, tmp_path):
    every = [one.uid for one in find_series(lidc_tree).series]
    chosen = every[:2]
    (tmp_path / "a.json").write_text(
        json.dumps({"series_excluded_by_manual_low_q_filter": every[2:], "series_included": chosen})
    )
    (tmp_path / "b.json").write_text(json.dumps(chosen))
    (tmp_path / "c.txt").write_text("\n".join(chosen) + "\n")
    for name in ("a.json", "b.json", "c.txt"):
        assert read_series_list(tmp_path / name) == set(chosen)
    samples = select_samples(lidc_tree, series=read_series_list(tmp_path / "a.json"), **OPTIONS)
    assert len(samples) == 2 * SLICES
    with pytest.raises(ValueError, match=r"got none \(no CT series of those to choose from\)"):
        select_samples(lidc_tree, series={"1.2.3"}, **OPTIONS)
    for text in ("", '{"series": []}', "[]", '["LIDC-IDRI-0001"]', "{"):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match=r"a\.json: expected (SeriesInstanceUIDs|JSON), got"):
            read_series_list(tmp_path / "a.json")


def test_images_of_one_file_are_samples_with_noise_of_their_own(tmp_path):
    dataset = enhanced_image(along_z(3), shape=SHAPE)
    stored = np.stack([np.full(SHAPE, 1024 + 100 * k, np.int16) for k in range(3)])
    dataset.PixelData = stored.tobytes()
    (tmp_path / "tree").mkdir()
    write(tmp_path / "tree" / "e.dcm", dataset)
    splits = PatientSplits(fractions={"train": 1.0})
    samples = make_lodopab(tmp_path / "tree", tmp_path / "made", **OPTIONS | {"splits": splits})
    frames = [sample.frame for sample in samples.samples["train"]]
    assert sorted(frames) == [0, 1, 2]
    added = []
    for frame, (_, image) in zip(frames, LoDoPaBPairs(tmp_path / "made", "train"), strict=True):
        shown = (image[0].numpy().astype(float) * 81.35858 - 20) * 1000 / 19.98
        added.append(shown - 100 * frame)
        assert -1e-2 < added[-1].min() < added[-1].max() < 1 + 1e-2
    assert np.abs(np.corrcoef([one.ravel() for one in added]) - np.eye(3)).max() < 0.1


def test_slices_beyond_the_circle_are_left_out(lidc_tree, tmp_path):
    root = shutil.copytree(lidc_tree, tmp_path / "tree")
    (series,) = find_series(root / "LIDC-IDRI-0002").series
    for one, row, value in ((series.slices[0], 19, -2000), (series.slices[1], 18, -2000)):
        dataset = pydicom.dcmread(one.path)
        stored = dataset.pixel_array.astype(np.int16)
        # the first pixel of the middle, and one beside it
        stored[row, row] = value
        dataset.PixelData, dataset.PixelRepresentation = stored.tobytes(), 1
        dataset.save_as(one.path)
    samples = select_samples(root, **OPTIONS)
    assert samples.left_out == {"reaching beyond the scanner's circle": 1}
    kept = {sample.sop_instance_uid for sample in samples.samples["validation"]}
    assert kept == {one.sop_instance_uid for one in series.slices[1:]}


def test_parts_are_not_in_one_order(lidc_tree):
    """Samples of two splits with as many slices each have orders of their own."""
    orders = []
    for split in ("train", "test"):
        splits = PatientSplits(lists={split: {"LIDC-IDRI-0001"}})
        samples = select_samples(lidc_tree, **OPTIONS | {"splits": splits}).samples[split]
        orders.append([one.sop_instance_uid for one in samples])
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_numbers_of_patients_are_not_in_one_order():
    patients = [f"LIDC-IDRI-{k:04d}" for k in range(1, 21)]
    given = {
        split: tuple(Sample("a.dcm", None, patient, "1") for patient in patients)
        for split in SPLITS
    }
    numbers = generation._patient_numbers(SampleList({}, given, {}), 0)
    orders = [np.argsort(numbers[split]).tolist() for split in SPLITS]
    for place, order in enumerate(orders):
        assert sorted(numbers[SPLITS[place]]) == list(range(20 * place, 20 * place + 20))
        assert order != sorted(order)
        assert order not in orders[:place]
