"""Parts of the slices of CT series, as priors are trained on."""

import numpy as np
import pytest
from dicom_series import along_z, write_series

from tomolearn.data.files import PatchFolder
from tomolearn.data.phantoms import ThoraxPatches, random_part
from tomolearn.data.series_slices import SeriesSlices
from tomolearn.tasks import get_task

SHAPE = (24, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("series")
    write_series(path, along_z(8), shape=(512, 512))
    return path


def opened(folder, split):
    return PatchFolder(ThoraxPatches(slices=1, size=40)).open(folder, split, SHAPE)


def orbit(part):
    """Return all that an oblong part may look like in its slice."""
    return [part, part[::-1], part[:, ::-1], part[::-1, ::-1]]


def is_within(whole, part):
    windows = np.lib.stride_tricks.sliding_window_view(whole, part.shape)
    return any(bool((abs(windows - one) < 1e-3).all((2, 3)).any()) for one in orbit(part))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_odd_numbers_are_parts_of_the_slices_of_their_split(folder, split, numpy_rng):
    patches, slices = opened(folder, split), SeriesSlices(folder)
    kept = {3}
    numbers = kept if split != "train" else set(range(8)) - kept
    assert len(patches) == 200 * len(numbers)
    wholes = {k: slices.image(k, (362, 362), np.random.default_rng(0)) for k in range(8)}
    for index in (1, 3):
        part = patches.image(index, SHAPE, numpy_rng)
        assert part.shape == SHAPE
        assert part.dtype == np.float32
        # values are dithered below a Hounsfield unit
        assert any(is_within(wholes[k], part) for k in numbers)


def test_even_numbers_are_synthetic(folder):
    patches = opened(folder, "train")
    found = patches.image(0, SHAPE, np.random.default_rng(3))
    expected = ThoraxPatches(slices=1, size=40)(SHAPE, np.random.default_rng(3))
    np.testing.assert_array_equal(found, expected)


def test_a_part_of_a_square_takes_all_eight_orientations():
    image = np.arange(9, dtype=np.float32).reshape(3, 3)
    rng = np.random.default_rng(0)
    found = {random_part(image, (3, 3), rng).tobytes() for _ in range(200)}
    turned = [np.rot90(image, k) for k in range(4)]
    assert found == {np.ascontiguousarray(t[::d]).tobytes() for t in turned for d in (1, -1)}


def test_the_task_reads_them(folder):
    pairs = get_task("chest-patches").pairs("train", data=folder)
    noisy, image = pairs[1]
    assert image.shape == (1, 64, 64)
    assert (noisy - image).std().item() == pytest.approx(0.05, rel=0.05)


def test_a_split_without_slices_is_refused(tmp_path):
    write_series(tmp_path, along_z(3), shape=(512, 512))
    with pytest.raises(ValueError, match="expected at least 7 slices, every seventh"):
        opened(tmp_path, "validation")


def test_parts_larger_than_a_slice_are_refused(folder, numpy_rng):
    words = r"shape: expected two axes of at most 362 x 362 pixels, got \(363, 10\)"
    with pytest.raises(ValueError, match=words):
        opened(folder, "train").image(1, (363, 10), numpy_rng)
