"""Slices that a publication took, by each of its four conditions."""

import h5py
import numpy as np
import pytest
from dicom_files import write
from dicom_series import along_z, ct_image
from scipy.ndimage import gaussian_filter

from tomolearn.data.lidc import PatientSplits, Preparation, SliceSelection, write_slices
from tomolearn.data.lidc.publication_filters import celledoni

ROWS, COLUMNS = np.mgrid[-1:1:128j, -1:1:128j]
CIRCLE = ROWS**2 + COLUMNS**2 < 1


def a_slice(brightest=900.0, noise=0.0, filled=True):
    """A smooth body in the scanner's circle, outside of which there is filling or air."""
    body = np.where(ROWS**2 + (COLUMNS / 1.2) ** 2 < 0.5, min(40.0, brightest), -1000.0)
    body[60:68, 60:68] = brightest
    image = gaussian_filter(body, 1.0)
    image[64, 64] = brightest
    image += noise * np.random.default_rng(0).standard_normal(image.shape)
    return np.where(CIRCLE, np.maximum(image, -1024), -2000.0 if filled else -1000.0)


NOWHERE = np.zeros(CIRCLE.shape, bool)


def test_a_slice_like_theirs_is_taken():
    assert celledoni(a_slice(), NOWHERE)
    # padding is filling, whatever value stands for it
    assert celledoni(a_slice(filled=False), ~CIRCLE)


@pytest.mark.parametrize(
    "other",
    [
        {"filled": False},
        {"brightest": 0.25 * 4096 - 1024 - 50},
        {"brightest": 0.75 * 4096 - 1024 + 50},
        {"noise": 150.0},
    ],
    ids=["no circle", "too dark", "too bright", "too noisy"],
)
def test_what_they_left_out(other):
    assert not celledoni(a_slice(**other), NOWHERE)


def test_limits_are_theirs():
    """The two on total variation, on a ramp whose variation is known."""
    for step, mean, taken in ((0.009, 0.3, True), (0.011, 0.3, False), (0.009, 0.05, False)):
        saw = np.abs((np.arange(128) % 8) - 4.0) * step
        image = np.tile(saw - saw.mean() + mean, (128, 1))
        image[0, 0], image[64, 64] = -1.0, 0.7
        variation = np.abs(np.diff(image[1])).mean() * 127 / 128
        assert (variation < 0.01) == (step < 0.01)
        assert celledoni(image * 4096 - 1024, NOWHERE) == taken


def test_a_cache_has_their_slices_only(tmp_path):
    (tmp_path / "tree").mkdir()
    kinds = [{}, {"noise": 150.0}, {}, {"filled": False}]
    for index, (position, kind) in enumerate(zip(along_z(4), kinds, strict=True)):
        stored = np.rint(a_slice(**kind) + 1024).astype(np.int16)
        image = ct_image(index, position, shape=stored.shape, PixelData=stored.tobytes())
        write(tmp_path / "tree" / f"{index}.dcm", image)
    splits = PatientSplits(fractions={"train": 1.0})
    for like, number in ((None, 4), ("celledoni", 2)):
        report = write_slices(
            tmp_path / "tree",
            tmp_path / "a.h5",
            preparation=Preparation(128),
            selection=SliceSelection(like=like),
            splits=splits,
        )
        assert (report.n_slices, report.left_out) == ({"train": number}, ())
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["z"], [-100.0, -90.0])


def test_an_unknown_publication():
    with pytest.raises(ValueError, match="like: expected one of celledoni, got 'adler'"):
        SliceSelection(like="adler")
