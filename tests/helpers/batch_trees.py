"""Folders of small CT series for batches, and what a batch made of them."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import ct_dataset, write
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter

SHAPE, SPACING = (32, 40), (10.0, 9.0)


def uid(*parts: object) -> str:
    """Return an identifier that follows from the parts."""
    number = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:12])
    return f"2.25.{number}"


def body(height: int) -> np.ndarray:
    """Return a body with two lungs in Hounsfield units, different at each height."""
    rows = (np.arange(SHAPE[0])[:, None] - 15.5) * SPACING[0]
    columns = (np.arange(SHAPE[1]) - 19.5) * SPACING[1]
    image = np.full(SHAPE, -1000.0)
    image[(rows / 110) ** 2 + (columns / 150) ** 2 < 1] = 40
    for side in (-1, 1):
        image[(rows / 60) ** 2 + ((columns - 70 * side) / (30 + height % 15)) ** 2 < 1] = -820
    return gaussian_filter(image, 0.8)


def slice_dataset(series: str, index: int, **elements: Any) -> Dataset:
    """Return a slice of a series of this name; slices are 5 mm apart."""
    stored = np.round(body(index) + 1024).astype(np.int16)
    values = {
        "SOPInstanceUID": uid(series, index),
        "SeriesInstanceUID": uid(series),
        "StudyInstanceUID": uid("study", series),
        "FrameOfReferenceUID": uid("frame", series),
        "PatientID": f"patient-{series}",
        "PatientName": f"Name^{series}",
        "SeriesDescription": f"series {series}",
        "InstanceNumber": index + 1,
        "PixelSpacing": list(SPACING),
        "SliceThickness": 5,
        "ImagePositionPatient": [-100.0, -150.0, 5.0 * index],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "RescaleIntercept": -1024,
    }
    return ct_dataset(stored, **(values | elements))


def write_series(folder: Path, series: str, n_slices: int, **elements: Any) -> list[Path]:
    """Write a series into a folder and return its files, from the lowest slice on."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write(folder / f"{series}-{index:03d}.dcm", slice_dataset(series, index, **elements))
        for index in range(n_slices)
    ]


def results(out: Path) -> dict[str, str]:
    """Return path and digest of every file of the results, without ledger and summary."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and ".tomolearn" not in path.parts
        and path.name not in ("ledger.jsonl", "summary.html")
    }


def preload(folder: Path, text: str) -> dict[str, str]:
    """Return the environment in which every process of Python runs a script when it starts."""
    (folder / "sitecustomize.py").write_text(text)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}
