"""Dead detector columns: what a mask and weights make of them.

Without arguments, a simulated scan with two dead columns, a dead patch and few photons; with
``--data FOLDER`` the neutron scan ``neutron_360.tif`` in that folder (Vo et al., sarepy), whose two
dead columns make arcs, and whose strong absorber lets hardly more through than what is scattered
anyway. Prints how far the images are from the truth, or how much of the air is not empty, and draws
them with matplotlib.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch

import tomolearn as tl

# What reaches a bin behind anything, as a part of air: scattered neutrons and the camera's offset.
FLOOR = 0.03


def simulated() -> tuple[torch.Tensor, torch.Tensor, tl.RayTransform, torch.Tensor]:
    """Return counts per photon sent, which of them are dead, scanner and truth."""
    grid = tl.Grid((96, 96), 1.0)
    operator = tl.RayTransform(grid, tl.ParallelBeam.covering(grid, 120))
    x, y = (torch.from_numpy(axis) for axis in grid.coordinates())
    x, y = torch.meshgrid(x, y, indexing="ij")
    truth = 0.01 * ((x**2 + y**2) < 40**2).float()
    for row, column, value in ((-15, -15, 0.05), (20, 5, 0.02), (0, 18, 0.15)):
        truth[(x - row) ** 2 + (y - column) ** 2 < 8**2] = value
    rng = torch.Generator().manual_seed(0)
    photons = 3000.0
    counts = torch.poisson(photons * torch.exp(-operator(truth)), generator=rng)
    dead = torch.zeros_like(counts, dtype=torch.bool)
    dead[:, [60, 95]] = True
    dead[30:36, 70:74] = True
    counts[dead] = 0.0
    return counts / photons, dead, operator, truth


def neutron(folder: Path) -> tuple[torch.Tensor, torch.Tensor, tl.RayTransform, None]:
    """Return the neutron scan, every second view, counted from its air."""
    import tifffile

    counts = tifffile.imread(folder / "neutron_360.tif").astype(np.float32)
    angles = np.linspace(0, 2 * math.pi, len(counts), endpoint=False)[::2]
    counts = torch.from_numpy(counts[::2] / 46985.0)
    dead = counts <= 0
    counts = (counts - FLOOR) / (1 - FLOOR)
    dead[:, [314, 346]] = True
    scan = tl.ParallelBeam(
        angles=angles, n_detectors=counts.shape[1], detector_spacing=1.0, detector_offset=6.15
    )
    return counts, dead, tl.RayTransform(tl.Grid((500, 500), 1.0), scan), None


def main() -> None:
    """Reconstruct with and without the mask and the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with neutron_360.tif")
    parser.add_argument("--out", type=Path, default=Path("dead_bins.png"), help="figure")
    given = parser.parse_args()
    counts, dead, operator, truth = simulated() if given.data is None else neutron(given.data)
    line_integrals = -torch.log(counts.clamp(min=1e-4))
    # the inverse of a line integral's variance, which is that of counts over their square
    floor = 0.0 if given.data is None else FLOOR
    known = counts.clamp(1e-4, 1)
    weights = torch.where(dead, 0.0, known**2 / (known + floor))
    weights /= weights[~dead].mean()
    strength = 0.1 if given.data is None else 0.3
    settings = {"weight": strength, "iterations": 150, "nonnegative": True}
    images = {
        "FBP": tl.fbp(line_integrals, operator, filter="hann"),
        "FBP, mask": tl.fbp(line_integrals, operator, filter="hann", mask=~dead),
        "TV": tl.total_variation(line_integrals, operator, **settings),
        "TV, weights": tl.total_variation(line_integrals, operator, weights=weights, **settings),
    }
    size = operator.domain_shape[0]
    rows, columns = np.meshgrid(*[np.arange(n) - n / 2 for n in operator.domain_shape])
    air = torch.from_numpy(
        (np.hypot(rows, columns) > 0.43 * size) & (np.hypot(rows, columns) < size / 2)
    )
    for name, image in images.items():
        if truth is not None:
            error = float((image - truth).norm() / truth.norm())
            print(f"{name:12s} error {100 * error:5.1f} %")
        else:
            print(
                f"{name:12s} root mean square in air {float(image[air].square().mean().sqrt()):.5f}"
            )
    draw(images, given.out)


def draw(images: dict[str, torch.Tensor], file: Path) -> None:
    """Draw the images side by side, in one range of grey values."""
    import matplotlib.pyplot as plt

    high = float(torch.quantile(images["TV, weights"].flatten()[::3], 0.995))
    figure, axes = plt.subplots(1, len(images), figsize=(3 * len(images), 3.4))
    for axis, (name, image) in zip(axes, images.items(), strict=True):
        axis.imshow(image, cmap="gray", vmin=-0.1 * high, vmax=high)
        axis.set_title(name)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(file, dpi=60)


if __name__ == "__main__":
    main()
