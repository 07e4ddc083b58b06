"""Beam hardening corrected by the object's own path lengths.

Without `--data` an acrylic disc with holes is simulated with the spectrum of a tube (spekpy and
xraydb). With it, the disc tb of the Helsinki tomography challenge 2022, doi:10.5281/zenodo.6984868,
is read from `htc2022_tb_fan_549views.npz` of that folder, with `htc2022_tb_truth.png` beside it.
Prints the scatter within the acrylic and the mean of the holes, and writes beam_hardening.png.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import ndimage

import tomolearn as tl
from tomolearn.simulation import Spectrum

BINNING = 2


def simulated() -> tuple[torch.Tensor, tl.RayTransform, np.ndarray]:
    """Line integrals, operator and where the acrylic is, with 0.5 % of noise."""
    grid = tl.Grid((128, 128), 0.6)
    scan = tl.FanBeam.covering(grid, 120, source_to_isocenter=410, source_to_detector=554)
    A = tl.RayTransform(grid, scan)
    x, y = np.meshgrid(*grid.coordinates(), indexing="ij")
    acrylic = np.hypot(x, y) < 34
    for middle, radius in (((-10, 12), 7), ((14, -4), 5), ((0, -18), 4)):
        acrylic &= np.hypot(x - middle[0], y - middle[1]) > radius
    spectrum = Spectrum.tube(45, filters={"Al": 0.5})
    lengths = A(torch.from_numpy(acrylic).float())[None]
    sinogram = spectrum.line_integrals(lengths, [spectrum.attenuation("pmma")])
    noise = torch.randn(sinogram.shape, generator=torch.Generator().manual_seed(0))
    return sinogram + 0.005 * noise, A, acrylic


def measured(folder: Path) -> tuple[torch.Tensor, tl.RayTransform, np.ndarray]:
    """Line integrals, operator and where the acrylic is, of every second view."""
    with np.load(folder / "htc2022_tb_fan_549views.npz") as file:
        sinogram, degrees = file["sinogram"][::2], file["angles_deg"][::2]
    sinogram = sinogram.reshape(len(degrees), -1, BINNING).mean(-1)
    magnification = 553.74 / 410.66
    scan = tl.FanBeam(
        n_detectors=sinogram.shape[1],
        detector_spacing=0.2 * BINNING,
        # distance and offset as calibrated by the data themselves
        source_to_isocenter=408.7,
        source_to_detector=408.7 * magnification,
        detector_offset=0.04,
        angles=np.deg2rad(degrees),
    )
    n = 512 // BINNING
    grid = tl.Grid((n, n), 0.2 / magnification * BINNING)
    truth = plt.imread(folder / "htc2022_tb_truth.png")
    coarse = truth.reshape(n, BINNING, n, BINNING).mean((1, 3)) > 0.5
    return torch.from_numpy(sinogram), tl.RayTransform(grid, scan), np.rot90(coarse, -1)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", type=Path, help="folder of the measured scan")
folder = parser.parse_args().data
sinogram, A, acrylic = simulated() if folder is None else measured(folder)
weight = 0.05 if folder is None else 0.2

# segmented is a simple reconstruction; what is shown is a better one of what it corrected
found = tl.measurements.correct_hardening(sinogram, A, reconstruct=tl.cgls)
images = {
    "as measured": tl.total_variation(sinogram, A, weight=weight, iterations=100),
    "corrected": tl.total_variation(found.line_integrals, A, weight=weight, iterations=100),
}

inside = ndimage.binary_erosion(acrylic, iterations=3)
holes = ndimage.binary_erosion(ndimage.binary_fill_holes(acrylic) & ~acrylic, iterations=3)
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for (title, image), axis in zip(images.items(), axes, strict=False):
    values = image.numpy()
    mean, scatter = values[inside].mean(), values[inside].std()
    print(
        f"{title}: acrylic {mean:.4f}/mm with {100 * scatter / mean:.2f} % of scatter, "
        f"holes {values[holes].mean():.4f}/mm"
    )
    axis.imshow(values, cmap="gray", vmin=0, vmax=1.2 * mean)
    axis.set_title(title)
    axis.axis("off")
lengths = np.linspace(0, float(A(torch.from_numpy(acrylic.copy()).float()).max()), 100)
axes[2].plot(lengths, found.curve(lengths[:, None]), label="fitted curve")
axes[2].plot(lengths, found.curve.attenuation[0] * lengths, "--", label="thin layer")
axes[2].set(xlabel="length in mm", ylabel="line integral")
axes[2].legend()
figure.tight_layout()
figure.savefig("beam_hardening.png", dpi=80)
