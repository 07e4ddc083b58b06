"""Tasks made of a folder of images: fit, splits, values, noise, and what is written down."""

import numpy as np
import pytest
import torch
from dicom_files import write_ct

from tomolearn import Grid, ParallelBeam
from tomolearn.data.images import ImageFolder
from tomolearn.dicom import MU_WATER_PER_MM
from tomolearn.geometry import save_geometry
from tomolearn.simulation import GaussianNoise, PhotonNoise
from tomolearn.tasks import folder_task, get_task
from tomolearn.tasks.folder import SkippedImagesWarning, is_folder_task, split_groups, task_json
from tomolearn.training.image_values import values_of_images

GRID = Grid((12, 12), 2.0)


@pytest.fixture
def scan(tmp_path):
    save_geometry(tmp_path / "scan.json", GRID, ParallelBeam.covering(GRID, 8))
    return tmp_path / "scan.json"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    values = np.random.default_rng(0).random((20, *GRID.shape), np.float32)
    for k, image in enumerate(values):
        np.save(tmp_path / "images" / f"{k:02}.npy", image)
    return tmp_path / "images"


def all_images(task, split):
    return torch.cat([image for _, image in task.pairs(split)])


def test_every_image_is_in_one_split(folder, scan):
    task = folder_task(folder, scan)
    assert {name: split.size for name, split in task.splits.items()} == {
        "train": 16,
        "validation": 2,
        "test": 2,
    }
    found = torch.cat([all_images(task, split) for split in task.splits])
    expected = np.stack([np.load(path) for path in folder.iterdir()])
    order = np.lexsort(found.reshape(20, -1).numpy().T), np.lexsort(expected.reshape(20, -1).T)
    np.testing.assert_array_equal(found.numpy()[order[0]], expected[order[1]])


def test_sinograms_are_those_of_the_scan(folder, scan):
    task = folder_task(folder, scan, refinement=1)
    assert task.acquisition.noise is None
    sinogram, image = task.pairs("train")[0]
    torch.testing.assert_close(sinogram, task.operator()(image))
    finer = folder_task(folder, scan).pairs("train")[0][0]
    assert 0 < (finer - sinogram).norm() < 0.2 * sinogram.norm()


def test_noise(folder, scan):
    assert folder_task(folder, scan, noise=0.05).acquisition.noise == GaussianNoise(0.05)
    noise = folder_task(folder, scan, photons=1e4, attenuation=0.02).acquisition.noise
    assert noise == PhotonNoise(1e4, 0.02)


def test_splits_depend_on_names_and_seed_alone():
    groups = [f"patient {k}" for k in range(50)]
    parts = split_groups(groups)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [40, 5, 5]
    assert frozenset().union(*parts.values()) == frozenset(groups)
    assert split_groups(reversed(groups)) == parts
    assert split_groups(groups, seed=1) != parts
    assert [len(part) for part in split_groups("abc").values()] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"at least three to divide .*, got 2: "):
        split_groups(["a", "a", "b"])


def test_patients_are_not_torn_apart(tmp_path, scan):
    (tmp_path / "images").mkdir()
    for k in range(12):
        write_ct(
            tmp_path / "images" / f"{k}",
            np.full(GRID.shape, 100 * k, np.int16),
            PatientID=f"p{k % 4}",
            SOPInstanceUID=f"1.2.3.{k}",
            SeriesInstanceUID=f"1.2.{k % 4}",
            PixelSpacing=[2.0, 2.0],
            ImagePositionPatient=[0, 0, k],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )
    task = folder_task(tmp_path / "images", scan, photons=1e4, image_scale=50.0)
    # an image value of one is 1 / 50 per mm
    assert task.acquisition.noise == PhotonNoise(1e4, 0.02)
    patients = [
        {
            round(float(image.max()) / (5 * MU_WATER_PER_MM) - 10) % 4
            for _, image in task.pairs(split)
        }
        for split in task.splits
    ]
    assert sum(map(len, patients)) == 4
    known = values_of_images(task, task.pairs("validation"))
    assert known["value_per_attenuation"] == known["image_scale"] == 50.0
    assert known["image_range"][1] == pytest.approx(float(all_images(task, "validation").max()))
    with pytest.raises(ValueError, match="attenuation: expected none, DICOM files have their own"):
        folder_task(tmp_path / "images", scan, photons=1e4, attenuation=0.02)


def test_written_down_with_its_splits(folder, scan, tmp_path):
    task = folder_task(folder, scan, noise=0.05, image_scale=2.0, seed=4)
    assert is_folder_task(task)
    assert not is_folder_task(get_task("ellipses"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "task.json").write_text(task_json(task))
    np.save(folder / "later.npy", np.ones(GRID.shape, np.float32))
    for place in (tmp_path / "run", str(tmp_path / "run" / "task.json")):
        again = get_task(place)
        assert again.to_dict() == task.to_dict()
        assert again.convention == task.convention
        for split in task.splits:
            for (y, x), (y2, x2) in zip(task.pairs(split), again.pairs(split), strict=True):
                assert torch.equal(y, y2)
                assert torch.equal(x, x2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected a task of a folder"),
        ("[]", "expected a task that a training of a folder wrote"),
        ('{"format": "tomolearn task of a folder"}', "expected a task of a folder, 'grid'"),
    ],
)
def test_other_files_are_no_tasks(tmp_path, content, message):
    (tmp_path / "task.json").write_text(content)
    with pytest.raises(ValueError, match=rf"task\.json: {message}"):
        get_task(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"photons": 1e4}, "attenuation: expected what an image value of one stands for in 1/mm"),
        ({"photons": 1e4, "noise": 0.1}, "photons, noise: expected one of the two"),
        ({"noise": 0.1, "attenuation": 0.02}, "attenuation: expected none, without photons"),
        ({"split_by": "patient"}, "split_by: expected folder or file"),
        ({"split_by": "folder"}, "split_by: expected at least three"),
        ({"refinement": 0}, "refinement: expected an integer >= 1"),
        ({"image_scale": -1.0}, "image_scale: expected a positive number"),
    ],
)
def test_mistakes(folder, scan, options, message):
    with pytest.raises(ValueError, match=message):
        folder_task(folder, scan, **options)


def test_skipped_files_are_told(folder, scan):
    (folder / "notes.txt").write_text("nothing")
    (folder / "damaged.npy").write_text("nothing")
    with pytest.warns(SkippedImagesWarning, match=r"2 skipped: damaged\.npy \(.*, notes\.txt"):
        assert folder_task(folder, scan).splits["train"].size == 16


def test_other_shapes_are_refused_or_resized(folder, scan):
    np.save(folder / "large.npy", np.random.default_rng(1).random((24, 24), np.float32))
    with pytest.raises(ValueError, match=r"12 x 12 pixels.*got 1 of 21 files.*large\.npy with 24"):
        folder_task(folder, scan)
    task = folder_task(folder, scan, resize=True)
    assert all(
        all_images(task, split).shape == (part.size, *GRID.shape)
        for split, part in task.splits.items()
    )


def test_other_pixel_sizes_are_refused_or_taken_as_the_grids(tmp_path, scan):
    (tmp_path / "images").mkdir()
    for k in range(3):
        write_ct(
            tmp_path / "images" / f"{k}",
            np.full(GRID.shape, k, np.int16),
            SOPInstanceUID=f"1.2.3.{k}",
            PixelSpacing=[2.0, 2.0 if k else 1.9],
            ImagePositionPatient=[0, 0, k],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )
    with pytest.raises(ValueError, match=r"pixels of 2 x 2 mm.*got 1 of 3 files.*2 x 1\.9 mm"):
        folder_task(tmp_path / "images", scan, split_by="file")
    task = folder_task(tmp_path / "images", scan, split_by="file", resize=True)
    assert isinstance(task.splits["train"].source, ImageFolder)


def test_images_of_one_value(tmp_path, scan):
    (tmp_path / "images").mkdir()
    for k in range(3):
        np.save(tmp_path / "images" / f"{k}.npy", np.ones(GRID.shape))
    with pytest.raises(ValueError, match="images of more than one value, all are 1"):
        folder_task(tmp_path / "images", scan)
