"""Synthetic data: phantoms and chests, their exact sinograms, photon and electronic noise.

Images are arrays ``image[i, j]``. x runs along axis 0 (rows) and grows with i, y along axis 1
(columns) and grows with j. Phantoms are defined on the normalised square [-1, 1]^2 that covers the
image's extent, edge to edge; chests in millimetres from the isocentre. Nothing here knows torch, or
of tomolearn more than its argument checks, errors and files.

``python -m data_sim lidc OUT --patients N --slices M`` writes patients as LIDC-IDRI has them.
"""

from data_sim.ellipses import Ellipses
from data_sim.lidc import SyntheticPatient, lidc_patient, write_lidc
from data_sim.noise import counts_to_line_integrals, gaussian_noise, low_dose, photon_counts
from data_sim.phantoms import (
    random_ellipse_parameters,
    random_ellipses,
    shepp_logan,
    shepp_logan_ellipses,
)
from data_sim.rasterise import rasterise
from data_sim.sinograms import fan_sinogram, line_integrals, parallel_sinogram
from data_sim.thorax import Nodule, Thorax, random_thorax, random_thorax_slice

__all__ = [
    "Ellipses",
    "Nodule",
    "SyntheticPatient",
    "Thorax",
    "counts_to_line_integrals",
    "fan_sinogram",
    "gaussian_noise",
    "lidc_patient",
    "line_integrals",
    "low_dose",
    "parallel_sinogram",
    "photon_counts",
    "random_ellipse_parameters",
    "random_ellipses",
    "random_thorax",
    "random_thorax_slice",
    "rasterise",
    "shepp_logan",
    "shepp_logan_ellipses",
    "write_lidc",
]
