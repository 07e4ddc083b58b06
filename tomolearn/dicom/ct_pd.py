"""Projections in DICOM-CT-PD, one file per view, and the series of slices made of them."""

from __future__ import annotations

import datetime
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tomolearn._core.errors import TomolearnError
from tomolearn.geometry import Grid
from tomolearn.measurements import HelicalProjections

# name: element, and type of a number if the file calls it unknown (UN)
_ELEMENTS = {
    "DetectorElementTransverseSpacing": (0x70291002, "f"),
    "DetectorElementAxialSpacing": (0x70291006, "f"),
    "DetectorShape": (0x7029100B, ""),
    "NumberofDetectorRows": (0x70291010, "H"),
    "NumberofDetectorColumns": (0x70291011, "H"),
    "DetectorFocalCenterAngularPosition": (0x70311001, "f"),
    "DetectorFocalCenterAxialPosition": (0x70311002, "f"),
    "DetectorFocalCenterRadialDistance": (0x70311003, "f"),
    "ConstantRadialDistance": (0x70311031, "f"),
    "DetectorCentralElement": (0x70311033, "f"),
    "SourceAngularPositionShift": (0x7033100B, "f"),
    "SourceAxialPositionShift": (0x7033100C, "f"),
    "SourceRadialDistanceShift": (0x7033100D, "f"),
    "FlyingFocalSpotMode": (0x7033100E, ""),
}
_SHIFTS = ("SourceAngularPositionShift", "SourceAxialPositionShift", "SourceRadialDistanceShift")
_WATER = 0x70411001
_SAME = (
    "DetectorElementTransverseSpacing",
    "DetectorElementAxialSpacing",
    "DetectorFocalCenterRadialDistance",
    "ConstantRadialDistance",
    "DetectorCentralElement",
    "NumberofDetectorRows",
    "NumberofDetectorColumns",
)


def read_ct_pd(folder: str | os.PathLike[str]) -> HelicalProjections:
    """Read a helical scan in DICOM-CT-PD, as in TCIA's LDCT-and-Projection-data.

    Tried on files written by `data_sim.write_ct_pd` only. The sense in which columns are counted
    and the axis that angle 0 stands for are those of `HelicalProjections`.

    Parameters
    ----------
    folder : path
        Folder with one file (.dcm) per view and no others.

    Returns
    -------
    HelicalProjections
        With the flying focal spot's shifts as documented: 7033,100B is the angle, 100C z, 100D the
        radius; `shift_inconsistency` tells whether the data agree. `notes` has ``"mode"`` and
        ``"water_attenuation"``, the number as the file has it.

    Raises
    ------
    ValueError
        If there are no such files, one of them is damaged or lacks what is needed, they are of
        several scans, or the detector is not cylindrical.

    References
    ----------
    doi:10.1118/1.4935406
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.dcm"))
    if not paths:
        raise TomolearnError(f"{folder}: expected files *.dcm, one per view, got none")
    views = [_read_view(path) for path in paths]
    order = np.argsort([view["number"] for view in views], kind="stable")
    views, paths = [views[k] for k in order], [paths[k] for k in order]
    first = views[0]
    for path, view, before in zip(paths[1:], views[1:], views, strict=False):
        if view["number"] == before["number"]:
            raise TomolearnError(
                f"{path}: expected views of different InstanceNumber, got {view['number']} twice"
            )
        for name in ("series", *_SAME):
            if not np.array_equal(view[name], first[name]):
                raise TomolearnError(
                    f"{path}: expected {name} {first[name]} as in {paths[0].name}, got "
                    f"{view[name]}; a folder holds one scan"
                )
    numbers = [view["number"] for view in views]
    missing = set(range(numbers[0], numbers[-1] + 1)) - set(numbers)
    if missing:
        raise TomolearnError(
            f"{folder}: expected all views from {numbers[0]} to {numbers[-1]}, got none of number "
            f"{min(missing)} and {len(missing) - 1} others"
        )
    column, row = first["DetectorCentralElement"]
    notes: dict[str, Any] = {"format": "DICOM-CT-PD", "mode": first["FlyingFocalSpotMode"]}
    if first["water"] is not None:
        notes["water_attenuation"] = first["water"]
    return HelicalProjections(
        np.stack([view.pop("values") for view in views]),
        angles=np.unwrap([view["DetectorFocalCenterAngularPosition"] for view in views]),
        heights=np.array([view["DetectorFocalCenterAxialPosition"] for view in views]),
        radius=first["DetectorFocalCenterRadialDistance"],
        detector_distance=first["ConstantRadialDistance"],
        spacing=(
            first["DetectorElementAxialSpacing"],
            first["DetectorElementTransverseSpacing"],
        ),
        center=(row - 1, column - 1),
        shifts=np.array([[view[name] for name in _SHIFTS] for view in views], float),
        notes=notes,
    )


def _read_view(path: Path) -> dict[str, Any]:
    try:
        file = pydicom.dcmread(path)
        pixels = file.pixel_array
        number = int(file.InstanceNumber)
        slope, intercept = float(file.RescaleSlope), float(file.RescaleIntercept)
        series = str(file.SeriesInstanceUID)
    except (InvalidDicomError, AttributeError, ValueError, TypeError, EOFError, KeyError) as error:
        raise TomolearnError(
            f"{path}: expected a view of DICOM-CT-PD with pixels, InstanceNumber, "
            f"SeriesInstanceUID and a rescale slope and intercept, got: {error}"
        ) from error
    view: dict[str, Any] = {"number": number, "series": series}
    for name, (tag, kind) in _ELEMENTS.items():
        if tag in file:
            view[name] = _value(path, name, file[tag].value, kind)
        elif name == "FlyingFocalSpotMode" or name in _SHIFTS:
            view[name] = "" if not kind else 0.0  # a scanner whose focal spot is at rest
        else:
            raise TomolearnError(
                f"{path}: expected {name} ({tag >> 16:04x},{tag & 0xFFFF:04x}), got no such element"
            )
    if view["DetectorShape"].upper() != "CYLINDRICAL":
        raise TomolearnError(
            f"{path}: expected DetectorShape CYLINDRICAL, got {view['DetectorShape']!r}"
        )
    if np.size(view["DetectorCentralElement"]) != 2:
        raise TomolearnError(
            f"{path}: expected DetectorCentralElement of two numbers, column and row, got "
            f"{view['DetectorCentralElement']}"
        )
    view["water"] = _value(path, "water", file[_WATER].value, "") if _WATER in file else None
    view["water"] = None if view["water"] is None else float(view["water"])
    shape = int(view["NumberofDetectorRows"]), int(view["NumberofDetectorColumns"])
    # the format stores a detector's column as a row of the image; some files do not
    if pixels.shape == shape[::-1]:
        pixels = pixels.T
    elif pixels.shape != shape:
        raise TomolearnError(
            f"{path}: expected pixels of {shape[1]} x {shape[0]}, the detector's columns and rows, "
            f"got {pixels.shape}"
        )
    view["values"] = (pixels * np.float32(slope) + np.float32(intercept)).astype(np.float32)
    return view


def _value(path: Path, name: str, value: Any, kind: str) -> Any:
    """Return a text, a number or a tuple of numbers, also of an element without a type (UN)."""
    if not kind:
        return (
            value.decode("ascii", "replace").strip(" \0")
            if isinstance(value, bytes)
            else str(value)
        )
    try:
        if isinstance(value, bytes):
            numbers = [n for (n,) in struct.iter_unpack(f"<{kind}", value)]
        else:
            numbers = [float(n) for n in np.atleast_1d(value)]
    except (struct.error, TypeError, ValueError) as error:
        raise TomolearnError(f"{path}: expected numbers in {name}, got {value!r}") from error
    if not numbers or not np.isfinite(numbers).all():
        raise TomolearnError(f"{path}: expected finite numbers in {name}, got {value!r}")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def write_ct_series(
    folder: str | os.PathLike[str],
    hounsfield: np.ndarray,
    grid: Grid,
    *,
    description: str = "tomolearn",
) -> list[Path]:
    """Write a volume as a new DICOM series of axial CT slices.

    The folder appears when all slices are in it.

    Parameters
    ----------
    folder : path
        Folder to make; it must not exist.
    hounsfield : numpy.ndarray, shape (slices, rows, columns)
        In Hounsfield units; rounded, and kept within -1024 to 31743.
    grid : Grid
        Of the volume, in the patient's axes z, y, x.
    description : str, optional
        SeriesDescription.

    Returns
    -------
    list of Path
        The files, along z.

    Raises
    ------
    ValueError
        If the folder exists, or the volume does not fit the grid or is not finite.
    """
    folder = Path(folder)
    if folder.exists():
        raise TomolearnError(f"{folder}: expected a folder that does not exist, got one that does")
    if hounsfield.shape != grid.shape or not np.isfinite(hounsfield).all():
        raise TomolearnError(
            f"hounsfield: expected finite numbers of shape {grid.shape}, got {hounsfield.shape}"
        )
    stored = np.round(np.clip(hounsfield, -1024, 31743)).astype("<i2")
    corner = [
        c - (n - 1) / 2 * d for n, d, c in zip(grid.shape, grid.spacing, grid.center, strict=True)
    ]
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    now = datetime.datetime.now(tz=datetime.UTC)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        partial = Path(scratch, "series")
        partial.mkdir()
        for number, pixels in enumerate(stored):
            file = Dataset()
            file.file_meta = FileMetaDataset()
            file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = CTImageStorage
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            file.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
            file.StudyDate = file.SeriesDate = now.strftime("%Y%m%d")
            file.StudyTime = now.strftime("%H%M%S")
            file.AccessionNumber = file.ReferringPhysicianName = file.StudyID = ""
            file.PatientName = file.PatientID = file.PatientBirthDate = file.PatientSex = ""
            file.Modality, file.Manufacturer = "CT", "tomolearn"
            file.SeriesDescription = description
            file.StudyInstanceUID, file.SeriesInstanceUID = study, series
            file.FrameOfReferenceUID, file.PositionReferenceIndicator = frame, ""
            file.SeriesNumber, file.InstanceNumber, file.AcquisitionNumber = 1, number + 1, ""
            file.KVP = ""
            z = corner[0] + number * grid.spacing[0]
            file.ImagePositionPatient = [f"{value:.8g}" for value in (corner[2], corner[1], z)]
            file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            file.PixelSpacing = [f"{value:.8g}" for value in grid.spacing[1:]]
            file.SliceThickness = f"{grid.spacing[0]:.8g}"
            file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
            file.Rows, file.Columns = pixels.shape
            file.BitsAllocated = file.BitsStored = 16
            file.HighBit, file.PixelRepresentation = 15, 1
            file.RescaleIntercept, file.RescaleSlope, file.RescaleType = 0, 1, "HU"
            file.PixelData = pixels.tobytes()
            file.save_as(partial / f"{number + 1:05}.dcm", enforce_file_format=True)
        partial.rename(folder)
    return sorted(folder.iterdir())
