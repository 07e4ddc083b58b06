"""Half-widths of intervals as DICOM Parametric Maps, in Hounsfield units."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file
from tomolearn._core.optional import optional_import
from tomolearn.dicom.derived_slice import DerivedSlice
from tomolearn.dicom.provenance import IMPLEMENTATION, MANUFACTURER
from tomolearn.dicom.uids import derived_uid

PADDING_HALF_WIDTH: Final = -1.0
"""Stored where nothing was measured; no half-width is negative."""

_SERIES_OFFSET: Final = 100_000
_DATES: Final = ("ContentDate", "AcquisitionDate", "SeriesDate", "StudyDate")
_TIMES: Final = ("ContentTime", "AcquisitionTime", "SeriesTime", "StudyTime")
_LO: Final = 64


def write_half_widths(
    half_widths: NDArray[Any],
    path: str | os.PathLike[str],
    *,
    derived: DerivedSlice,
    image: Path,
    meaning: str,
    padding: NDArray[np.bool_] | None = None,
) -> None:
    """Write the half-widths of a derived slice as a Parametric Map beside it.

    The file, of one frame of 32-bit numbers whose unit is the Hounsfield unit, is of a series of
    its own in the slice's study and frame of reference, and names the slice as its source. It is
    made of the slice's file: where that has lost the patient's identity, so has the map. The same
    slice and half-widths give the same bytes.

    Parameters
    ----------
    half_widths : numpy.ndarray, shape (rows, columns)
        In Hounsfield units.
    path : path
        The file; one that is there is replaced.
    derived : DerivedSlice
        The slice, whose identifiers the map's are made from.
    image : pathlib.Path
        Its file.
    meaning : str
        What the half-widths are, in ASCII: "half-width for the level 0.9", for example.
    padding : numpy.ndarray of bool, shape (rows, columns), optional
        Where nothing was measured: there the map has `PADDING_HALF_WIDTH`, its padding value.

    Raises
    ------
    ImportError
        If highdicom is not installed: ``pip install 'tomolearn[parametric-maps]'``.
    OSError
        If a file cannot be read or written.
    ValueError
        If half-widths are of another shape than the slice, negative or not finite.
    """
    hd: Any = optional_import(
        "highdicom",
        purpose="writing of half-widths as Parametric Maps",
        install="pip install 'tomolearn[parametric-maps]'",
    )
    shape = derived.source.shape
    values = np.asarray(half_widths, dtype=np.float32)
    outside = np.zeros(shape, dtype=bool) if padding is None else padding
    if values.shape != shape or not np.isfinite(values).all() or (values < 0).any():
        raise TomolearnError(
            f"half_widths: expected finite numbers that are not negative, of shape {shape}, got "
            f"shape {values.shape} with values from {values.min():g} to {values.max():g}"
        )
    stored = np.where(outside, np.float32(PADDING_HALF_WIDTH), values)
    source, how = pydicom.dcmread(image, stop_before_pixels=True), derived.derivation
    highest = float(max(stored.max(), 1.0))
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="HALF-WIDTH",
        lut_explanation=meaning[:_LO],
        unit=hd.sr.CodedConcept("[hnsf'U]", "UCUM", "Hounsfield unit"),
        value_range=(0.0, highest),
        slope=1.0,
        intercept=0.0,
    )
    made = hd.pm.ParametricMap(
        source_images=[source],
        pixel_array=stored[None],
        series_instance_uid=_replaced(derived, derived_uid("half-widths", derived.series)),
        series_number=min(derived.series_number + _SERIES_OFFSET, 2**31 - 1),
        sop_instance_uid=_replaced(
            derived, derived_uid("half-width", derived.series, derived.sop_instance_uid)
        ),
        instance_number=max(derived.instance_number, 1),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=how.method or MANUFACTURER,
        software_versions=how.version,
        # there is none, and the element must not be empty
        device_serial_number=how.version,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(highest / 2, highest)],
        pixel_measures=_measures(hd, source),
        content_label="HALF_WIDTH",
        content_description=meaning[:_LO],
        derived_pixel_contrast="NONE",
        image_flavor="VOLUME",
    )
    made.SeriesDescription = f"{meaning}, of: {how.series_description or how.method}"[:_LO]
    # whether the part of the body is one of a pair is not known
    made.Laterality = None
    for item in made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence:
        # of a single frame there is none
        if "SpacingBetweenSlices" in item:
            del item.SpacingBetweenSlices
    _settle(made, source)
    if outside.any():
        made.add_new("FloatPixelPaddingValue", "FL", PADDING_HALF_WIDTH)
    made.file_meta.ImplementationClassUID = IMPLEMENTATION
    made.file_meta.ImplementationVersionName = f"TOMOLEARN {how.version}"[:16]
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    with complete_file(Path(path)) as file:
        file.write(buffer.getbuffer())


def _measures(hd: Any, source: Dataset) -> Any:
    """Return distances of pixels and, where the slice tells it, its thickness."""
    thickness = source.get("SliceThickness")
    found = hd.PixelMeasuresSequence(source.PixelSpacing, float(thickness or 1.0))
    if not thickness:
        del found[0].SliceThickness
    return found


def _settle(made: Dataset, source: Dataset) -> None:
    """Replace times of writing by those of the image, if it has some, and random identifiers."""
    for keywords, keyword in ((_DATES, "ContentDate"), (_TIMES, "ContentTime")):
        known = [source.get(one) for one in keywords]
        setattr(made, keyword, next((one for one in known if one), made.get(keyword)))
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in made:
            delattr(made, keyword)
    for item in made.get("ContributingEquipmentSequence") or []:
        if "ContributionDateTime" in item:
            del item.ContributionDateTime
    organisation = derived_uid("dimensions", made.SOPInstanceUID)
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation


def _replaced(derived: DerivedSlice, uid: str) -> str:
    return uid if derived.deidentify is None else derived.deidentify.uid(uid)
