"""From counts to an image: dead columns, scatter and rings.

Without `--data` a scan of rods in a tube is simulated, with dead columns, scatter and bins that
answer differently; with it, the neutron sinogram `neutron_360.tif` of that folder is read, which
tells neither flat nor dark fields. Writes counts_to_image.png.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tifffile
import torch

import tomolearn as tl
from tomolearn.measurements import RingOffsets, preprocess


def simulated() -> tuple[np.ndarray, float, tl.ParallelBeam]:
    """Counts, what of them is scatter, and the scan."""
    rng = np.random.default_rng(0)
    scan = tl.ParallelBeam(180, 181, 1.0, angular_range=2 * np.pi)
    fine = tl.Grid((240, 240), 0.75)
    x, y = np.meshgrid(*fine.coordinates(), indexing="ij")
    image = 0.002 * (np.hypot(x - 5, y - 8) < 60)
    for middle, value in (((-30, -20), 0.02), ((-30, 20), 0.02), ((30, -20), 0.03), ((5, 40), 0.1)):
        image[np.hypot(x - middle[0], y - middle[1]) < 10] = value
    clean = tl.RayTransform(fine, scan)(torch.from_numpy(image)).numpy()
    response = np.exp(rng.normal(0, 0.01, 181))
    counts = rng.poisson(20_000 * response * np.exp(-clean) + 1000).astype(float)
    counts[:, [70, 113]] = 0
    return counts, 1000.0, scan


def measured(folder: Path) -> tuple[np.ndarray, float, tl.ParallelBeam]:
    """Counts, what of them is scatter, and the scan."""
    counts = tifffile.imread(folder / "neutron_360.tif")
    views, bins = counts.shape
    angles = np.linspace(0, 2 * np.pi, views, endpoint=False)
    # half of the views in the figure; scatter is what leaves no wedge between opaque rods
    scan = tl.ParallelBeam(
        n_detectors=bins, detector_spacing=1.0, angles=angles, detector_offset=4.5
    )
    return counts[::2], 2000.0, scan.subset(slice(None, None, 2))


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", type=Path, help="folder of the measured scan")
folder = parser.parse_args().data
counts, scatter, scan = simulated() if folder is None else measured(folder)
n = scan.n_detectors // 2
A = tl.RayTransform(tl.Grid((n, n), 2.0), scan)

naive = torch.from_numpy(-np.log(np.maximum(counts, 1) / np.median(counts[:, :10]))).float()
y, w, report = preprocess(counts, None, scatter, air=10, systematic=0.02)
print(report)
y, w = torch.from_numpy(y).float(), torch.from_numpy(w).float()
R = RingOffsets(A.range_shape, 1.0, smooth=2.0, weights=w)
start = tl.cgls(y, A, weights=w, iterations=20)
settings = {"weight": 0.6, "iterations": 150, "x0": start}
images = {
    "logarithm": tl.cgls(naive, A, iterations=20),
    "mask and weights": start,
    "total variation": tl.total_variation(y, A, weights=w, **settings),
    "and ring offsets": tl.total_variation(R(y), R @ A, **settings),
}
figure, axes = plt.subplots(1, 4, figsize=(8, 2.2))
for axis, (title, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image, cmap="gray", vmin=-0.002, vmax=0.008)
    axis.set_title(title)
    axis.axis("off")
figure.tight_layout()
figure.savefig("counts_to_image.png", dpi=80)
