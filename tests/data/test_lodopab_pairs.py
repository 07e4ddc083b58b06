"""LoDoPaB-CT's files as pairs: which sample is which, and what is wrong with files."""

import errno
import pickle

import h5py
import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from tomolearn.data import LoDoPaBPairs
from tomolearn.data.lodopab import pairs as module

ANGLES, BINS, PIXELS, PER_FILE = 20, 7, 5, 4


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    assert module.SAMPLES_PER_FILE == 128
    monkeypatch.setattr(module, "SAMPLES_PER_FILE", PER_FILE)


def write(path, values):
    with h5py.File(path, "w") as file:
        file["data"] = np.asarray(values, np.float32)


def sample(k):
    """Values that tell sample, angle, bin and pixel from each other."""
    observation = k + np.arange(ANGLES)[:, None] / 100 + np.arange(BINS) / 1e4
    image = k + np.arange(PIXELS)[:, None] / 10 + np.arange(PIXELS) / 100
    return observation, image


def make(folder, split="train", n=10):
    for number, first in enumerate(range(0, n, PER_FILE)):
        found = [sample(k) for k in range(first, min(first + PER_FILE, n))]
        write(folder / f"observation_{split}_{number:03d}.hdf5", [y for y, _ in found])
        write(folder / f"ground_truth_{split}_{number:03d}.hdf5", [x for _, x in found])
    return folder


def test_samples_in_order_in_millimetres(tmp_path):
    pairs = LoDoPaBPairs(make(tmp_path), "train")
    assert len(pairs) == 10
    assert (pairs.sinogram_shape, pairs.image_shape) == ((ANGLES, BINS), (PIXELS, PIXELS))
    for k in (9, 0, 4, 3, 8):
        sinogram, image = pairs[k]
        assert sinogram.shape == (1, ANGLES, BINS)
        assert image.shape == (1, PIXELS, PIXELS)
        assert sinogram.dtype == image.dtype == torch.float32
        np.testing.assert_allclose(sinogram[0], 1000 * sample(k)[0], rtol=1e-6)
        np.testing.assert_allclose(image[0], sample(k)[1], rtol=1e-6)


def test_every_fifth_angle(tmp_path):
    pairs = LoDoPaBPairs(make(tmp_path), "train", n_angles=4)
    assert pairs.sinogram_shape == (4, BINS)
    np.testing.assert_allclose(pairs[6][0][0], 1000 * sample(6)[0][[0, 5, 10, 15]], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 4, 5, 8])
def test_numbers_of_samples(tmp_path, n):
    assert len(LoDoPaBPairs(make(tmp_path, "test", n), "test")) == n


def test_images_beyond_the_last_observation_are_not_counted(tmp_path):
    # the script behind the published set leaves zeros at the end of the last file of images
    make(tmp_path, n=5)
    images = np.zeros((PER_FILE, PIXELS, PIXELS))
    images[0] = sample(4)[1]
    write(tmp_path / "ground_truth_train_001.hdf5", images)
    pairs = LoDoPaBPairs(tmp_path, "train")
    assert len(pairs) == 5
    np.testing.assert_allclose(pairs[4][1][0], sample(4)[1], rtol=1e-6)


def test_processes_open_the_files_themselves(tmp_path):
    pairs = LoDoPaBPairs(make(tmp_path), "train")
    expected = [pairs[k] for k in range(10)]
    loader = DataLoader(pairs, batch_size=3, num_workers=2)
    found = [pair for batch in loader for pair in zip(*batch, strict=True)]
    copied = pickle.loads(pickle.dumps(pairs))
    for k in range(10):
        for one in (found[k], copied[k]):
            assert all(torch.equal(a, b) for a, b in zip(one, expected[k], strict=True))


def drop(name):
    return lambda folder: (folder / name).unlink()


def replaced(name, shape, key="data"):
    def change(folder):
        with h5py.File(folder / name, "w") as file:
            file[key] = np.zeros(shape, np.float32)

    return change


FULL = (PER_FILE, ANGLES, BINS)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (drop("observation_train_001.hdf5"), OSError, "observation_train_001.hdf5: there is no"),
        (drop("ground_truth_train_002.hdf5"), OSError, "ground_truth_train_002.hdf5: there is no"),
        (
            replaced("observation_train_000.hdf5", (3, ANGLES, BINS)),
            ValueError,
            "observation_train_000.hdf5: expected 4 samples in it and as many images, got 3 and 4",
        ),
        (
            replaced("observation_train_002.hdf5", (5, ANGLES, BINS)),
            ValueError,
            "observation_train_002.hdf5: expected up to 4 samples",
        ),
        (
            replaced("ground_truth_train_002.hdf5", (3, PIXELS, PIXELS)),
            ValueError,
            "as many images, got 2 and 3",
        ),
        (
            replaced("ground_truth_train_000.hdf5", (4, PIXELS, 6)),
            ValueError,
            r"ground_truth_train_000.hdf5: expected samples of shape \(5, 5\) .* got \(5, 6\)",
        ),
        (
            replaced("observation_train_002.hdf5", FULL, "other"),
            ValueError,
            "expected the data set data with three axes, got none",
        ),
        (
            replaced("observation_train_002.hdf5", FULL[:2]),
            ValueError,
            r"expected the data set data with three axes, got \(4, 20\)",
        ),
        (
            lambda folder: (folder / "ground_truth_train_002.hdf5").write_text("x"),
            ValueError,
            "ground_truth_train_002.hdf5: expected an HDF5 file",
        ),
    ],
)
def test_damaged_sets(tmp_path, change, error, words):
    change(make(tmp_path))
    with pytest.raises(error, match=words):
        LoDoPaBPairs(tmp_path, "train")


def test_a_file_in_the_middle_is_checked_when_it_is_read(tmp_path):
    make(tmp_path)
    replaced("observation_train_001.hdf5", (3, ANGLES, BINS))(tmp_path)
    pairs = LoDoPaBPairs(tmp_path, "train")
    assert pairs[0][0].shape == (1, ANGLES, BINS)
    with pytest.raises(ValueError, match=r"observation_train_001\.hdf5: expected 4 samples"):
        pairs[5]


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: there is no such folder"):
        LoDoPaBPairs(tmp_path / "none", "train")
    with pytest.raises(FileNotFoundError, match=r"such as observation_test_000\.hdf5, got none"):
        LoDoPaBPairs(make(tmp_path), "test")
    with pytest.raises(NotADirectoryError, match="expected a folder with the files, got a file"):
        LoDoPaBPairs(tmp_path / "observation_train_000.hdf5", "train")
    with pytest.raises(ValueError, match="split: expected one of train, validation, test"):
        LoDoPaBPairs(tmp_path, "challenge")
    with pytest.raises(ValueError, match="n_angles: expected one that divides 20, got 3"):
        LoDoPaBPairs(tmp_path, "train", n_angles=3)
    pairs = LoDoPaBPairs(tmp_path, "train")
    for index in (-1, 10):
        with pytest.raises(IndexError, match=f"expected one from 0 to 9, got {index}"):
            pairs[index]


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch):
    """The published training split has 560; many systems allow a process 256."""
    monkeypatch.setattr(module, "_MOST_OPEN", 4)
    pairs = LoDoPaBPairs(make(tmp_path, n=40), "train")

    def n_open():
        return sum(file.path.endswith(".hdf5") for file in psutil.Process().open_files())

    for k in (*range(0, 40, 3), 5, 39, 0):
        np.testing.assert_allclose(pairs[k][1][0], sample(k)[1], rtol=1e-6)
        assert n_open() <= 4
    pickle.loads(pickle.dumps(pairs))[7]


def test_files_that_were_read_last_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_OPEN", 4)
    pairs = LoDoPaBPairs(make(tmp_path, n=40), "train")
    pairs[0]
    first = pairs._files["observation", 0]
    for k in (4, 0, 8, 0, 12, 0):
        pairs[k]
    assert pairs._files["observation", 0] is first
    assert sorted({number for _, number in pairs._files}) == [0, 3]


def test_another_process_opens_the_files_anew(tmp_path, monkeypatch):
    """A handle that came along with a fork shares its place in the file with the parent's."""
    pairs = LoDoPaBPairs(make(tmp_path), "train")
    pairs[0]
    before = [file.open() for file in pairs._files.values()]
    monkeypatch.setattr("tomolearn.data.hdf5.os.getpid", lambda: -1)
    pairs[0]
    assert all(a is not b.open() for a, b in zip(before, pairs._files.values(), strict=True))


def test_too_many_open_files_are_no_damage(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    make(tmp_path)
    monkeypatch.setattr(h5py, "File", full)
    with pytest.raises(OSError, match="Too many open files"):
        LoDoPaBPairs(tmp_path, "train")
