"""Small trees of synthetic LIDC patients, and what tests ask of the files in them."""

from pathlib import Path

import numpy as np
from scipy import ndimage

# Five patients with every maker, both positions, both orders, two radiographs, nodules of all
# kinds, under and over 3 mm and with a cavity.
SEED, PATIENTS, SLICES, SHAPE = 74, 5, 5, (128, 128)


def contents(root):
    """Every file with its bytes, by its path within the tree."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file()
    }


def enclosed(chain, shape):
    """What a chain of pixels encloses, without the chain itself."""
    border = np.zeros(shape, dtype=bool)
    border[tuple(chain.T)] = True
    return ndimage.binary_fill_holes(border) & ~border
