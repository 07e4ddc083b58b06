"""The stack of slices: its order, its coordinates, and everything that can be odd about it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import AXIAL, along_z, tilted
from scipy.spatial.transform import Rotation

from tomolearn.dicom import IRREGULAR, FindingKind, Series, SliceInfo
from tomolearn.dicom.series import make_series
from tomolearn.dicom.slices import SeriesAttributes

Kind = FindingKind
IDENTITY = SeriesAttributes("1.2.3", "1.2", "P1", "1.9")


def infos(
    positions: Sequence[Sequence[float]], orientation: Sequence[float] = AXIAL, **values: Any
) -> list[SliceInfo]:
    return [
        SliceInfo(
            Path(f"{index}.dcm"), None, f"1.2.3.{index}", tuple(map(float, position)),
            tuple(map(float, orientation)),
            **({"shape": (6, 8), "spacing": (0.7, 0.5), "instance_number": index} | values),
        )
        for index, position in enumerate(positions)
    ]  # fmt: skip


def series(slices: Sequence[SliceInfo], *identities: SeriesAttributes) -> Series:
    return make_series(slices, identities or [IDENTITY])


def kinds(found: Series) -> list[FindingKind]:
    return [finding.kind for finding in found.findings]


def only(found: Series, kind: FindingKind) -> str:
    """Return what is said about the one thing that is odd."""
    assert kinds(found) == [kind]
    detail = found.findings[0].detail
    assert detail.endswith(".")
    return detail


def shaken_stack(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and orientation of a stack in any direction, sheared by any angle."""
    axes = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    step = axes @ [*rng.normal(0, 3, 2), rng.uniform(0.5, 8)]
    positions = rng.normal(0, 200, 3) + np.outer(np.arange(n), step)
    return positions, np.concatenate([axes[:, 0], axes[:, 1]])


@pytest.mark.parametrize("seed", range(8))
def test_order_is_that_along_the_normal_whatever_the_names_and_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions, orientation = shaken_stack(rng, 9)
    numbers = rng.permutation(9)
    slices = [
        SliceInfo(Path(f"{numbers[i]}.dcm"), None, str(i), tuple(p), tuple(orientation),
                  (6, 8), (0.7, 0.5), instance_number=int(numbers[8 - i]))
        for i, p in enumerate(positions)
    ]  # fmt: skip
    shuffled = [slices[i] for i in rng.permutation(9)]
    assert [one.sop_instance_uid for one in series(shuffled).slices] == [str(i) for i in range(9)]


@pytest.mark.parametrize("seed", range(8))
def test_affine_puts_every_pixel_where_its_own_slice_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions, orientation = shaken_stack(rng, 5)
    found = series(infos(positions, orientation))
    for index, one in enumerate(found.slices):
        row, column = rng.integers(0, 500, 2)
        # PS3.3 C.7.6.2.1.1, slice by slice
        expected = (
            np.array(one.position)
            + np.array(one.orientation[:3]) * 0.5 * column
            + np.array(one.orientation[3:]) * 0.7 * row
        )
        np.testing.assert_allclose(
            (found.affine @ [index, row, column, 1])[:3], expected, atol=1e-9
        )
    normal = np.cross(orientation[:3], orientation[3:])
    distance = (positions[1] - positions[0]) @ normal
    np.testing.assert_allclose(found.spacing, (distance, 0.7, 0.5), rtol=1e-12)


@pytest.mark.parametrize("step", [0.5, 0.625, 0.75, 1.0, 1.25, 2.5, 3.27, 5.0, 10.0])
@pytest.mark.parametrize("decimals", [2, 3, 6])
def test_rounding_of_positions_to_two_decimals_is_nothing_odd(step: float, decimals: int) -> None:
    positions = np.round(along_z(300, step, start=-123.456), decimals)
    found = series(infos(positions))
    assert found.findings == ()
    # over 299 steps two roundings make half a hundredth each
    assert found.spacing[0] == pytest.approx(step, abs=0.01 / 299 + 1e-9)


def test_duplicate_positions() -> None:
    found = series(infos([*along_z(5), along_z(5)[2]]))
    detail = only(found, Kind.DUPLICATE_POSITIONS)
    assert "1 of 6 slices lie where another one lies" in detail
    assert "-90.00 mm (2.dcm and 5.dcm)" in detail
    for attribute in ("spacing", "affine"):
        with pytest.raises(ValueError, match=r"series 1\.2\.3: .* got duplicate positions: 1 of"):
            getattr(found, attribute)


def test_missing_slices_are_counted() -> None:
    positions = along_z(20)
    del positions[15]
    del positions[4:7]
    detail = only(series(infos(positions)), Kind.MISSING_SLICES)
    assert "4 slices are missing at 2 places" in detail
    assert "between -85.00 and -65.00 mm, where others lie 5.00 mm apart" in detail


def test_one_gap_and_one_distance_are_told_apart() -> None:
    positions = [along_z(4)[i] for i in (0, 1, 3)]
    assert "1 slices are missing" in only(series(infos(positions)), Kind.MISSING_SLICES)


def test_uneven_spacing() -> None:
    heights = np.cumsum([0, 4, 4, 4, 1.1, 7, 4])
    found = series(infos([(0, 0, z) for z in heights]))
    detail = only(found, Kind.UNEVEN_SPACING)
    assert "1.10 to 7.00 mm apart, mostly 4.00; 2 of 6 distances fit no multiple" in detail
    with pytest.raises(ValueError, match="uneven spacing"):
        found.spacing  # noqa: B018


def test_spacing_that_drifts_little_by_little() -> None:
    # each distance within 1 % of the usual one, the slices in the middle a quarter of one off
    gaps = np.r_[np.full(50, 5.0), np.full(50, 5.04)]
    found = series(infos([(0, 0, z) for z in np.r_[0, np.cumsum(gaps)]]))
    assert "up to 1.00 mm from where even spacing puts them" in only(found, Kind.UNEVEN_SPACING)


@pytest.mark.parametrize("angle", [-22.5, -3.0, 0.5, 18.5])
def test_gantry_tilt(angle: float) -> None:
    found = series(infos(along_z(8), tilted(angle), tilt=angle))
    detail = only(found, Kind.GANTRY_TILT)
    assert f"sheared by {abs(angle):.2f} degrees" in detail
    assert f"GantryDetectorTilt (0018,1120) says {angle:g}" in detail
    # the slices are closer to each other than the table's steps
    assert found.spacing[0] == pytest.approx(5 * np.cos(np.radians(angle)))
    np.testing.assert_allclose(found.affine[:3, 0], (0, 0, 5), atol=1e-12)


def test_tilt_that_the_header_does_not_mention() -> None:
    detail = only(series(infos(along_z(8), tilted(10))), Kind.GANTRY_TILT)
    assert "no GantryDetectorTilt (0018,1120)" in detail


def test_tilt_that_only_the_header_mentions() -> None:
    detail = only(series(infos(along_z(8), tilt=18.5)), Kind.TILT_DISAGREES)
    assert detail == "GantryDetectorTilt (0018,1120) says 18.5 degrees, the positions 0.00."


def test_tilt_of_a_single_slice_is_taken_from_the_header() -> None:
    found = series(infos(along_z(1), tilted(18.5), tilt=-18.5))
    assert "tilted by 18.50 degrees" in only(found, Kind.GANTRY_TILT)
    assert kinds(series(infos(along_z(1), tilted(18.5)))) == [Kind.OBLIQUE]


def test_oblique_stack() -> None:
    step = np.cross(tilted(30)[:3], tilted(30)[3:]) * 4
    found = series(infos(np.outer(np.arange(5), step), tilted(30)))
    assert "30.00 degrees off the table's direction" in only(found, Kind.OBLIQUE)
    assert found.spacing[0] == pytest.approx(4)


def test_coronal_stack() -> None:
    coronal = (1, 0, 0, 0, 0, -1)
    found = series(infos([(0, y, 0) for y in range(5)], coronal))
    assert "coronal" in only(found, Kind.OBLIQUE)


def test_feet_first_is_as_axial_as_head_first() -> None:
    assert series(infos(along_z(5), (-1, 0, 0, 0, 1, 0))).findings == ()


def test_slices_beside_the_line() -> None:
    positions = np.array(along_z(9))
    positions[4, 0] += 3
    found = series(infos(positions))
    assert "up to 3.00 mm beside the line" in only(found, Kind.CURVED_STACK)
    assert Kind.CURVED_STACK in IRREGULAR


def test_mixed_orientation() -> None:
    turned = infos([(0, 0, 0)], tilted(90))
    found = series([*infos(along_z(6)), *turned])
    detail = only(found, Kind.MIXED_ORIENTATION)
    assert "1 of 7 slices are turned against the others, the first by 90.00 degrees" in detail
    assert "(0.dcm)" in detail
    # the same if the odd one comes first
    found = series([*infos([(0, 0, -500)], tilted(90)), *infos(along_z(6))])
    assert "1 of 7 slices" in only(found, Kind.MIXED_ORIENTATION)


def test_orientation_written_with_fewer_digits_is_the_same() -> None:
    fine, coarse = tilted(18.5), tuple(np.round(tilted(18.5), 5))
    slices = [*infos(along_z(3), fine), *infos(along_z(6)[3:], coarse)]
    assert Kind.MIXED_ORIENTATION not in kinds(series(slices))


def test_mixed_size_and_pixel_spacing() -> None:
    other = infos(along_z(7)[6:], shape=(5, 5), spacing=(0.7, 0.6))
    found = series([*infos(along_z(6)), *other])
    assert kinds(found) == [Kind.MIXED_SIZE, Kind.MIXED_PIXEL_SPACING]
    assert "6 of 6 x 8, 1 of 5 x 5" in found.findings[0].detail
    assert "columns 0.5 to 0.6" in found.findings[1].detail
    with pytest.raises(ValueError, match=r"mixed size: .* mixed pixel spacing: "):
        found.affine  # noqa: B018


def test_mixed_frames_of_reference_have_no_distances() -> None:
    other = SeriesAttributes("1.2.3", "1.2", "P1", "1.8")
    found = series(infos([*along_z(3), *along_z(3)]), IDENTITY, other)
    assert "positions cannot be compared" in only(found, Kind.MIXED_FRAME_OF_REFERENCE)
    with pytest.raises(ValueError, match="mixed frame of reference"):
        found.spacing  # noqa: B018


def test_single_slice_is_as_far_from_the_next_as_it_is_thick() -> None:
    found = series(infos(along_z(1), tilted(30), thickness=2.5))
    assert found.spacing == pytest.approx((2.5, 0.7, 0.5))
    normal = np.cross(tilted(30)[:3], tilted(30)[3:])
    np.testing.assert_allclose(found.affine[:3, 0], 2.5 * normal)


@pytest.mark.parametrize("thickness", [None, 0.0, -1.0])
def test_single_slice_without_thickness(thickness: float | None) -> None:
    found = series(infos(along_z(1), thickness=thickness))
    with pytest.raises(ValueError, match=r"0\.dcm: SliceThickness \(0018,0050\): expected a posit"):
        found.spacing  # noqa: B018
