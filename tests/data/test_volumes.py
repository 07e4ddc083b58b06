"""Volumes as other programs read them, and as they wrote them."""

import gzip
import sys

import mrcfile
import nibabel
import numpy as np
import pytest

import tomolearn as tl
from tomolearn.data import read_volume, write_volume

GRID = tl.Grid((3, 4, 5), (0.3, 0.5, 0.7), center=(10.0, -2.0, 3.0))
SUFFIXES = (".mrc", ".nii", ".nii.gz")


@pytest.fixture
def volume(numpy_rng):
    return numpy_rng.standard_normal(GRID.shape).astype(np.float32)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(suffix, volume, tmp_path):
    path = tmp_path / f"x{suffix.upper() if suffix == '.mrc' else suffix}"
    write_volume(path, volume[None], GRID)
    found, grid = read_volume(path)
    np.testing.assert_array_equal(found, volume)
    assert grid.shape == GRID.shape
    # headers hold single precision, of MRC in angstroms
    np.testing.assert_allclose(grid.spacing, GRID.spacing, rtol=1e-6)
    np.testing.assert_allclose(grid.center, GRID.center, rtol=1e-6)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nibabel_finds_each_voxel_where_the_grid_has_it(suffix, volume, tmp_path):
    path = tmp_path / f"x{suffix}"
    write_volume(path, volume, GRID)
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    values = np.asarray(image.dataobj)
    z, x, y = GRID.coordinates()
    for affine in (image.get_sform(), image.get_qform()):
        for s, r, c in ((0, 0, 0), (2, 1, 4), (1, 3, 0)):
            assert values[r, c, s] == volume[s, r, c]
            place = affine @ (r, c, s, 1)
            np.testing.assert_allclose(place[:3], (x[r], y[c], z[s]), rtol=1e-6)


def test_mrcfile_finds_a_valid_volume(volume, tmp_path):
    path = tmp_path / "x.mrc"
    write_volume(path, volume, GRID)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        assert file.is_volume()
        np.testing.assert_array_equal(file.data, volume)
        size, origin = file.voxel_size, file.header.origin
        z, x, y = GRID.coordinates()
        # sections along z, their rows along the file's y, their columns along its x; angstroms
        np.testing.assert_allclose((size.z, size.y, size.x), (3e6, 5e6, 7e6), rtol=1e-6)
        start = np.array([z[0], x[0], y[0]]) * 1e7
        np.testing.assert_allclose((origin.z, origin.y, origin.x), start, rtol=1e-6)


def test_the_same_volume_is_the_same_file(volume, tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, volume, GRID)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("micron", 1e-3), ("meter", 1e3)])
def test_flipped_and_permuted_axes_of_others_are_followed(unit, factor, volume, tmp_path):
    stored = volume.transpose(2, 0, 1)[::-1]  # columns backwards, slices, rows
    affine = np.zeros((4, 4))
    z, x, y = (axis / factor for axis in GRID.coordinates())
    affine[1, 0], affine[2, 1], affine[0, 2] = -0.7 / factor, 0.3 / factor, 0.5 / factor
    affine[:, 3] = x[0], y[-1], z[0], 1
    image = nibabel.Nifti1Image(stored, affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "x.nii.gz")
    found, grid = read_volume(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(found, volume)
    np.testing.assert_allclose(grid.spacing, GRID.spacing, rtol=1e-6)
    np.testing.assert_allclose(grid.center, GRID.center, rtol=1e-5)


def nifti(path, *, affine=None, shape=(4, 5, 3), dtype=np.float32, without_codes=False):
    image = nibabel.Nifti1Image(np.ones(shape, dtype), np.eye(4) if affine is None else affine)
    content = bytearray(image.to_bytes())
    if without_codes:  # qform_code and sform_code, which nibabel would set
        content[252:256] = bytes(4)
    path.write_bytes(content)


OBLIQUE = np.array([[1, 0.1, 0, 0], [-0.1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without_codes": True}, "expected an affine that says where voxels are"),
        ({"affine": OBLIQUE}, "expected voxels along the axes, got an oblique affine"),
        ({"shape": (4, 5)}, "expected one volume of numbers"),
        ({"shape": (4, 5, 3, 2)}, "expected one volume of numbers"),
        ({"dtype": np.complex64}, "expected one volume of numbers"),
    ],
)
def test_nifti_that_will_not_do(changes, message, tmp_path):
    nifti(tmp_path / "x.nii", **changes)
    with pytest.raises(tl.TomolearnError, match=message):
        read_volume(tmp_path / "x.nii")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_are_refused(suffix, volume, tmp_path):
    path = tmp_path / f"x{suffix}"
    write_volume(path, volume, GRID)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:-20], whole[:100], b"\xff" * 400 + whole[400:]):
        path.write_bytes(content)
        with pytest.raises(tl.TomolearnError, match=path.name):
            read_volume(path)
    write_volume(path, np.full_like(volume, np.nan), GRID)
    with pytest.raises(tl.TomolearnError, match="expected finite values"):
        read_volume(path)
    with pytest.raises(FileNotFoundError):
        read_volume(tmp_path / f"none{suffix}")


def test_a_bomb_is_refused(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header.set_data_dtype(np.float32)
    header.set_sform(np.eye(4), code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    with pytest.raises(tl.TomolearnError, match="expected at most 100 times what is stored"):
        read_volume(tmp_path / "x.nii.gz")


@pytest.mark.parametrize(
    ("name", "shape", "grid", "message"),
    [
        ("x.tif", GRID.shape, GRID, "expected a name that ends in .mrc, .nii, .nii.gz"),
        ("x.nii", (2, *GRID.shape), GRID, r"expected one volume, \(3, 4, 5\), got shape \(2, 3"),
        ("x.mrc", (5, 4, 3), GRID, r"expected one volume, \(3, 4, 5\), got shape \(5, 4, 3\)"),
        ("x.mrc", (4, 5), tl.Grid((4, 5)), r"expected one volume, a grid \(slices, rows"),
    ],
)
def test_what_is_no_volume_is_not_written(name, shape, grid, message, tmp_path):
    with pytest.raises(tl.TomolearnError, match=message):
        write_volume(tmp_path / name, np.zeros(shape, np.float32), grid)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_package_is_named_with_its_extra(suffix, volume, tmp_path, monkeypatch):
    for module in ("nibabel", "mrcfile"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"remedy: pip install 'tomolearn\[volumes\]'"):
        write_volume(tmp_path / f"x{suffix}", volume, GRID)
