"""Images in the files of a folder: every kind, damaged ones, and what must not be guessed."""

import json
import shutil

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from dicom_files import write_ct
from dicom_series import along_z, write_series

from tomolearn.data.images import ImageFolder, find_images
from tomolearn.dicom import MU_WATER_PER_MM

SHAPE = (6, 4)
RNG = np.random.default_rng(0)
EIGHT = RNG.integers(0, 256, (3, *SHAPE)).astype(np.uint8)
FLOAT = RNG.random((3, *SHAPE)).astype(np.float32)


def _hdf5(path, array):
    with h5py.File(path, "w") as file:
        file["image"] = array


WRITERS = {
    "npy": np.save,
    "npz": lambda path, array: np.savez(path, image=array),
    "h5": _hdf5,
    "hdf5": _hdf5,
    "tif": lambda path, array: tifffile.imwrite(path, array, photometric="minisblack"),
    "png": iio.imwrite,
}


def images_of(found, **options):
    """Return all images in the order of the files."""
    source = ImageFolder(found.folder, found.files, **options)
    numbers = sorted(range(len(source)), key=source._places.__getitem__)
    return [source.image(n, SHAPE, np.random.default_rng(0)) for n in numbers]


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "png"])
def test_stacks_are_read_as_they_were_written(tmp_path, kind):
    WRITERS[kind](tmp_path / f"a.{kind}", FLOAT)
    (tmp_path / "deeper").mkdir()
    WRITERS[kind](tmp_path / "deeper" / f"b.{kind}", FLOAT[0])
    found = find_images(tmp_path)
    assert [(file.name, file.shape) for file in found.files] == [
        (f"a.{kind}", (3, *SHAPE)),
        (f"deeper/b.{kind}", (1, *SHAPE)),
    ]
    assert (found.n_images, found.skipped) == (4, {})
    assert found.values == (FLOAT.min(), FLOAT.max())
    for image, expected in zip(images_of(found), [*FLOAT, FLOAT[0]], strict=True):
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_need_a_scale(tmp_path, kind, dtype):
    stored = EIGHT[0].astype(dtype)
    WRITERS[kind](tmp_path / f"a.{kind}", stored)
    largest = np.iinfo(dtype).max
    with pytest.raises(ValueError, match=f"image_scale: .* to have {largest} as 1, got none"):
        find_images(tmp_path)
    found = find_images(tmp_path, scale=1 / largest)
    (image,) = images_of(found, scale=1 / largest)
    np.testing.assert_allclose(image, stored / largest, rtol=1e-6)


def test_dicom_becomes_attenuation(tmp_path):
    stored = [np.full((5, 7), value) for value in (-1000, 0, 1000)]
    for k, (values, patient) in enumerate(zip(stored, ("a", "a", "b"), strict=True)):
        write_ct(
            tmp_path / f"{k}.dcm",
            values.astype(np.int16),
            PatientID=patient,
            SOPInstanceUID=f"1.2.3.{k}",
            SeriesInstanceUID=f"1.2.{patient == 'b':d}",
            RescaleIntercept=0,
            RescaleSlope=1,
            PixelSpacing=[0.5, 0.25],
            ImagePositionPatient=[0, 0, k],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )
    (tmp_path / "notes.txt").write_text("nothing")
    found = find_images(tmp_path, scale=2.0)
    assert [file.group for file in found.files] == ["a", "a", "b"]
    assert {file.spacing for file in found.files} == {(0.5, 0.25)}
    assert (found.is_dicom, list(found.skipped)) == (True, ["notes.txt"])
    source = ImageFolder(tmp_path, found.files, scale=2.0)
    values = sorted(source.image(k, (5, 7), None).mean() for k in range(3))
    np.testing.assert_allclose(values, [0, 2 * MU_WATER_PER_MM, 4 * MU_WATER_PER_MM], rtol=1e-6)


def test_groups_are_patients_folders_or_files(tmp_path):
    for name in ("p1/a", "p1/b", "p2/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", FLOAT[0])
    groups = [file.group for file in find_images(tmp_path).files]
    assert groups == ["p1/a.npy", "p1/b.npy", "p2/a.npy"]
    assert [f.group for f in find_images(tmp_path, split_by="folder").files] == ["p1", "p1", "p2"]
    with pytest.raises(ValueError, match="split_by: expected folder or file"):
        find_images(tmp_path, split_by="patient")


def test_series_of_one_patient_stay_together(tmp_path):
    write_series(tmp_path / "one", along_z(3))
    write_series(tmp_path / "two", along_z(3), SeriesInstanceUID="1.2.77")
    assert len({file.group for file in find_images(tmp_path).files}) == 1
    assert len({file.group for file in find_images(tmp_path, split_by="folder").files}) == 2


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_files_are_skipped_and_named(tmp_path, kind):
    values = EIGHT[0] if kind == "png" else FLOAT
    WRITERS[kind](tmp_path / f"good.{kind}", values)
    whole = (tmp_path / f"good.{kind}").read_bytes()
    for k, part in enumerate((0, 9, len(whole) // 2)):
        (tmp_path / f"cut{k}.{kind}").write_bytes(whole[:part])
    (tmp_path / f"text.{kind}").write_text("no image at all")
    found = find_images(tmp_path, scale=1.0)
    assert [file.name for file in found.files] == [f"good.{kind}"]
    assert sorted(found.skipped) == sorted(f"{n}.{kind}" for n in ("cut0", "cut1", "cut2", "text"))
    assert found.skipped_in_words.startswith("4 skipped: cut0")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(SHAPE, np.nan, np.float32), "finite"),
        (np.full(SHAPE, 1e300), "finite"),
        (np.zeros((*SHAPE, 3, 1), np.float32), "grey values"),
        (np.zeros(SHAPE, bool), "grey values"),
        (np.zeros((0, *SHAPE), np.float32), "no image"),
        (np.zeros(5, np.float32), "grey values"),
    ],
)
def test_what_is_no_image_is_skipped(tmp_path, values, reason):
    np.save(tmp_path / "bad.npy", values)
    np.save(tmp_path / "good.npy", FLOAT)
    assert reason in find_images(tmp_path).skipped["bad.npy"]


def test_colours_are_no_grey_values(tmp_path):
    iio.imwrite(tmp_path / "colour.png", np.zeros((*SHAPE, 3), np.uint8))
    iio.imwrite(tmp_path / "grey.png", EIGHT[0])
    assert list(find_images(tmp_path, scale=1.0).skipped) == ["colour.png"]


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        find_images(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"expected images as .*, got 1 skipped: notes\.txt"):
        find_images(tmp_path)
    np.save(tmp_path / "a.npy", FLOAT)
    iio.imwrite(tmp_path / "a.png", EIGHT[0])
    with pytest.raises(ValueError, match=r"images of one kind, got 1 \.npy, 1 \.png"):
        find_images(tmp_path)


def test_other_shapes_are_resized_only_if_asked(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 1, 16, dtype=np.float32), (16, 16))
    np.save(tmp_path / "a.npy", ramp)
    files = find_images(tmp_path).files
    with pytest.raises(ValueError, match=r"a\.npy: expected shape \(8, 8\), got \(16, 16\)"):
        ImageFolder(tmp_path, files).image(0, (8, 8), None)
    small = ImageFolder(tmp_path, files, resize=True).image(0, (8, 8), None)
    # a ramp stays one, but at the ends
    np.testing.assert_allclose(np.diff(small[:, 1:-1]), 2 / 15, rtol=0.02)


def test_written_down_and_built_again(tmp_path):
    np.save(tmp_path / "a.npy", FLOAT)
    source = ImageFolder(tmp_path, find_images(tmp_path).files, scale=2.0, order=3)
    again = ImageFolder.from_dict(json.loads(json.dumps(source.to_dict())))
    assert again == source
    for k in range(3):
        np.testing.assert_array_equal(again.image(k, SHAPE, None), source.image(k, SHAPE, None))
    with pytest.raises(IndexError):
        source.image(3, SHAPE, None)


def test_files_that_have_gone_or_changed(tmp_path):
    np.save(tmp_path / "a.npy", FLOAT)
    values = ImageFolder(tmp_path, find_images(tmp_path).files).to_dict()
    np.save(tmp_path / "a.npy", FLOAT[:2])
    with pytest.raises(ValueError, match=r"a\.npy: expected \d+ bytes, as when it was found"):
        ImageFolder.from_dict(values)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.npy: there is no such file any more"):
        ImageFolder.from_dict(values)
    with pytest.raises(ValueError, match="type: expected ImageFolder, got 'other'"):
        ImageFolder.from_dict({"type": "other"})
    with pytest.raises(ValueError, match="ImageFolder: expected what to_dict wrote"):
        ImageFolder.from_dict({"type": "ImageFolder", "files": [{"name": 1}]})


@pytest.mark.real_data
def test_real_series(real_data, tmp_path):
    for k, path in enumerate(sorted((real_data / "chest-1").iterdir())[:3]):
        shutil.copy(path, tmp_path / f"{k}")
    found = find_images(tmp_path)
    assert found.n_images >= 1
    assert 0 == found.values[0] < 0.01 < found.values[1] < 0.1
