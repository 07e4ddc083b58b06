"""DICOM-CT-PD: written by `data_sim`, read back, reconstructed, against exact ellipsoids."""

import dataclasses

import numpy as np
import pydicom
import pytest
from scipy import ndimage
from typer.testing import CliRunner

import tomolearn as tl
from data_sim.helix import WATER, Helix, ellipsoid_volume, write_ct_pd
from tomolearn.cli import app
from tomolearn.dicom import read_ct_pd, write_ct_series
from tomolearn.measurements import reconstruct_helix, shift_inconsistency

OBJECT = (
    (1.0, (0, 0, 0), (40, 32, 300), 0.2),
    (0.8, (22, 4, 1), (3, 3, 3), 0.0),
    (-1.0, (-18, 6, 0), (3, 3, 200), 0.0),
    (0.8, (4, -20, 0), (1.5, 5, 200), 0.5),
)
HELIX = Helix(
    turns=3,
    views_per_turn=240,
    rows=12,
    columns=144,
    row_spacing=2.4,
    column_spacing=1.2858,
    feed=14,
    shifts=((0.0012, 0.5, 0.3), (-0.0012, -0.5, -0.3)),
)
GRID = tl.Grid((5, 120, 120), (1.5, 0.75, 0.75))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct-pd")
    write_ct_pd(folder, HELIX, OBJECT)
    return folder


@pytest.fixture(scope="module")
def scan(folder):
    return read_ct_pd(folder)


@pytest.fixture(scope="module")
def truth():
    """Means over 4 x 4 x 4 points of each voxel."""
    z, y, x = (
        (np.arange(4 * n) - (4 * n - 1) / 2) * d / 4
        for n, d in zip(GRID.shape, GRID.spacing, strict=True)
    )
    return ellipsoid_volume(x, y, z, OBJECT).reshape(5, 4, 120, 4, 120, 4).mean((1, 3, 5))


def errors(volume, truth):
    """Error in HU everywhere, and within what is homogeneous."""
    error = 1000 * (volume - truth) / WATER
    steps = sum(np.abs(np.gradient(truth, axis=k)) for k in range(3))
    flat = ~ndimage.binary_dilation(steps > 1e-9, np.ones((3, 5, 5))) & (truth > 0)
    return np.sqrt(np.mean(error**2)), np.sqrt(np.mean(error[flat] ** 2)), error[flat].mean()


def test_files_tell_the_scanner(scan):
    angles, heights, shifts = HELIX.views()
    # of single precision at 6 radians, and at a thousand millimetres
    np.testing.assert_allclose(scan.angles, angles, atol=3e-6)
    np.testing.assert_allclose(scan.heights, heights, atol=1e-5)
    np.testing.assert_allclose(scan.shifts, shifts, atol=1e-7)
    assert scan.center == pytest.approx(HELIX.central)
    assert (scan.radius, scan.detector_distance) == pytest.approx((595.0, 1085.6))
    assert scan.notes["mode"] == "FFSXYZ"
    exact = HELIX.view(100, OBJECT)
    np.testing.assert_allclose(scan.line_integrals[100], exact, atol=exact.max() / 1e5)


def test_line_integral_is_a_chord():
    helix = dataclasses.replace(HELIX, center=(5.0, 70.0), shifts=((0.0, 0.0, 0.0),))
    ball = ((1.0, (0, 0, helix.views()[1][7]), (25, 25, 25), 0.0),)
    assert helix.view(7, ball)[5, 70] == pytest.approx(50 * WATER)


def test_error_in_hounsfield_units_and_without_the_flying_focal_spot(scan, truth):
    everywhere, flat, mean = errors(reconstruct_helix(scan, GRID), truth)
    assert flat < 15
    assert abs(mean) < 1
    blurred, _, _ = errors(reconstruct_helix(scan.with_shifts("none"), GRID), truth)
    assert blurred > 1.4 * everywhere


def test_mirrored_helix_gives_the_mirrored_volume(scan, truth):
    """Turning the other way and counting columns backwards is the scan of the mirrored object."""
    mirrored = dataclasses.replace(
        scan,
        line_integrals=np.ascontiguousarray(scan.line_integrals[:, :, ::-1]),
        angles=-scan.angles,
        shifts=scan.shifts * (-1, 1, 1),
        center=(scan.center[0], scan.line_integrals.shape[2] - 1 - scan.center[1]),
    )
    everywhere, flat, _ = errors(reconstruct_helix(mirrored, GRID)[:, :, ::-1], truth)
    assert flat < 15
    assert everywhere < 1.02 * errors(reconstruct_helix(scan, GRID), truth)[0]


def test_redundant_rays_decide_how_shifts_are_read(scan):
    found = shift_inconsistency(scan)
    assert min(found, key=found.get) == "documented"
    assert found["none"] > 3 * found["documented"]
    # angle and z exchanged by another writer
    swapped = dataclasses.replace(scan, shifts=scan.shifts[:, [1, 0, 2]])
    found = shift_inconsistency(swapped)
    assert min(found, key=found.get) == "exchanged"


def test_every_part_of_a_shift_is_placed_exactly():
    """Redundant rays of a large ellipsoid agree but for the linear interpolation of rows.

    0.0055 of 2.3 at most; with the z or the radius of a shift reversed, 0.098 and 0.037.
    """
    helix = dataclasses.replace(HELIX, shifts=((0.002, 1.0, 6.0), (-0.002, -1.0, -6.0)))
    balls = ((1.0, (10, 5, 0), (60, 55, 30), 0.3),)
    angles, heights, shifts = helix.views()
    projections = tl.measurements.HelicalProjections(
        np.stack([helix.view(k, balls) for k in range(len(angles))]).astype(np.float32),
        angles,
        heights,
        radius=helix.radius,
        detector_distance=helix.detector_distance,
        spacing=(helix.row_spacing, helix.column_spacing),
        center=helix.central,
        shifts=shifts,
    )
    assert shift_inconsistency(projections)["documented"] < 0.008


@pytest.mark.parametrize("number", [0, 301])
def test_line_integrals_are_means_along_the_ray(number):
    """Of points from the moved focal spot to the detector's element, which stays where it was."""
    angles, heights, shifts = HELIX.views()
    angle, height, (turn, rise, away) = angles[number], heights[number], shifts[number]
    row, column = 4, 60
    objects = (*OBJECT[1:], (1.0, (0, 0, height), (40, 32, 25), 0.2))
    gamma = (column - HELIX.central[1]) * HELIX.column_spacing / HELIX.detector_distance
    source = np.array(
        [
            -(HELIX.radius + away) * np.sin(angle + turn),
            (HELIX.radius + away) * np.cos(angle + turn),
            height + rise,
        ]
    )
    element = np.array(
        [
            -HELIX.radius * np.sin(angle) + HELIX.detector_distance * np.sin(angle + gamma),
            HELIX.radius * np.cos(angle) - HELIX.detector_distance * np.cos(angle + gamma),
            height + (row - HELIX.central[0]) * HELIX.row_spacing,
        ]
    )
    fractions = (np.arange(20_000) + 0.5) / 20_000
    points = source + fractions[:, None] * (element - source)
    values = [ellipsoid_volume(*point[:, None], objects).item() for point in points[8000:13_000]]
    length = np.linalg.norm(element - source) / 20_000
    # an error of a step at each end of each chord
    expected = pytest.approx(sum(values) * length, abs=4 * length * WATER)
    assert HELIX.view(number, objects)[row, column] == expected


def test_slices_beyond_the_helix_are_refused(scan):
    grid = tl.Grid((3, 32, 32), (10.0, 2.0, 2.0), center=(20.0, 0.0, 0.0))
    with pytest.raises(tl.TomolearnError, match="sees from all sides"):
        reconstruct_helix(scan, grid)


def test_series_is_read_back(tmp_path, numpy_rng):
    volume = numpy_rng.integers(-1000, 2000, (3, 8, 10)).astype(float)
    grid = tl.Grid((3, 8, 10), (2.0, 0.7, 0.8), center=(5.0, 1.0, -2.0))
    write_ct_series(tmp_path / "series", volume, grid)
    index = tl.dicom.find_series(tmp_path / "series")
    files = [pydicom.dcmread(path) for path in sorted((tmp_path / "series").iterdir())]
    np.testing.assert_array_equal([file.pixel_array for file in files], volume)
    np.testing.assert_allclose(files[0].ImagePositionPatient, [-5.6, -1.45, 3.0])
    (series,) = index.series
    read = series.volume()
    np.testing.assert_array_equal(read.hounsfield, volume)
    with pytest.raises(tl.TomolearnError, match="does not exist"):
        write_ct_series(tmp_path / "series", volume, grid)


def test_command_writes_a_series(folder, tmp_path):
    out = tmp_path / "series"
    arguments = ["ct-pd", folder, "--out", out, "--water", WATER, "--size", 40, "--pixel", 2]
    result = CliRunner().invoke(app, [*map(str, arguments), "--first", "0", "--last", "2"])
    assert result.exit_code == 0, result.output
    slices = [pydicom.dcmread(path) for path in sorted(out.iterdir())]
    assert [float(file.ImagePositionPatient[2]) for file in slices] == [0, 2]
    assert abs(slices[0].pixel_array[20:24, 20:22].mean()) < 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.pop(0x70311001), "DetectorFocalCenterAngularPosition"),
        (lambda file: file.__setattr__("InstanceNumber", 9), "number 2"),
        (lambda file: setattr(file[0x7029100B], "value", "FLAT"), "CYLINDRICAL"),
        (lambda file: setattr(file[0x70291010], "value", 7), "columns and rows"),
        (lambda file: setattr(file[0x70311003], "value", 500.0), "holds one scan"),
    ],
)
def test_faults_are_named(folder, tmp_path, change, message):
    for number in (1, 2, 3):
        file = pydicom.dcmread(folder / f"{number:06}.dcm")
        if number == 2:
            change(file)
        file.save_as(tmp_path / f"{number}.dcm")
    with pytest.raises(tl.TomolearnError, match=message):
        read_ct_pd(tmp_path)


def test_empty_folder_and_other_files_are_refused(tmp_path):
    with pytest.raises(tl.TomolearnError, match="one per view"):
        read_ct_pd(tmp_path)
    (tmp_path / "a.dcm").write_text("no view")
    with pytest.raises(tl.TomolearnError, match=r"a\.dcm"):
        read_ct_pd(tmp_path)
