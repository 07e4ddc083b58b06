"""Discs with holes: areas by closed form and connected components by scipy."""

import math

import numpy as np
import pytest
from scipy import ndimage

from tomolearn import TomolearnError
from tomolearn.data import PerforatedDiscs

SHAPE = (160, 160)


def drawn(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return PerforatedDiscs()(shape, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(6))
def test_a_filled_disc_has_the_area_and_the_attenuation_of_the_material(seed):
    image = drawn(seed) / 0.035
    assert image.dtype == np.float32
    assert image.min() == 0
    assert image.max() == pytest.approx(1)
    body = ndimage.binary_fill_holes(image > 0)
    # holes meet neither the rim nor each other: in the rim there is nothing but the material
    deep = ndimage.binary_erosion(body, iterations=3)
    holes, n_holes = ndimage.label(deep & (image < 0.5), np.ones((3, 3)))
    assert 1 <= n_holes <= 8
    area = (image + (holes > 0) * (1 - image)).sum() + _part_of_edges(image, holes)
    assert area * (76 / 160) ** 2 == pytest.approx(math.pi * 35**2, rel=2e-3)
    rim = ndimage.distance_transform_edt(body) * 76 / 160
    assert rim[holes > 0].min() > 1.5


def _part_of_edges(image: np.ndarray, holes: np.ndarray) -> float:
    """What is missing in the pixels that edges of holes cross, in pixels."""
    near = ndimage.binary_dilation(holes > 0, iterations=2) & (holes == 0)
    return float((1 - image[near]).sum())


def test_a_coarse_image_is_the_mean_of_a_fine_one():
    fine, coarse = drawn(3, (320, 320)), drawn(3, (80, 80))
    means = fine.reshape(80, 4, 80, 4).mean((1, 3))
    # 4 x 4 points against 16 x 16: a crossed pixel errs by a point's share and more at corners
    assert np.abs(means - coarse).max() < 0.2 * 0.035
    assert means.sum() == pytest.approx(coarse.sum(), rel=1e-3)


def test_draws_differ_and_repeat():
    assert np.array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))


def test_bad_values_are_named():
    with pytest.raises(TomolearnError, match="diameter"):
        PerforatedDiscs(diameter=-1.0)
    with pytest.raises(TomolearnError, match="shape: expected two axes"):
        PerforatedDiscs()((4, 4, 4), np.random.default_rng(0))
    with pytest.raises(TomolearnError, match="cells: expected a probability"):
        PerforatedDiscs(cells=1.5)
    assert str(PerforatedDiscs()) == "discs with up to 8 holes"
    assert str(PerforatedDiscs(cells=0.5)).endswith("50 % divided into cells")


@pytest.mark.parametrize("seed", range(6))
def test_walls_of_cells_are_whole_and_of_one_piece(seed):
    discs = PerforatedDiscs(cells=1.0, attenuation=1.0)
    image = discs(SHAPE, np.random.default_rng(seed))
    assert image.dtype == np.float32
    assert image.min() == 0
    assert image.max() == 1
    material, n_parts = ndimage.label(image > 0.5)
    assert n_parts == 1
    body = ndimage.binary_fill_holes(material)
    assert body.sum() * (76 / 160) ** 2 == pytest.approx(math.pi * 35**2, rel=0.01)
    holes, n_holes = ndimage.label(body & ~(material > 0))
    assert 1 <= n_holes <= 18
    # the thinnest rim is 8 % of the radius
    rim = ndimage.distance_transform_edt(body) * 76 / 160
    assert rim[holes > 0].min() > 0.08 * 35 - 0.5
    fine = discs((640, 640), np.random.default_rng(seed)).reshape(160, 4, 160, 4).mean((1, 3))
    # shares by the distance to one edge err most at corners, where two meet in a pixel
    assert np.abs(fine - image).max() < 0.5
    assert np.abs(fine - image).mean() < 0.003


def test_without_cells_none_are_drawn():
    some = PerforatedDiscs(cells=1e-9)
    plain, other = (d(SHAPE, np.random.default_rng(5)) for d in (PerforatedDiscs(), some))
    assert plain.shape == other.shape
    assert plain.max() == other.max()
