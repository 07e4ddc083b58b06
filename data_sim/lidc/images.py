"""Pixels as the files hold them: CT slices with noise, rounded, clipped and padded; radiographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_sim.lidc.patient import SyntheticPatient
from data_sim.resolution import kernel_noise

RADIOGRAPH_SPACING = 4.0
"""Of a radiograph's pixels in mm; the rays are parallel."""

_WIDTH = 360.0  # of the detector in mm; patients fit into a cylinder of 350 mm
_WATER = 0.019  # 1/mm, at about 70 keV


def stored_slice(patient: SyntheticPatient, i: int) -> NDArray[np.integer]:
    """Return the stored values of CT slice `i`, with noise that is strongest in the middle."""
    scanner, kernel = patient.protocol.scanner, patient.protocol.kernel
    x, y = ((np.arange(n) - (n - 1) / 2) * patient.spacing for n in patient.shape)
    radius = np.hypot(x[:, None], y).astype(np.float32)
    level = kernel.noise * (0.35 + 0.65 * np.exp(-((radius / 130) ** 2)))
    image = patient.hounsfield(i)
    image += level * kernel_noise(patient.rng("noise", i), patient.shape, kernel.cutoff)
    stored = scanner.stored(image)
    if scanner.padding is not None:
        stored[radius > min(patient.shape) * patient.spacing / 2] = scanner.padding
    return stored


def radiograph(patient: SyntheticPatient) -> NDArray[np.uint16]:
    """Return a coarse frontal radiograph of 12 bits, which grows with the line integral as film.

    The patient's left is at the viewer's right, the head up.
    """
    low, high = patient.thorax.extent
    n, step = round(_WIDTH / RADIOGRAPH_SPACING), RADIOGRAPH_SPACING
    slices = (patient.thorax.slice(z, (n, n), step) for z in np.arange(high, low, -step).tolist())
    water = np.array([np.maximum(image + 1000, 0).sum(axis=0) for image in slices]) / 1000
    return np.clip(200 + 300 * step * _WATER * water, 0, 4095).astype(np.uint16)
