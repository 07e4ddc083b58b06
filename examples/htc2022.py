"""Limited angles: the score of the Helsinki tomography challenge 2022.

Without `--data` an acrylic disc with holes is simulated. With it, arcs of 90, 60 and 30 degrees are
cut from the disc tb of the challenge, doi:10.5281/zenodo.6984868, of which
`htc2022_tb_fan_549views.npz` in that folder has most views, and its disc ta is read from
`htc2022_ta_limited30.mat`; the truths are `htc2022_tb_truth.png` and `htc2022_ta_truth.png` there.
Bins and pixels are merged by two. Prints a table of the Matthews correlations of the segmented
images with the truths for FBP, total variation and directional total variation.
"""

import argparse
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import tomolearn as tl
from tomolearn.metrics import matthews_correlation

BINNING = 2
MAGNIFICATION = 553.74 / 410.66
# distance and offset as calibrated by the data themselves
SOURCE = 408.7
OFFSET = 0.04
START, ARCS = 27.0, (90, 60, 30)

Case = tuple[str, torch.Tensor, tl.RayTransform, torch.Tensor]


def scanner(degrees: np.ndarray, binning: int) -> tl.RayTransform:
    """Return the challenge's ray transform, with bins and pixels merged."""
    n = 512 // binning
    scan = tl.FanBeam(
        angles=np.deg2rad(degrees),
        n_detectors=560 // binning,
        detector_spacing=0.2 * binning,
        detector_offset=OFFSET,
        source_to_isocenter=SOURCE,
        source_to_detector=SOURCE * MAGNIFICATION,
    )
    return tl.RayTransform(tl.Grid((n, n), 0.2 / MAGNIFICATION * binning), scan)


def simulated() -> Iterator[Case]:
    """Yield a disc with holes over each arc, with 0.5 % of noise."""
    for arc in ARCS:
        operator = scanner(START + np.arange(0, arc + 1, 3), 8)
        x, y = np.meshgrid(*operator.grid.coordinates(), indexing="ij")
        acrylic = np.hypot(x, y) < 34
        for middle, radius in (((-10, 12), 7), ((14, -4), 5), ((0, -18), 4)):
            acrylic &= np.hypot(x - middle[0], y - middle[1]) > radius
        truth = torch.from_numpy(acrylic).float()
        sinogram = operator(0.035 * truth)
        noise = torch.randn(sinogram.shape, generator=torch.Generator().manual_seed(arc))
        yield f"simulated, {arc} deg", sinogram + 0.005 * noise, operator, truth


def measured(folder: Path) -> Iterator[Case]:
    """Yield the arcs of tb, and ta, of every second view."""
    from scipy.io import loadmat

    with np.load(folder / "htc2022_tb_fan_549views.npz") as file:
        sinogram, degrees = file["sinogram"], file["angles_deg"]
    for arc in ARCS:
        inside = (degrees >= START) & (degrees <= START + arc)
        yield (f"tb, {arc} deg", *binned(sinogram[inside], degrees[inside], folder, "tb"))
    disc = loadmat(folder / "htc2022_ta_limited30.mat", squeeze_me=True, simplify_cells=True)
    disc = disc["CtDataLimited"]
    angles = np.asarray(disc["parameters"]["angles"], dtype=np.float64)
    yield ("ta, 30 deg", *binned(disc["sinogram"].astype(np.float32), angles, folder, "ta"))


def binned(
    sinogram: np.ndarray, degrees: np.ndarray, folder: Path, name: str
) -> tuple[torch.Tensor, tl.RayTransform, torch.Tensor]:
    """Return every second view with bins merged, its scanner, and the truth turned to our axes."""
    from skimage.io import imread

    sinogram, degrees = sinogram[::2], degrees[::2]
    merged = sinogram.reshape(len(degrees), -1, BINNING).mean(-1)
    operator = scanner(degrees, BINNING)
    n = operator.domain_shape[0]
    truth = imread(folder / f"htc2022_{name}_truth.png") > 0
    coarse = np.rot90(truth.reshape(n, BINNING, n, BINNING).mean((1, 3)), -1)
    return torch.from_numpy(merged), operator, torch.from_numpy(coarse.copy()).float()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the measured discs")
    parser.add_argument("--weight", type=float, default=0.1, help="of total variation")
    parser.add_argument("--anisotropy", type=float, default=0.5)
    parser.add_argument("--turned", type=float, default=0.0, help="degrees from the arc's middle")
    parser.add_argument("--iterations", type=int, default=100)
    given = parser.parse_args()
    warnings.simplefilter("ignore", tl.CoverageWarning)  # that views are missing is the point
    print(f"{'':20s}{'FBP':>8s}{'TV':>8s}{'DTV':>8s}", flush=True)
    for name, y, A, truth in simulated() if given.data is None else measured(given.data):
        views = A.scan.view_angles
        middle = float(np.mean([views[0], views[-1]])) + math.radians(given.turned)
        images = (
            tl.fbp(y, A, filter="hann"),
            tl.total_variation(
                y, A, weight=given.weight, iterations=given.iterations, nonnegative=True
            ),
            tl.variational(
                y,
                A,
                prior=f"directional-tv(angle={middle}, anisotropy={given.anisotropy})",
                weight=given.weight / 2,  # its squares are halved
                iterations=given.iterations,
                minimum=0.0,
            ),
        )
        scores = "".join(f"{matthews_correlation(image, truth):8.3f}" for image in images)
        print(f"{name:20s}{scores}", flush=True)


if __name__ == "__main__":
    main()
