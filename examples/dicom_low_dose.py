"""A CT slice from a DICOM file: scanned again with few photons, reconstructed, in HU."""

import numpy as np
import torch

import tomolearn as tl
from data_sim import low_dose
from tomolearn.dicom import (
    attenuation_to_hounsfield,
    example_slice_path,
    hounsfield_to_attenuation,
    read_slice,
)
from tomolearn.methods import total_variation

ct = read_slice(example_slice_path())  # or the path of your own
truth = torch.from_numpy(hounsfield_to_attenuation(ct.hounsfield))  # 1/mm

grid = tl.Grid(ct.hounsfield.shape, ct.spacing)
scan = tl.FanBeam.covering(grid, 90, source_to_isocenter=595.0, source_to_detector=1086.0)
A = tl.RayTransform(grid, scan)
y = low_dose(A(truth).numpy(), np.random.default_rng(0), photons=20000, electronic_std=5.0)

image = total_variation(torch.from_numpy(y), A, weight=0.2, nonnegative=True)
error = attenuation_to_hounsfield(image) - attenuation_to_hounsfield(truth)
print(f"{ct.sop_instance_uid}: error {error.square().mean().sqrt():.1f} HU")
np.save("hounsfield.npy", attenuation_to_hounsfield(image).numpy())
