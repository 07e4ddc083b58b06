"""Pairs on disk."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tomolearn import Grid, ParallelBeam
from tomolearn.data import RandomEllipses, SimulatedPairs, StoredPairs, store_pairs
from tomolearn.simulation import Acquisition

GRID = Grid((12, 12))
SCAN = ParallelBeam.covering(GRID, 6)


@pytest.fixture
def drawn():
    return SimulatedPairs(RandomEllipses(), GRID, Acquisition(SCAN), size=7)


@pytest.fixture
def path(drawn, tmp_path):
    store_pairs(drawn, tmp_path / "pairs.h5", 7, batch_size=3, attributes={"task": "small"})
    return tmp_path / "pairs.h5"


def test_round_trip(drawn, path):
    stored = StoredPairs(path)
    assert len(stored) == 7
    assert (stored.sinogram_shape, stored.image_shape) == (SCAN.shape, GRID.shape)
    for index in range(7):
        for found, expected in zip(stored[index], drawn[index], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert [p.name for p in path.parent.iterdir()] == ["pairs.h5"]


class Volumes:
    """Pairs of volumes."""

    def __getitems__(self, indices):
        return [(torch.full((1, 3, 4, 5), float(k)), torch.full((1, 6, 7, 8), -k)) for k in indices]


def test_volumes(tmp_path):
    store_pairs(Volumes(), tmp_path / "volumes.h5", 3)
    stored = StoredPairs(tmp_path / "volumes.h5")
    assert (stored.sinogram_shape, stored.image_shape) == ((3, 4, 5), (6, 7, 8))
    sinogram, image = stored[2]
    assert torch.equal(sinogram, torch.full((1, 3, 4, 5), 2.0))
    assert torch.equal(image, torch.full((1, 6, 7, 8), -2.0))


def test_processes_open_the_file_themselves(path):
    stored = StoredPairs(path)
    expected = [stored[k] for k in range(7)]
    found = list(DataLoader(stored, batch_size=None, num_workers=2))
    assert all(
        torch.equal(a, b)
        for one, other in zip(found, expected, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_progress_counts_all(drawn, tmp_path):
    counts = []
    store_pairs(drawn, tmp_path / "p.h5", 5, batch_size=2, progress=counts.append)
    assert counts == [2, 2, 1]


def test_failure_leaves_no_file(drawn, tmp_path):
    with pytest.raises(IndexError):
        store_pairs(drawn, tmp_path / "p.h5", 8)
    assert list(tmp_path.iterdir()) == []


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        StoredPairs(tmp_path / "none.h5")


def test_a_folder_is_called_one(tmp_path):
    with pytest.raises(IsADirectoryError, match="expected a file of pairs, got a folder"):
        StoredPairs(tmp_path)


def test_foreign_files(tmp_path):
    path = tmp_path / "f.h5"
    path.write_text("no HDF5")
    with pytest.raises(ValueError, match="expected an HDF5 file"):
        StoredPairs(path)
    for shapes, message in (
        ({"image": (2, 3, 3)}, "expected the data sets"),
        ({"image": (2, 3, 3), "sinogram": (2, 9)}, "expected the data sets"),
        ({"image": (2, 3, 3, 3), "sinogram": (2, 9, 9)}, "or both with another axis"),
        ({"image": (2, 3, 3), "sinogram": (3, 4, 5)}, "expected as many sinograms as images"),
    ):
        with h5py.File(path, "w") as file:
            for name, shape in shapes.items():
                file[name] = np.zeros(shape, np.float32)
        with pytest.raises(ValueError, match=message):
            StoredPairs(path)


def test_index_out_of_range(path):
    for index in (-1, 7):
        with pytest.raises(IndexError, match=f"expected one from 0 to 6, got {index}"):
            StoredPairs(path)[index]


def test_two_runs_do_not_write_one_file(drawn, tmp_path):
    path = tmp_path / "pairs.h5"

    def second(n):
        with pytest.raises(BlockingIOError, match=r"another run is at work.*pairs\.h5"):
            store_pairs(drawn, path, 3)

    store_pairs(drawn, path, 6, batch_size=2, progress=second)
    assert len(StoredPairs(path)) == 6
    assert [one.name for one in tmp_path.iterdir()] == ["pairs.h5"]


def test_a_killed_run_keeps_no_other_from_the_file(drawn, tmp_path):
    path = tmp_path / "pairs.h5"
    program = (
        "import os; from pathlib import Path; from tomolearn._core.files import only_writer\n"
        f"with only_writer(Path({str(path)!r})):\n    os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=False)
    assert len(list(tmp_path.iterdir())) == 1
    store_pairs(drawn, path, 3)
    assert [one.name for one in tmp_path.iterdir()] == ["pairs.h5"]
