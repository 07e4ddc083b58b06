"""Tasks that read their pairs, or images, from a path."""

import json

import h5py
import numpy as np
import pytest
import torch
from small_task import small_task

from tomolearn import Grid, ParallelBeam
from tomolearn.data import RandomThorax, n_pairs, store_pairs
from tomolearn.data.files import LoDoPaBFiles, SliceCache
from tomolearn.data.lidc.slices import FORMAT
from tomolearn.simulation import Acquisition, PhotonNoise, Refinement
from tomolearn.tasks import Split, data_of_others, get_task

GRID = Grid((24, 24), 15.0)
PATIENTS = ["a", "a", "b", "c", "c", "d", "d"]
PARTS = ["train"] * 3 + ["test"] * 2 + ["validation"] * 2


def measured(grid):
    scan = ParallelBeam.covering(grid, 10)
    return Acquisition(scan, PhotonNoise(1e4, 0.08), Refinement("linear", 2))


def slice_task(*, drawn, **changes):
    upright, turned = RandomThorax("upright"), RandomThorax("any")
    seeds = {"train": 1, "validation": 2, "test": 3, "test-rotated": 3}
    fields = {
        "name": "slices",
        "grid": GRID,
        "acquisition": measured(GRID),
        "splits": {
            name: Split((turned if "-" in name else upright) if drawn else None, seed=seed, size=9)
            for name, seed in seeds.items()
        },
        "files": SliceCache(resize=drawn),
    }
    return small_task(**fields | changes)


@pytest.fixture
def cache(tmp_path, numpy_rng):
    path = tmp_path / "slices.h5"
    with h5py.File(path, "w") as file:
        file["hounsfield"] = numpy_rng.integers(-1000, 1000, (7, 24, 24), dtype=np.int16)
        for name, values in (("patient", PATIENTS), ("part", PARTS)):
            file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        file.attrs["format"] = FORMAT
    return path


@pytest.mark.parametrize("drawn", [False, True])
def test_images_of_a_cache(cache, drawn):
    task = slice_task(drawn=drawn)
    for split, size in (("train", 3), ("validation", 2), ("test", 2), ("test-rotated", 2)):
        pairs = task.pairs(split, data=cache)
        assert n_pairs(pairs) == size
        sinogram, image = pairs[0]
        assert sinogram.shape == (1, *task.scan.shape)
        assert image.shape == (1, *GRID.shape)
        again = task.pairs(split, data=str(cache))[0]
        assert all(torch.equal(a, b) for a, b in zip((sinogram, image), again, strict=True))
    assert n_pairs(task.pairs("train", data=cache, size=2)) == 2
    # the same slices
    upright, turned = (task.pairs(name, data=cache)[0][1] for name in ("test", "test-rotated"))
    assert not torch.equal(upright, turned)


def test_seed_is_that_of_the_noise(cache):
    task = slice_task(drawn=False)
    first, second = (task.pairs("test", data=cache, seed=seed)[0] for seed in (5, 6))
    # less than one Hounsfield unit
    assert (first[1] - second[1]).abs().max() <= 1 / 4096
    assert not torch.equal(first[0], second[0])


def test_other_sizes_are_interpolated_or_an_error(cache):
    grid = Grid((12, 12), 30.0)
    fields = {"grid": grid, "acquisition": measured(grid)}
    assert slice_task(drawn=True, **fields).pairs("test", data=cache)[0][1].shape == (1, 12, 12)
    with pytest.raises(ValueError, match=r"expected slices of shape \(12, 12\), got .*--shape 12"):
        slice_task(drawn=False, **fields).pairs("test", data=cache)


def lodopab_task(**changes):
    splits = {name: Split(None, seed=k) for k, name in enumerate(("train", "validation", "test"))}
    fields = {"name": "stored", "splits": splits, "files": LoDoPaBFiles()}
    return small_task(**fields | changes)


@pytest.fixture
def lodopab(tmp_path):
    folder = tmp_path / "lodopab"
    folder.mkdir()
    task = small_task()
    for part in ("train", "validation", "test"):
        for kind, shape in (("observation", task.scan.shape), ("ground_truth", task.grid.shape)):
            with h5py.File(folder / f"{kind}_{part}_000.hdf5", "w") as file:
                file["data"] = np.random.default_rng(1).random((6, *shape), np.float32)
    return folder


def test_stored_pairs_of_a_folder(lodopab):
    task = lodopab_task()
    pairs = task.pairs("train", data=lodopab, size=4)
    assert n_pairs(pairs) == 4
    assert [image.shape for _, image in pairs.__getitems__([3, 0])] == [(1, 16, 16)] * 2
    assert json.loads(json.dumps(task.to_dict()))["splits"]["train"]["source"] is None
    with pytest.raises(ValueError, match=r"size: expected at most the 6 pairs of .*lodopab, got 7"):
        task.pairs("train", data=lodopab, size=7)
    with pytest.raises(ValueError, match=r"seed: expected none, since the pairs of .* are stored"):
        task.pairs("train", data=lodopab, seed=1)
    six = Acquisition(ParallelBeam.covering(Grid((16, 16)), 6))
    fewer = lodopab_task(acquisition=six, files=LoDoPaBFiles(6))
    sinogram, _ = fewer.pairs("train", data=lodopab)[1]
    assert torch.equal(sinogram, task.pairs("train", data=lodopab)[1][0][:, ::2])
    with pytest.raises(ValueError, match=r"lodopab: expected pairs of stored, .*\(6, 25\)"):
        lodopab_task(acquisition=six).pairs("train", data=lodopab)


def test_any_task_takes_a_file_of_pairs(tmp_path):
    task = small_task()
    path = tmp_path / "pairs.h5"
    attributes = {"task": json.dumps(task.to_dict()), "split": "train"}
    store_pairs(task.pairs("train"), path, 5, attributes=attributes)
    found = task.pairs("train", data=path)
    torch.testing.assert_close(found[3], task.pairs("train")[3])
    assert data_of_others(path) is None
    with pytest.raises(ValueError, match="expected pairs of the test split, got those of train"):
        task.pairs("test", data=path)
    with pytest.raises(ValueError, match=r"expected pairs of other, got those of small"):
        small_task(name="other").pairs("train", data=path)
    with pytest.raises(ValueError, match=r"seed: expected none, since the pairs of .* are stored"):
        task.pairs("train", data=path, seed=3)
    # of version 0.1, which described tasks otherwise
    earlier = {"name": "small", "simulation_grid": None, "refinement": "average", "noise": None}
    older = tmp_path / "older.h5"
    attributes = {"task": json.dumps(earlier), "split": "train"}
    store_pairs(task.pairs("train"), older, 5, attributes=attributes)
    torch.testing.assert_close(task.pairs("train", data=older)[3], found[3])
    # also one whose images come from elsewhere
    assert n_pairs(lodopab_task(name="small").pairs("train", data=path)) == 5


def test_data_of_others(tmp_path, cache, lodopab):
    for data in (None, cache, lodopab, tmp_path / "missing"):
        assert data_of_others(data) == data


@pytest.mark.parametrize("name", ["lodopab", "lodopab-200", "lidc-50"])
def test_missing_data_says_how_to_get_it(name, tmp_path):
    task = get_task(name)
    command = "tomolearn lidc " + ("slices" if name == "lidc-50" else "lodopab")
    for split in task.splits:
        with pytest.raises(ValueError, match=f"data: {name} needs the path .*{command}.*got none"):
            task.pairs(split)
        with pytest.raises(FileNotFoundError, match=f"no: there is no such file .*{command}"):
            task.pairs(split, data=tmp_path / "no")
    with pytest.raises(ValueError, match="split: expected one of train"):
        task.pairs("all", data=tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lidc-50", "expected a file that `tomolearn lidc slices` wrote, got a folder"),
        ("ellipses", "expected a file of pairs, got a folder"),
    ],
)
def test_a_folder_in_place_of_a_file(name, words, tmp_path):
    with pytest.raises(IsADirectoryError, match=words):
        get_task(name).pairs("test", data=tmp_path)


def test_data_that_no_task_reads(tmp_path):
    (tmp_path / "x.h5").write_text("x")
    with pytest.raises(ValueError, match="expected an HDF5 file"):
        small_task().pairs("train", data=tmp_path / "x.h5")
    with pytest.raises(FileNotFoundError, match=r"no\.h5: there is no such file"):
        small_task().pairs("train", data=tmp_path / "no.h5")
