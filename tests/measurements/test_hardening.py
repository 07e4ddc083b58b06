"""Beam hardening, against polychromatic rays of closed form through discs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tomolearn import ConvergenceWarning, FanBeam, Grid, RayTransform, TomolearnError, fbp
from tomolearn.measurements import HardeningCurve, correct_hardening

# 1/mm of a plastic and a metal at four energies, and the photons of each: more than the curve has.
PLASTIC = np.array([0.060, 0.035, 0.024, 0.019])
METAL = np.array([0.70, 0.25, 0.12, 0.08])
PHOTONS = np.array([0.2, 0.35, 0.3, 0.15])
GRID = Grid((96, 96), 0.75)
SCAN = FanBeam(120, 140, 0.8, 200, 280)
OPERATOR = RayTransform(GRID, SCAN)


def chords(radius: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Length in mm of every ray within a disc."""
    points, directions = SCAN.rays()
    directions = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    to_middle = np.array([x, y]) - points
    squared = (to_middle**2).sum(-1) - (to_middle * directions).sum(-1) ** 2
    return 2 * np.sqrt(np.clip(radius**2 - squared, 0, None))


def polychromatic(*lengths_and_attenuations: tuple[np.ndarray, np.ndarray]) -> torch.Tensor:
    exponents = sum(np.multiply.outer(length, mu) for length, mu in lengths_and_attenuations)
    return torch.from_numpy(-np.log(np.exp(-exponents) @ PHOTONS))


def disc(radius: float, x: float = 0.0, y: float = 0.0) -> torch.Tensor:
    rows, columns = (torch.from_numpy(axis) for axis in GRID.coordinates())
    return torch.hypot(rows[:, None] - x, columns - y) < radius


def test_one_material_becomes_proportional_to_length() -> None:
    length = chords(30) - chords(8, 12, 3)
    y = polychromatic((length, PLASTIC))
    found = correct_hardening(y, OPERATOR)
    lengths = np.linspace(0, 60, 61)
    exact = -np.log(np.exp(-np.outer(lengths, PLASTIC)) @ PHOTONS)
    # the lengths are of pixels, and so is the curve: 0.75 mm in 60 mm
    np.testing.assert_allclose(found.curve(lengths[:, None]), exact, atol=0.01 * exact[-1])
    # of a thin layer, to which the curve has no data; what counts is that all are on one line
    slope = found.curve.attenuation[0]
    assert math.isclose(slope, PLASTIC @ PHOTONS, rel_tol=0.05)
    assert found.residual < found.linear_residual / 2
    rim, middle, hole = disc(27) & ~disc(24), disc(3), disc(5, 12, 3)
    before, after = fbp(y, OPERATOR), fbp(found.line_integrals, OPERATOR)
    cupping = [float(1 - image[middle].mean() / image[rim].mean()) for image in (before, after)]
    assert cupping[0] > 0.05
    assert abs(cupping[1]) < 0.005
    assert abs(after[hole].mean()) < 0.3 * abs(before[hole].mean())


def test_two_materials_lose_the_shadow_between_them() -> None:
    metal = chords(3, 0, 15) + chords(3, 0, -15)
    y = polychromatic((chords(30) - metal, PLASTIC), (metal, METAL))
    found = correct_hardening(y, OPERATOR, materials=2)
    before, after = fbp(y, OPERATOR), fbp(found.line_integrals, OPERATOR)
    between, beside = disc(4), disc(5, 18, 0)
    shadow = before[beside].mean() - before[between].mean()
    left = after[beside].mean() - after[between].mean()
    assert shadow > 0.0015
    assert abs(left) < 0.2 * shadow


def test_a_straight_line_stays_straight() -> None:
    y = torch.from_numpy(0.03 * chords(30))
    found = correct_hardening(y, OPERATOR)
    torch.testing.assert_close(found.line_integrals, y, atol=0.01, rtol=0.01)


def test_values_without_weight_do_not_matter() -> None:
    y = polychromatic((chords(30), PLASTIC))
    weights = torch.ones_like(y)
    weights[:, 70] = 0
    spoilt = y.clone()
    spoilt[:, 70] = torch.nan
    found = [
        correct_hardening(values, OPERATOR, weights=weights, image=disc(30).double(), passes=1)
        for values in (y, spoilt)
    ]
    assert found[0].curve == found[1].curve
    keep = weights > 0
    torch.testing.assert_close(found[0].line_integrals[keep], found[1].line_integrals[keep])


def test_the_correction_inverts_the_curve(numpy_rng: np.random.Generator) -> None:
    curve = HardeningCurve((0.01, 0.05), (0.04, 0.6), 2.5)
    lengths = numpy_rng.uniform(0, 50, (1000, 2))
    shares = lengths / lengths.sum(-1, keepdims=True)
    np.testing.assert_allclose(
        curve.corrected(curve(lengths), shares), lengths @ np.array(curve.attenuation), rtol=1e-9
    )
    np.testing.assert_array_equal(curve.corrected(np.array([-0.1]), shares[:1]), [-0.1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"materials": 3}, "materials: expected"),
        ({"image": torch.zeros(GRID.shape)}, "image: expected at least 2 levels"),
        ({"image": torch.zeros(5)}, "image: expected shape"),
        ({"thresholds": (5.0,)}, "thresholds: expected values"),
        ({"weights": torch.full(SCAN.shape, -1.0)}, "weights: expected none below 0"),
        ({"passes": 0}, "passes: expected"),
    ],
)
def test_what_cannot_be_corrected_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(TomolearnError, match=message):
        correct_hardening(torch.from_numpy(0.03 * chords(30)), OPERATOR, **arguments)


def test_rays_that_miss_and_nan_are_refused() -> None:
    with pytest.raises(TomolearnError, match="finite"):
        correct_hardening(torch.full(SCAN.shape, torch.nan), OPERATOR)
    with pytest.raises(TomolearnError, match="to grow with the length"):
        correct_hardening(torch.from_numpy(-chords(30)), OPERATOR, image=disc(30).double())


def test_lengths_that_explain_nothing_are_warned_of() -> None:
    y = torch.from_numpy(np.sqrt(np.sqrt(chords(30))))
    with pytest.warns(ConvergenceWarning, match="do not explain"):
        correct_hardening(y, OPERATOR, image=disc(30).double(), passes=1)


@pytest.mark.filterwarnings("ignore::tomolearn.geometry.CoverageWarning")
def test_acrylic_disc_is_flat_and_its_holes_are_empty(real_data: Path) -> None:
    """The disc tb of HTC2022, its bins fourfold and every fourth view, by the makers' truth."""
    path = real_data / "measured" / "htc2022_tb_fan_549views.npz"
    if not path.exists():
        pytest.skip("needs ../shared/data/measured")
    from scipy import ndimage
    from skimage.io import imread

    with np.load(path) as file:
        y = file["sinogram"][::4].reshape(-1, 140, 4).mean(-1)
        angles = np.deg2rad(file["angles_deg"][::4])
    near = 408.7
    scale = 553.74 / 410.66
    scan = FanBeam(
        n_detectors=140,
        detector_spacing=0.8,
        source_to_isocenter=near,
        source_to_detector=near * scale,
        angles=angles,
        detector_offset=0.04,
    )
    operator = RayTransform(Grid((128, 128), 0.8 / scale), scan)
    sinogram = torch.from_numpy(y)
    found = correct_hardening(sinogram, operator)
    truth = imread(path.with_name("htc2022_tb_truth.png")) > 0
    acrylic = np.rot90(truth.reshape(128, 4, 128, 4).mean((1, 3)) > 0.5, -1)
    holes = ndimage.binary_fill_holes(acrylic) & ~acrylic
    holes = torch.from_numpy(ndimage.binary_erosion(holes, iterations=2).copy())
    before, after = (fbp(data, operator) for data in (sinogram, found.line_integrals))
    assert before[holes].mean() > 0.003
    assert abs(after[holes].mean()) < 0.001
