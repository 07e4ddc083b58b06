"""CT slices as the scanner stores them: with noise, rounded, clipped and padded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from data_sim.lidc.identity import stream
from data_sim.lidc.patient import SyntheticPatient


def stored_slice(patient: SyntheticPatient, i: int) -> NDArray[np.integer]:
    """Return a CT slice's stored values.

    The noise has the spectrum of a filtered back-projection, a ramp that fades at the kernel's
    cutoff, and is strongest in the middle of the field.

    Parameters
    ----------
    patient : SyntheticPatient
        Who.
    i : int
        Which slice.

    Returns
    -------
    numpy.ndarray of int16 or uint16, shape ``patient.shape``
    """
    scanner = patient.acquisition.scanner
    image = patient.hounsfield(i)
    rng = stream(patient.seed, patient.index, "noise", i)
    image += patient.noise_level * noise(rng, patient.shape, patient.acquisition.kernel.cutoff)
    stored = scanner.stored(image)
    if scanner.padding is not None:
        stored[patient.outside] = scanner.padding
    return stored


def noise(rng: np.random.Generator, shape: tuple[int, int], cutoff: float) -> NDArray[np.float32]:
    """Return a periodic random field of standard deviation 1 with the spectrum of CT noise.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : (int, int)
        Rows and columns.
    cutoff : float
        Frequency in cycles per pixel at which a Gaussian has brought the ramp down to 1/e.

    Returns
    -------
    numpy.ndarray of float32, shape ``shape``
    """
    u, v = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    frequency = np.hypot(u, v)
    transfer = frequency * np.exp(-((frequency / cutoff) ** 2))
    # Each column stands for itself and its conjugate, but for the first and, of an even number,
    # the last one.
    weight = np.full(v.size, 2.0)
    weight[0] = 1
    if shape[1] % 2 == 0:
        weight[-1] = 1
    power = float((weight * transfer**2).sum()) / (shape[0] * shape[1])
    transfer = (transfer / np.sqrt(power)).astype(np.float32)
    white = rng.standard_normal(shape, dtype=np.float32)
    return fft.irfft2(fft.rfft2(white) * transfer, s=shape)
