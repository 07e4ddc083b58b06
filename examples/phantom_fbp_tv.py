"""A phantom from 60 noisy views, by filtered back-projection and by total variation."""

import numpy as np
import torch

import tomolearn as tl
from data_sim import gaussian_noise, parallel_sinogram, shepp_logan, shepp_logan_ellipses
from tomolearn.evaluation.figures import draw_images
from tomolearn.methods import fbp, total_variation
from tomolearn.metrics import psnr

grid = tl.Grid(shape=(128, 128), spacing=1.0)
scan = tl.ParallelBeam.covering(grid, 60)
A = tl.RayTransform(grid, scan)

# The data come from the ellipses themselves, not from A and an image.
exact = parallel_sinogram(
    shepp_logan_ellipses(), scan.view_angles, scan.detector_positions, half_extent=64.0
)
y = torch.from_numpy(gaussian_noise(exact, np.random.default_rng(0), relative=0.02)).float()
truth = torch.from_numpy(shepp_logan(grid.shape, oversampling=4))

images = {"FBP": fbp(y, A, filter="hann"), "TV": total_variation(y, A, weight=3.0)}
for name, image in images.items():
    print(f"{name}: {psnr(image, truth, data_range=1.0):.2f} dB")
    np.save(f"{name.lower()}.npy", image.numpy())
shown = {"phantom": truth.numpy(), **{name: image.numpy() for name, image in images.items()}}
draw_images(shown, unit="", window=(0, 0.5)).savefig("phantom_fbp_tv.png")
