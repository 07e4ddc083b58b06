"""A chest radiograph: the thorax seen through from the back to the front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_sim.lidc.identity import stream
from data_sim.lidc.patient import SyntheticPatient

WIDTH = 360.0
"""Of the detector, in mm; patients fit into a cylinder of 350 mm."""

BITS = 12
_WATER = 0.019  # 1/mm, at about 70 keV


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One radiograph.

    Parameters
    ----------
    pixels : numpy.ndarray of uint16, shape (rows, columns)
        Bright where little came through, 12 bits.
    spacing : float
        Of the pixels in mm, at the detector and in the patient: the rays are parallel.
    places : dict of int to (int, int)
        Row and column of the patient's lesions of 3 mm or more that lie in the image.
    """

    pixels: NDArray[np.uint16]
    spacing: float
    places: dict[int, tuple[int, int]]


def radiograph(patient: SyntheticPatient) -> Radiograph:
    """Draw a frontal radiograph, with the patient's left at the viewer's right and the head up.

    Attenuation is summed through slices that are as coarse as they may be for this, 4 mm apart
    and with pixels of 4 mm or as large as in the radiograph; the image has as many columns as the
    CT slices.

    Parameters
    ----------
    patient : SyntheticPatient
        Who.

    Returns
    -------
    Radiograph
    """
    columns = patient.shape[1]
    spacing = round(WIDTH / columns, 6)
    step = max(4.0, spacing)
    low, high = patient.thorax.extent
    heights = np.arange(high, low, -step)
    n = round(WIDTH / step)
    # Line integrals of the attenuation relative to air, for each height and column.
    coarse = np.array(
        [
            np.maximum(patient.thorax.slice(float(z), (n, n), WIDTH / n) + 1000, 0).sum(axis=0)
            for z in heights
        ]
    ) * (WIDTH / n * _WATER / 1000)
    rows = max(int((heights[0] - heights[-1]) / spacing), 1)
    i = np.arange(rows) * spacing / step
    j = ((np.arange(columns) - (columns - 1) / 2) * spacing) / (WIDTH / n) + (n - 1) / 2
    image = ndimage.map_coordinates(
        coarse, np.meshgrid(i, j, indexing="ij"), order=1, mode="nearest"
    )
    # Film has a logarithmic response: values grow with the line integral.
    rng = stream(patient.seed, patient.index, "radiograph", 1)
    image = image + 0.01 * rng.standard_normal(image.shape) * np.exp(image / 6)
    top = 2**BITS - 1
    pixels = np.clip(np.rint(200 + image * (top - 400) / 12), 0, top).astype(np.uint16)
    places = {}
    for k, lesion in enumerate(patient.lesions):
        _, y, z = lesion.nodule.centre
        row, column = round((heights[0] - z) / spacing), round(y / spacing + (columns - 1) / 2)
        if not lesion.is_small and 0 <= row < rows and 0 <= column < columns:
            places[k] = row, column
    return Radiograph(pixels, spacing, places)
