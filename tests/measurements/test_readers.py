"""Readers: every format as another library writes it, comes back with the scan it was made with."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import hdf5storage
import mrcfile
import numpy as np
import pytest
import scipy.io
import tifffile
from compound_files import write_compound_file

import tomolearn as tl
from tomolearn._core.errors import UnitWarning
from tomolearn.measurements import READERS, Measurement, MeasurementWarning, read

VIEWS, ROWS, COLUMNS = 7, 3, 11
DEGREES = np.linspace(0, 170, VIEWS) + 3.5
_rng = np.random.default_rng(14)
COUNTS = _rng.integers(100, 60000, (VIEWS, ROWS, COLUMNS)).astype(np.uint16)
FLATS = _rng.integers(60000, 65000, (2, ROWS, COLUMNS)).astype(np.uint16)
DARKS = _rng.integers(1, 9, (2, ROWS, COLUMNS)).astype(np.uint16)
ISOCENTER, DETECTOR = 60.0, 150.0


def parallel(**fields: Any) -> tl.ParallelBeam:
    return tl.ParallelBeam(angles=np.deg2rad(DEGREES).tolist(), n_detectors=COLUMNS, **fields)


def write_data_exchange(folder: Path) -> Path:
    path = folder / "scan.h5"
    with h5py.File(path, "w") as file:
        # by a plug-in, as detectors write them
        file.create_dataset("exchange/data", data=COUNTS, **hdf5plugin.Bitshuffle())
        file["exchange/data_white"], file["exchange/data_dark"] = FLATS, DARKS
        file["exchange/theta"] = DEGREES
        file["exchange/theta"].attrs["units"] = "degrees"
        detector = file.create_group("measurement/instrument/detector")
        detector["pixel_size_x"], detector["pixel_size_y"] = 2.0, 2.5
        for name in detector:
            detector[name].attrs["units"] = "um"
        file["measurement/sample/name"] = "tooth"
    return path


def write_nxtomo(folder: Path) -> Path:
    path = folder / "scan.nxs"
    # a dark, a flat, four views, a spoiled frame, the other views, a flat, a dark
    frames = [DARKS[:1], FLATS[:1], COUNTS[:4], COUNTS[:1], COUNTS[4:], FLATS[1:], DARKS[1:]]
    keys = [2, 1, *[0] * 4, 3, *[0] * 3, 1, 2]
    angles = np.r_[0, 0, DEGREES[:4], 99, DEGREES[4:], 0, 0]
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry0000")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = "NXtomo"
        detector = entry.create_group("instrument/detector")
        detector["data"] = np.concatenate(frames)
        detector["image_key"] = keys
        detector["x_pixel_size"], detector["y_pixel_size"] = 2e-6, 2.5e-6
        entry["sample/rotation_angle"] = np.deg2rad(angles)
        entry["sample/rotation_angle"].attrs["units"] = "rad"
        entry["sample/name"] = "tooth"
        # the usual second name of the same data
        entry["data/data"] = h5py.SoftLink("/entry0000/instrument/detector/data")
    return path


def write_tiff_folder(folder: Path) -> Path:
    place = folder / "views"
    place.mkdir()
    for number, view in enumerate(COUNTS):
        tifffile.imwrite(place / f"scan_{number + 5}.tif", view)  # 9 before 10
    tifffile.imwrite(folder / "flats.tiff", FLATS)
    np.savetxt(folder / "angles.txt", np.c_[np.arange(VIEWS), DEGREES], header="view angle")
    return place


def write_tiff_stack(folder: Path) -> Path:
    write_tiff_folder(folder)
    tifffile.imwrite(folder / "scan.tif", COUNTS, photometric="minisblack", compression="zlib")
    return folder / "scan.tif"


TOLD_TIFF = {"flats": "flats.tiff", "angles": "angles.txt", "detector_spacing": (2.5e-3, 2e-3)}


def fips_struct() -> dict[str, Any]:
    parameters = {
        "geometryType": "Cone",
        "distanceSourceOrigin": ISOCENTER,
        "distanceSourceDetector": DETECTOR,
        "distanceUnit": "mm",
        "angles": DEGREES,
        "pixelSize": 0.05,
        "binningPost": 4.0,
        "pixelSizePost": 0.2,
    }
    return {"type": "2D", "sinogram": COUNTS[:, 0] / 65536, "parameters": parameters}


def write_mat5(folder: Path) -> Path:
    scipy.io.savemat(folder / "scan.mat", {"CtDataLimited": fips_struct()})
    return folder / "scan.mat"


def write_mat73(folder: Path) -> Path:
    path = folder / "scan.mat"
    values = {"CtDataFull": fips_struct()}
    hdf5storage.write(values, filename=str(path), matlab_compatible=True)
    return path


def nikon_settings(**changes: Any) -> str:
    settings = {
        "Name": "bone",
        "InputSeparator": "_",
        "InputFolderName": "",
        "SrcToObject": ISOCENTER,
        "SrcToDetector": DETECTOR,
        "DetectorPixelsX": COLUMNS,
        "DetectorPixelsY": ROWS,
        "DetectorPixelSizeX": 0.2,
        "DetectorPixelSizeY": 0.25,
        "Projections": VIEWS,
        "InitialAngle": 10.0,
        "AngularStep": 360 / VIEWS,
        "WhiteLevel": 65000,
        "CentreOfRotationTop": 0.3,
        "CentreOfRotationBottom": 0.3,
        "XraykV": 120,
    } | changes
    lines = [f"{key}={value}" for key, value in settings.items() if value is not None]
    return "\r\n".join(["[XTekCT]", *lines, "[Xrays]", "XraykV=120", ""])


def write_nikon(folder: Path) -> Path:
    path = folder / "bone.xtekct"
    path.write_text(nikon_settings())
    for number, view in enumerate(COUNTS):
        tifffile.imwrite(folder / f"bone_{number + 1:04d}.tif", view)
    return path


def zeiss_streams() -> dict[str, bytes]:
    def packed(values: Any, dtype: str) -> bytes:
        return np.asarray(values).astype(dtype).tobytes()

    numbers = {
        "ImageWidth": COLUMNS,
        "ImageHeight": ROWS,
        "DataType": 5,
        "NoOfImages": VIEWS + 2,
        "ImagesTaken": VIEWS,
        "XrayGeometry": 1,
    }
    streams = {f"ImageInfo/{name}": packed([value], "<i4") for name, value in numbers.items()}
    floats = {
        "Angles": DEGREES,
        "StoRADistance": np.full(VIEWS, -ISOCENTER),
        "DtoRADistance": np.full(VIEWS, DETECTOR - ISOCENTER),
        "PixelSize": [80.0],
        "Voltage": [90.0],
    }
    streams |= {f"ImageInfo/{name}": packed(value, "<f4") for name, value in floats.items()}
    streams |= {f"ImageData1/Image{k + 1}": packed(view, "<u2") for k, view in enumerate(COUNTS)}
    streams["ReferenceData/Image"] = packed(FLATS[0], "<f4")
    streams["ReferenceData/DataType"] = packed([10], "<i4")
    return streams


def write_zeiss(folder: Path) -> Path:
    write_compound_file(folder / "scan.txrm", zeiss_streams())
    return folder / "scan.txrm"


def write_mrc(folder: Path) -> Path:
    path = folder / "series.mrc"
    with mrcfile.new(path) as file:
        file.set_data(COUNTS.astype(np.int16) // 2)
        file.voxel_size = (20.0, 25.0, 1.0)
    np.savetxt(folder / "series.rawtlt", DEGREES)
    return path


def cone(angles: Any, spacing: tuple[float, float], offset: float = 0.0) -> tl.ConeBeam:
    return tl.ConeBeam(
        angles=np.deg2rad(angles).tolist(),
        detector_shape=(ROWS, COLUMNS),
        detector_spacing=spacing,
        source_to_isocenter=ISOCENTER,
        source_to_detector=DETECTOR,
        detector_offset=(0.0, offset),
    )


FAN = tl.FanBeam(
    angles=np.deg2rad(DEGREES).tolist(),
    n_detectors=COLUMNS,
    detector_spacing=0.2,
    source_to_isocenter=ISOCENTER,
    source_to_detector=DETECTOR,
)
# the scanner turns clockwise from 10 degrees on; the axis is seen 0.3 mm to one side
NIKON = cone(180 - 10 - 360 / VIEWS * np.arange(VIEWS), (0.25, 0.2), offset=-0.3)
WHITE = np.full((1, ROWS, COLUMNS), 65000, np.float32)
LINES = COUNTS[:, 0] / 65536

# format, writer, what is told, counts, flats, darks, line integrals, scan
FORMATS: dict[str, tuple[Any, ...]] = {
    "data-exchange": (
        *("data-exchange", write_data_exchange, {}, COUNTS, FLATS, DARKS, None),
        parallel(detector_spacing=2e-3),
    ),
    "nxtomo": (
        *("nxtomo", write_nxtomo, {}, COUNTS, FLATS, DARKS, None),
        parallel(detector_spacing=2e-3),
    ),
    "tiff-folder": (
        *("tiff", write_tiff_folder, TOLD_TIFF, COUNTS, FLATS, None, None),
        parallel(detector_spacing=2e-3),
    ),
    "tiff-stack": (
        *("tiff", write_tiff_stack, TOLD_TIFF, COUNTS, FLATS, None, None),
        parallel(detector_spacing=2e-3),
    ),
    "mat-5": ("fips", write_mat5, {}, None, None, None, LINES, FAN),
    "mat-7.3": ("fips", write_mat73, {}, None, None, None, LINES, FAN),
    "nikon": ("nikon", write_nikon, {}, COUNTS, WHITE, None, None, NIKON),
    "zeiss": (
        *("zeiss", write_zeiss, {}, COUNTS, FLATS[:1], None, None),
        cone(-DEGREES, (0.2, 0.2)),
    ),
    "mrc": (
        *("mrc", write_mrc, {}, COUNTS.astype(np.int16) // 2, None, None, None),
        parallel(detector_spacing=2e-6),
    ),
}


def told_in(folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    return {name: folder / one if isinstance(one, str) else one for name, one in told.items()}


def written(name: str, folder: Path, **more: Any) -> Measurement:
    _, write, told, *_ = FORMATS[name]
    return read(write(folder), **(told_in(folder, told) | more))


def test_every_format_is_tried() -> None:
    assert {one[0] for one in FORMATS.values()} == set(READERS)


@pytest.mark.parametrize("name", FORMATS)
def test_file_of_another_library_is_read_back(name: str, tmp_path: Path) -> None:
    kind, _, _, counts, flats, darks, lines, scan = FORMATS[name]
    found = written(name, tmp_path)
    for field, expected in {
        "counts": counts,
        "flats": flats,
        "darks": darks,
        "line_integrals": lines,
    }.items():
        got = getattr(found, field)
        assert (got is None) == (expected is None), field
        if expected is not None:
            np.testing.assert_array_equal(got, expected)
            assert got.dtype.isnative
    assert type(found.scan) is type(scan)
    assert found.missing == ()
    given, wanted = found.scan.vectors(), scan.vectors()
    # single precision of files in degrees
    for got, expected in zip(given, wanted, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * np.abs(wanted[1]).max())
    assert found.notes["format"] == kind


@pytest.mark.parametrize("name", FORMATS)
def test_parts_of_a_file_are_those_of_the_whole(name: str, tmp_path: Path) -> None:
    whole = written(name, tmp_path)
    folder = tmp_path / "again"
    folder.mkdir()
    rows = None if whole.n_rows is None else slice(1, 3)
    views = slice(1, 6, 2)
    found, expected = written(name, folder, rows=rows, views=views), whole
    expected = expected if rows is None else expected.subset(rows=rows)
    expected = expected.subset(views=views)
    assert found.scan == expected.scan
    assert found.flat_views == expected.flat_views
    for field in ("counts", "flats", "darks", "line_integrals"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


def test_one_row_of_parallel_beams_and_of_cones(tmp_path: Path) -> None:
    found = written("nxtomo", tmp_path, rows=2)
    np.testing.assert_array_equal(found.counts, COUNTS[:, 2])
    np.testing.assert_array_equal(found.darks, DARKS[:, 2])
    found = written("nikon", tmp_path, rows=1)
    # the row in the source's plane is a fan beam: the same rays, without z
    assert isinstance(found.scan, tl.FanBeam)
    in_space, in_plane = NIKON.vectors(), found.scan.vectors()
    np.testing.assert_allclose(in_plane[0], in_space[0][:, 1:], atol=1e-12)
    np.testing.assert_allclose(in_plane[1], in_space[1][:, 1:], atol=1e-12)
    with pytest.raises(tl.TomolearnError, match="rows: expected row 1, which is nearest"):
        read(tmp_path / "bone.xtekct", rows=0)


def test_flats_know_when_they_were_taken(tmp_path: Path) -> None:
    assert written("nxtomo", tmp_path).flat_views == (-1.0, VIEWS)


def test_sinogram_of_tiff(tmp_path: Path) -> None:
    path = tmp_path / "sinogram.tif"
    tifffile.imwrite(path, COUNTS[:, 1])
    found = read(path, angular_range=math.pi, detector_spacing=0.5, flats=60000, center=4.0)
    np.testing.assert_array_equal(found.counts, COUNTS[:, 1])
    np.testing.assert_allclose(found.scan.view_angles, np.arange(VIEWS) * math.pi / VIEWS)
    # column 4 of 0 ... 10, whose middle is 5
    assert found.scan.detector_offset == pytest.approx(0.5)
    turned = read(path, angular_range=math.pi, detector_spacing=0.5, clockwise=True)
    np.testing.assert_allclose(turned.scan.view_angles, -found.scan.view_angles)


def test_what_is_not_told_is_named(tmp_path: Path) -> None:
    path = tmp_path / "views.tif"
    tifffile.imwrite(path, COUNTS, photometric="minisblack")
    found = read(path)
    assert (found.scan, found.missing) == (None, ("angles", "detector_spacing"))
    found = read(path, detector_spacing=0.1, source_to_detector=50.0)
    assert found.missing == ("angles", "source_to_isocenter")
    with pytest.raises(tl.TomolearnError, match="to place the center"):
        read(path, center=3.0)


def test_what_is_told_goes_before_the_file(tmp_path: Path) -> None:
    path = write_mat5(tmp_path)
    found = read(path, source_to_isocenter=59.0, detector_offset=0.04)
    assert found.scan.source_to_isocenter == 59.0
    assert found.scan.detector_offset == 0.04
    assert found.scan.source_to_detector == DETECTOR


def test_floating_point_numbers_may_be_either(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, LINES.astype(np.float32))
    with pytest.raises(tl.TomolearnError, match=r"content: expected one of counts, line_integrals"):
        read(path)
    assert read(path, content="line_integrals").counts is None
    assert read(path, content="counts").line_integrals is None


def test_radians_that_are_taken_as_degrees_are_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["exchange/data"] = np.ones((40, 1, 5), np.uint16)
        file["exchange/theta"] = np.linspace(0, np.pi, 40)
    with pytest.warns(UnitWarning, match="taken as degrees"):
        read(tmp_path / "scan.h5")


def test_what_the_scan_cannot_hold_is_told(tmp_path: Path) -> None:
    path = write_nikon(tmp_path)
    path.write_text(nikon_settings(ObjectTilt=0.5, CentreOfRotationTop=0.4))
    with pytest.warns(MeasurementWarning, match=r"not in the scan: ObjectTilt = 0.5; CentreOfRota"):
        found = read(path)
    assert found.scan.detector_offset == pytest.approx((0.0, -0.35))
    path.write_text(nikon_settings(ObjectOffsetX=0.2))
    assert read(path).scan.detector_offset == pytest.approx((0.0, -0.2 * DETECTOR / ISOCENTER))
    streams = zeiss_streams()
    streams["Alignment/X-Shifts"] = np.linspace(0, -2, VIEWS).astype("<f4").tobytes()
    write_compound_file(tmp_path / "scan.txrm", streams)
    with pytest.warns(MeasurementWarning, match="not in the scan: Alignment/X-Shifts, up to 2 pix"):
        read(tmp_path / "scan.txrm")


def test_views_beyond_the_first_hundred_of_zeiss(tmp_path: Path) -> None:
    count = 103
    views = np.arange(count * 2).reshape(count, 1, 2)
    streams = zeiss_streams()
    streams = {name: one for name, one in streams.items() if not name.startswith("ImageData")}
    changed = {"ImageWidth": 2, "ImageHeight": 1, "ImagesTaken": count}
    for name, value in changed.items():
        streams[f"ImageInfo/{name}"] = np.array([value], "<i4").tobytes()
    for name in ("Angles", "StoRADistance", "DtoRADistance"):
        streams[f"ImageInfo/{name}"] = np.linspace(1, 9, count).astype("<f4").tobytes()
    for k, view in enumerate(views):
        streams[f"ImageData{1 + k // 100}/Image{k + 1}"] = view.astype("<u2").tobytes()
    write_compound_file(tmp_path / "scan.txrm", streams)
    np.testing.assert_array_equal(read(tmp_path / "scan.txrm").counts, views)


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.6)])


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("nikon", "tiff-folder")])
def test_file_that_is_cut_off_is_an_error(name: str, tmp_path: Path) -> None:
    _, write, told, *_ = FORMATS[name]
    path = write(tmp_path)
    _cut(path)
    with pytest.raises(tl.TomolearnError, match=rf"{path.name}.*: expected"):
        read(path, **told_in(tmp_path, told))


def _without(key: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = write_nikon(folder)
        path.write_text(nikon_settings(**{key: None}))
        return path

    return write


def _nikon(**changes: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = write_nikon(folder)
        path.write_text(nikon_settings(**changes))
        return path

    return write


def _mat(**values: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        scipy.io.savemat(folder / "other.mat", values)
        return folder / "other.mat"

    return write


def _named(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _data_exchange(**changes: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = write_data_exchange(folder)
        with h5py.File(path, "a") as file:
            for name, value in changes.items():
                del file[f"exchange/{name}"]
                if value is not None:
                    file[f"exchange/{name}"] = value
        return path

    return write


@pytest.mark.parametrize(
    ("write", "told", "message"),
    [
        (_mat(A=np.eye(2), m=np.ones(3)), {}, r"one variable with a field sinogram.*got A, m"),
        (_mat(S={"sinogram": np.ones(3)}), {}, r"S.sinogram: expected shape \(views, bins\)"),
        (_named("a.mat", b"no file of MATLAB" * 40), {}, "expected a complete file of MATLAB"),
        (_named("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(50)), {}, "expected a complete HDF5 file"),
        (_named("a.txrm", b"text" * 200), {}, "expected a compound file"),
        (_named("a.mrc", b"text" * 400), {}, "expected a complete"),
        (_named("a.xtekct", b"[Other]\na=1\n"), {}, r"expected a section \[XTekCT\], got Other"),
        (_named("a.xtekct", b"no section"), {}, r"expected \[XTekCT\] and settings"),
        (_named("a.tif", b"no picture"), {}, "expected a complete TIFF file"),
        (_named("a.raw", b""), {}, r"a.raw: expected a name that ends in .ali, .h5"),
        (_without("SrcToObject"), {}, r"expected SrcToObject in \[XTekCT\]"),
        (_nikon(SrcToObject="far"), {}, "expected a number as SrcToObject, got 'far'"),
        (_nikon(Projections=9), {}, r"expected 9 views \(Projections\).*got 7 files"),
        (_nikon(DetectorPixelsX=9), {}, r"expected views of \(3, 9\) pixels"),
        (_nikon(InputFolderName="../.."), {}, "expected an InputFolderName beside the file"),
        (_data_exchange(theta=DEGREES[:4]), {}, "angles: expected 7, one for each view, got 4"),
        (
            _data_exchange(data_white=FLATS[:, :, :5]),
            {},
            r"flats: expected shape \(frames, 3, 11\)",
        ),
        (_data_exchange(data=None), {}, "data of none"),
        (_data_exchange(data=None), {"format": "data-exchange"}, "the data set exchange/data"),
        (write_data_exchange, {"format": "dx"}, "format: expected"),
        (write_data_exchange, {"angel": 3}, "keyword: expected"),
        (write_data_exchange, {"rows": 3}, "rows: expected"),
        (write_data_exchange, {"rows": slice(3, 3)}, "rows: expected a slice"),
        (write_data_exchange, {"views": slice(9, 9)}, "views: expected at least one"),
        (write_data_exchange, {"views": slice(None, None, -1)}, "views: expected a slice"),
        (write_data_exchange, {"angles": [0.0]}, "angles: expected 7"),
        (
            write_data_exchange,
            {"angles": [0.0], "angular_range": 1.0},
            "angular_range: expected ei",
        ),
        (write_data_exchange, {"flats": np.ones((1, 2, 2))}, r"flats: expected frames of shape"),
        (write_data_exchange, {"center": 1.0, "detector_offset": 1.0}, "center: expected either"),
        (write_data_exchange, {"content": "attenuation"}, "content: expected one of"),
    ],
)
def test_mistakes(
    write: Callable[[Path], Path], told: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(tl.TomolearnError, match=message):
        read(write(tmp_path), **told)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"scan\.h5: there is no such file"):
        read(tmp_path / "scan.h5")
    with pytest.raises(TypeError, match="path: expected a path, got int"):
        read(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("virtual", [False, True])
def test_files_choose_no_files_of_other_folders(virtual: bool, tmp_path: Path) -> None:
    for name in ("inside", "outside"):
        folder = tmp_path / "scan" if name == "inside" else tmp_path
        folder.mkdir(exist_ok=True)
        with h5py.File(folder / "frames.h5", "w") as file:
            file["frames"] = COUNTS
        path = tmp_path / "scan" / f"{name}.h5"
        with h5py.File(path, "w") as file:
            source = str(folder / "frames.h5") if name == "outside" else "frames.h5"
            if virtual:
                layout = h5py.VirtualLayout(COUNTS.shape, COUNTS.dtype)
                layout[:] = h5py.VirtualSource(source, "frames", COUNTS.shape)
                file.create_virtual_dataset("exchange/data", layout)
            else:
                file["exchange/data"] = h5py.ExternalLink(source, "frames")
    np.testing.assert_array_equal(read(tmp_path / "scan" / "inside.h5").counts, COUNTS)
    with pytest.raises(tl.TomolearnError, match="of others in its folder"):
        read(tmp_path / "scan" / "outside.h5")


def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mrc(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "mrcfile", None)
    with pytest.raises(ImportError, match=r"pip install 'tomolearn\[measured\]'"):
        read(path)


def test_measured_files(real_data: Path) -> None:
    folder = real_data / "measured"
    if not folder.is_dir():
        pytest.skip("needs measured scans in ../shared/data/measured")
    tooth = read(folder / "tooth.h5")
    assert tooth.missing == ("detector_spacing",)
    assert (tooth.shape, tooth.flats.shape, tooth.darks.shape) == (
        *((181, 2, 640), (10, 2, 640), (10, 2, 640)),
    )
    tooth = read(folder / "tooth.h5", detector_spacing=1.0, center=295.85)
    assert np.rad2deg(tooth.scan.view_angles[[0, -1]]) == pytest.approx([0, 179.0055], abs=1e-3)
    assert tooth.scan.detector_offset == pytest.approx(23.65)
    disc = read(folder / "htc2022_ta_limited30.mat")
    assert disc.scan == tl.FanBeam(
        angles=np.deg2rad(269 + 0.5 * np.arange(61)).tolist(),
        n_detectors=560,
        detector_spacing=0.2,
        source_to_isocenter=410.66,
        source_to_detector=553.74,
    )
    neutron = read(folder / "neutron_360.tif", angular_range=2 * np.pi, detector_spacing=1.0)
    assert neutron.scan.shape == (459, 503)
