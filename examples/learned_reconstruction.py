"""Networks that come with the package, on the scan of their training and on one with more views.

The weights warn that 40 views are not the 30 of their training. On 10 they return nonsense.
"""

import numpy as np
import torch

import tomolearn as tl
from data_sim import gaussian_noise, shepp_logan
from tomolearn.evaluation.figures import draw_images
from tomolearn.metrics import psnr

grid = tl.Grid((128, 128))
truth = torch.from_numpy(shepp_logan(grid.shape, extent="centres"))
rng = np.random.default_rng(0)

for views in (30, 40):
    A = tl.RayTransform(grid, tl.ParallelBeam.covering(grid, views))
    y = torch.from_numpy(gaussian_noise(A(truth).numpy(), rng, relative=0.05))
    images = {"fbp": tl.fbp(y, A, filter="hann"), "tv": tl.total_variation(y, A, weight=2.5)}
    for name in ("unet-ellipses", "lgd-ellipses", "lpd-ellipses"):
        # the scan is an argument; how far the weights carry has to be tried
        with torch.no_grad():
            images[name] = tl.load(name)(y, A)
    for name, image in images.items():
        print(f"{views} views, {name}: {psnr(image, truth, data_range=1.0).item():.2f} dB")
    shown = {"phantom": truth, **images}
    figure = draw_images({name: image.numpy() for name, image in shown.items()}, unit="")
    figure.savefig(f"learned_reconstruction_{views}.png")
