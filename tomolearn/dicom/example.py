"""Example CT slice, shipped with pydicom."""

from __future__ import annotations

from pathlib import Path

from pydicom.data import get_testdata_file

_NAME = "CT_small.dcm"


def example_slice_path() -> Path:
    """Return the path of the CT slice that pydicom ships, 128 x 128 pixels about a vertebra.

    Nothing is downloaded.

    Raises
    ------
    FileNotFoundError
        If this installation of pydicom came without it.
    """
    found = get_testdata_file(_NAME, download=False)
    if not isinstance(found, str):
        raise FileNotFoundError(
            f"{_NAME}: expected it among pydicom's files, got an installation without it; "
            "give a CT slice of your own, or install pydicom from its wheel"
        )
    return Path(found)
