"""A CT slice from a DICOM file: scanned again with few photons, reconstructed, in HU."""

import numpy as np
import torch

import tomolearn as tl
from tomolearn.dicom import (
    attenuation_to_hounsfield,
    example_slice_path,
    hounsfield_to_attenuation,
    read_slice,
)
from tomolearn.evaluation.figures import draw_images
from tomolearn.methods import fbp, total_variation
from tomolearn.simulation import Acquisition, CoveringScan, PhotonNoise

ct = read_slice(example_slice_path())  # or the path of your own
truth = torch.from_numpy(hounsfield_to_attenuation(ct.hounsfield))  # 1/mm

grid = tl.Grid(ct.hounsfield.shape, ct.spacing)
acquisition = Acquisition(CoveringScan("fan", views=90), PhotonNoise(20000, electronic_std=5.0))
y = acquisition.measure(truth, grid, np.random.default_rng(0))
A = acquisition.operator(grid)

image = total_variation(y, A, weight=0.2, nonnegative=True)
error = attenuation_to_hounsfield(image) - attenuation_to_hounsfield(truth)
print(f"{ct.sop_instance_uid}: error {error.square().mean().sqrt():.1f} HU")
np.save("hounsfield.npy", attenuation_to_hounsfield(image).numpy())
shown = {"source": truth, "FBP": fbp(y, A, filter="hann"), "TV": image}
hounsfield = {name: attenuation_to_hounsfield(one).numpy() for name, one in shown.items()}
draw_images(hounsfield, unit="HU", window=(-160, 240)).savefig("dicom_low_dose.png")
