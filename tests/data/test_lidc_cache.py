"""The cache of slices: what is in it, what a stopped or disturbed run leaves, its images."""

import json
import pickle
import shutil
from collections import Counter

import h5py
import numpy as np
import pytest
import torch
from lidc_trees import PATIENTS, SEED, SHAPE, SLICES
from scipy import ndimage

from data_sim.lidc import lidc_patient, read
from tomolearn import Grid, ParallelBeam
from tomolearn.data import LIDCSlices, SimulatedPairs
from tomolearn.data.lidc import (
    PatientSplits,
    Preparation,
    SliceSelection,
    cache,
    write_slices,
)
from tomolearn.dicom import find_series, read_slice
from tomolearn.simulation import Acquisition, Refinement

SPLIT = PatientSplits(seed=2, fractions={"train": 0.6, "test": 0.4})
SMALL = Preparation(128)


@pytest.fixture(scope="module")
def made(lidc_tree, tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "all.h5"
    selection = SliceSelection(nodules=True)
    report = write_slices(lidc_tree, path, preparation=SMALL, selection=selection, splits=SPLIT)
    return path, report


def contents(path):
    with h5py.File(path) as file:
        return {name: data[()].tolist() for name, data in file.items()}


def columns(path, *names):
    with h5py.File(path) as file:
        return [file[n].asstr()[()] if file[n].dtype == object else file[n][()] for n in names]


def test_every_slice_is_there_once(lidc_tree, made):
    path, report = made
    uids, patients, splits, z = columns(path, "sop_instance_uid", "patient", "part", "z")
    assert len(set(uids)) == len(uids) == PATIENTS * SLICES
    assert sum(report.n_slices.values()) == len(uids)
    for patient, split in zip(patients, splits, strict=True):
        assert split == SPLIT.split_of(patient)
    assert report.n_slices == dict(Counter(splits))
    assert report.left_out == ()
    for patient in set(patients):
        assert (np.diff(z[patients == patient]) > 0).all()


def test_pixels_are_those_of_the_files(lidc_tree, made):
    values, uids, spacing = columns(made[0], "hounsfield", "sop_instance_uid", "spacing")
    n = 0
    for path in lidc_tree.rglob("*.dcm"):
        try:
            read = read_slice(path)
        except ValueError:  # a radiograph
            continue
        (place,) = np.flatnonzero(uids == read.sop_instance_uid)
        # the filling of -2000, which some scanners do not announce, is air
        expected = np.where(read.hounsfield == -2000, -1000, read.hounsfield)
        np.testing.assert_array_equal(values[place], expected)
        assert tuple(spacing[place]) == read.spacing
        n += 1
    assert n == PATIENTS * SLICES


def test_masks_are_what_half_of_the_readers_marked(made):
    masks, patients = columns(made[0], "nodules", "patient")
    assert masks.any()
    for index in range(1, PATIENTS + 1):
        patient = lidc_patient(index, SEED, slices=SLICES, shape=SHAPE)
        # votes per lesion, filled from its outlines by other means
        votes, readers = {}, Counter()
        for reading in read(patient):
            for mark in reading.marks:
                if not mark.characteristics:
                    continue
                readers[mark.lesion] += 1
                volume = votes.setdefault(mark.lesion, np.zeros((SLICES, *SHAPE)))
                for contour in mark.contours:
                    border = np.zeros(SHAPE, bool)
                    border[tuple(contour.points.T)] = True
                    filled = ndimage.binary_fill_holes(border)
                    inside = filled & ~border
                    volume[contour.slice] += inside if contour.inclusion else -1.0 * filled
        expected = np.zeros((SLICES, *SHAPE), bool)
        for lesion, volume in votes.items():
            expected |= volume >= readers[lesion] / 2
        np.testing.assert_array_equal(masks[patients == f"LIDC-IDRI-{index:04d}"], expected)


@pytest.mark.parametrize(
    ("selection", "number"),
    [
        (SliceSelection(every=2), 3 * PATIENTS),
        (SliceSelection(per_patient=2), 2 * PATIENTS),
        (SliceSelection(per_patient=1), PATIENTS),
        (SliceSelection(every=3, per_patient=9), 2 * PATIENTS),
    ],
)
def test_selection(lidc_tree, made, tmp_path, selection, number):
    write_slices(lidc_tree, tmp_path / "s.h5", preparation=SMALL, selection=selection, splits=SPLIT)
    (z,) = columns(tmp_path / "s.h5", "z")
    everything, patients = columns(made[0], "z", "patient")
    assert len(z) == number
    if selection.every == 2:
        whole = [everything[patients == patient][::2] for patient in sorted(set(patients))]
        np.testing.assert_array_equal(z, np.concatenate(whole))


def test_slices_with_nodules_only(lidc_tree, made, tmp_path):
    selection = SliceSelection(nodules=True, nodules_only=True)
    write_slices(lidc_tree, tmp_path / "s.h5", preparation=SMALL, selection=selection, splits=SPLIT)
    (uids,) = columns(tmp_path / "s.h5", "sop_instance_uid")
    every, masks = columns(made[0], "sop_instance_uid", "nodules")
    assert list(uids) == list(every[masks.any((1, 2))])
    assert 0 < len(uids) < len(every)


def test_prepared_slices(lidc_tree, tmp_path):
    write_slices(
        lidc_tree,
        tmp_path / "s.h5",
        preparation=Preparation(130, 4.0, body_only=True),
        selection=SliceSelection(nodules=True),
        splits=SPLIT,
    )
    values, masks, spacing = columns(tmp_path / "s.h5", "hounsfield", "nodules", "spacing")
    assert values.shape == masks.shape == (PATIENTS * SLICES, 130, 130)
    assert (spacing == 4).all()
    assert (values[:, 0, 0] == -1000).all()


def test_two_runs_give_the_same_bytes(lidc_tree, made, tmp_path):
    selection = SliceSelection(nodules=True)
    write_slices(lidc_tree, tmp_path / "a.h5", preparation=SMALL, selection=selection, splits=SPLIT)
    assert (tmp_path / "a.h5").read_bytes() == made[0].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, PATIENTS])
def test_stopped_run_continues(lidc_tree, made, tmp_path, after, monkeypatch):
    path = tmp_path / "a.h5"
    options = {"preparation": SMALL, "selection": SliceSelection(nodules=True), "splits": SPLIT}

    def stop(done, total):
        if done == after:
            raise Stopped

    with pytest.raises(Stopped):
        write_slices(lidc_tree, path, progress=stop, **options)
    assert not path.exists()
    # what a killed process leaves behind
    (tmp_path / ".a.h5.parts" / ".x.h5.1.partial").write_text("half")
    (tmp_path / ".a.h5.1.partial").write_text("half")
    written = []
    write = cache._Writer.write
    monkeypatch.setattr(
        cache._Writer, "write", lambda self, *given: written.append(write(self, *given))
    )
    write_slices(lidc_tree, path, **options)
    assert len(written) == PATIENTS - after
    assert path.read_bytes() == made[0].read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_parts_of_other_settings_or_damaged_are_made_again(lidc_tree, made, tmp_path):
    path = tmp_path / "a.h5"

    def stop(done, total):
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        write_slices(lidc_tree, path, preparation=Preparation(64), splits=SPLIT, progress=stop)
    # of another tree with the same names
    with pytest.raises(Stopped):
        write_slices(
            shutil.copytree(lidc_tree, tmp_path / "copy"),
            path,
            preparation=SMALL,
            selection=SliceSelection(nodules=True),
            splits=PatientSplits(seed=2, fractions=SPLIT.fractions),
            progress=stop,
        )
    before = {one.name: one.read_bytes() for one in (tmp_path / ".a.h5.parts").glob("*.h5")}
    with pytest.raises(Stopped):
        write_slices(
            lidc_tree,
            path,
            preparation=SMALL,
            selection=SliceSelection(nodules=True),
            splits=SPLIT,
            progress=stop,
        )
    for one in (tmp_path / ".a.h5.parts").glob("*.h5"):
        assert one.read_bytes() != before[one.name]
    first = sorted((tmp_path / ".a.h5.parts").glob("*.h5"))[0]
    first.write_bytes(first.read_bytes()[:500])
    selection = SliceSelection(nodules=True)
    write_slices(lidc_tree, path, preparation=SMALL, selection=selection, splits=SPLIT)
    assert path.read_bytes() == made[0].read_bytes()


def damaged_tree(lidc_tree, tmp_path):
    """A copy in which a slice of the second patient has lost its pixels' meaning."""
    root = tmp_path / "damaged"
    shutil.copytree(lidc_tree, root)
    (series,) = find_series(root / "LIDC-IDRI-0002").series
    path = series.slices[2].path
    # RescaleSlope (0028,1053), a decimal string, and no number any more
    data = path.read_bytes()
    at = data.index(b"\x28\x00\x53\x10DS")
    path.write_bytes(data[: at + 8] + b"x" + data[at + 9 :])
    return root, series.uid


def test_bad_series_costs_only_itself(lidc_tree, made, tmp_path):
    root, uid = damaged_tree(lidc_tree, tmp_path)
    report = write_slices(root, tmp_path / "a.h5", preparation=SMALL, splits=SPLIT)
    (line,) = report.left_out
    assert line.startswith(f"series {uid}: ")
    assert "RescaleSlope" in line
    found, patients = columns(tmp_path / "a.h5", "hounsfield", "patient")
    whole, everyone = columns(made[0], "hounsfield", "patient")
    np.testing.assert_array_equal(found, whole[everyone != "LIDC-IDRI-0002"])
    assert "LIDC-IDRI-0002" not in patients


def test_series_without_annotations_are_left_out_if_masks_are_wanted(lidc_tree, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(lidc_tree, root)
    (series,) = find_series(root / "LIDC-IDRI-0001").series
    (xml,) = series.slices[0].path.parent.glob("*.xml")
    xml.write_text("<")
    selection = SliceSelection(nodules=True)
    report = write_slices(
        root, tmp_path / "a.h5", preparation=SMALL, selection=selection, splits=SPLIT
    )
    assert any(series.uid in line for line in report.left_out)
    assert any(str(xml) in line for line in report.left_out)
    assert "LIDC-IDRI-0001" not in columns(tmp_path / "a.h5", "patient")[0]


def test_patients_in_no_part(lidc_tree, tmp_path):
    splits = PatientSplits(lists={"test": {"LIDC-IDRI-0003"}})
    report = write_slices(lidc_tree, tmp_path / "a.h5", preparation=SMALL, splits=splits)
    assert report.n_slices == {"test": SLICES}
    assert report.n_patients == {"test": 1}
    assert report.n_without_split == PATIENTS - 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"splits": PatientSplits(lists={"train": {"LIDC-IDRI-0099"}})}, "got 1 that are not"),
        (
            {"splits": PatientSplits(fractions={"train": 1e-12})},
            "expected slices to write, got none",
        ),
    ],
)
def test_nothing_to_write(lidc_tree, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        write_slices(lidc_tree, tmp_path / "a.h5", **options)
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every: expected an integer >= 1"),
        ({"per_patient": 0}, "per_patient: expected"),
        ({"min_readers": 0}, "min_readers: expected"),
        ({"consensus_level": 1.1}, r"consensus_level: expected a number in \(0, 1\]"),
    ],
)
def test_selections_that_are_none(options, words):
    with pytest.raises(ValueError, match=words):
        SliceSelection(**options)


# images of a cache


def rng():
    return np.random.default_rng(8)


def test_images_are_scaled_as_published(made):
    slices = LIDCSlices(made[0], "train")
    values, uids, splits = columns(made[0], "hounsfield", "sop_instance_uid", "part")
    assert len(slices) == (splits == "train").sum()
    seen = []
    for k in range(len(slices)):
        image = slices.image(k, SHAPE, rng())
        raw = image.astype(np.float64) * 4096 - 1024
        # the noise that was added is in [0, 1)
        hounsfield = slices.hounsfield(k)
        inside = (hounsfield > -1024) & (hounsfield < 3071)
        assert inside.mean() > 0.5
        added = (raw - hounsfield)[inside]
        assert added.min() > -1e-3
        assert added.max() < 1 + 1e-3
        assert added.mean() == pytest.approx(0.5, abs=0.02)
        # uniform in [0, 1)
        assert added.std() == pytest.approx(12**-0.5, abs=0.01)
        (place,) = [p for p in range(len(values)) if np.array_equal(values[p], hounsfield)]
        seen.append(uids[place])
        np.testing.assert_array_equal(slices.nodules(k), columns(made[0], "nodules")[0][place] > 0)
    assert set(seen) == set(uids[splits == "train"])


def test_first_images_are_of_several_patients(made):
    slices = LIDCSlices(made[0], "train")
    assert len(set(slices.patients)) > 1
    assert list(slices.patients) != sorted(slices.patients)
    again = LIDCSlices(made[0], "train")
    assert again.patients == slices.patients
    assert LIDCSlices(made[0], "train", order=1).patients != slices.patients


def test_resized_and_turned(made):
    upright = LIDCSlices(made[0], "test", resize=True)
    turned = LIDCSlices(made[0], "test", orientation="any")
    small = upright.image(0, (64, 64), rng())
    assert small.shape == (64, 64)
    assert small.dtype == np.float32
    whole = upright.image(0, SHAPE, rng())
    means = whole.reshape(64, 2, 64, 2).mean((1, 3))
    assert np.abs(small - means).mean() < 0.1 * means.std()
    first, second = (turned.image(0, SHAPE, np.random.default_rng(k)) for k in (1, 2))
    assert np.abs(first - second).mean() > 0.005
    rows, columns_ = np.indices(SHAPE) - (SHAPE[0] - 1) / 2
    disc = np.hypot(rows, columns_) < 60
    assert first[disc].mean() == pytest.approx(whole[disc].mean(), rel=0.02)


def test_pairs_show_the_images_in_order(made):
    grid = Grid(SHAPE, 2.8)
    acquisition = Acquisition(ParallelBeam.covering(grid, 12), refinement=Refinement("linear", 2))
    slices = LIDCSlices(made[0], "test")
    pairs = SimulatedPairs(slices, grid, acquisition)
    assert len(pairs) == len(slices)
    copied = pickle.loads(pickle.dumps(pairs))
    loader = torch.utils.data.DataLoader(pairs, batch_size=None, num_workers=2)
    for k, (sinogram, image) in enumerate(loader):
        hounsfield = slices.hounsfield(k).astype(np.float32)
        assert np.abs(image[0].numpy() * 4096 - 1024.5 - hounsfield)[hounsfield >= -1024].max() < 1
        torch.testing.assert_close(copied[k][0], sinogram)
    with pytest.raises(ValueError, match=r"size: expected at most the .* images of the source"):
        SimulatedPairs(slices, grid, acquisition, size=1000)


def test_cache_errors(made, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.h5: there is no such file"):
        LIDCSlices(tmp_path / "none.h5", "train")
    (tmp_path / "text.h5").write_text("x")
    with pytest.raises(ValueError, match="expected an HDF5 file"):
        LIDCSlices(tmp_path / "text.h5", "train")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(ValueError, match="expected a cache that `tomolearn lidc slices` wrote"):
        LIDCSlices(tmp_path / "other.h5", "train")
    with pytest.raises(ValueError, match="of the split validation, got splits test, train"):
        LIDCSlices(made[0], "validation")
    slices = LIDCSlices(made[0], "test")
    with pytest.raises(ValueError, match=r"expected slices of shape \(64, 64\), got \(128, 128\)"):
        slices.image(0, (64, 64), rng())
    with pytest.raises(IndexError, match="index: expected one from 0 to"):
        slices.hounsfield(len(slices))
    with pytest.raises(ValueError, match="orientation: expected one of"):
        LIDCSlices(made[0], "test", orientation="left")


def test_cache_without_masks(lidc_tree, tmp_path):
    write_slices(lidc_tree, tmp_path / "a.h5", preparation=SMALL, splits=SPLIT)
    with pytest.raises(ValueError, match="expected nodules in it, got a cache made without"):
        LIDCSlices(tmp_path / "a.h5", "train").nodules(0)
    assert json.loads(json.dumps(LIDCSlices(tmp_path / "a.h5", "train").to_dict()))["split"]
