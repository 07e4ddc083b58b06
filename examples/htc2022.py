"""Limited angles: the score of the Helsinki tomography challenge 2022.

Without `--data` an acrylic disc with three holes is simulated over 30 degrees. With it, the discs
of the challenge in that folder, doi:10.5281/zenodo.6984868, are reconstructed from arcs of 90, 60
and 30 degrees, as `tomolearn benchmark htc2022 --data FOLDER` does; its module says which files it
knows. Prints the Matthews correlations of the segmented images with the truth.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from tomolearn.benchmarks.htc2022 import DEFAULT, Arc, find_arcs, measure, scanner


def simulated(degrees: float) -> Arc:
    """Return a disc with holes over an arc, with 0.5 % of noise."""
    angles = np.deg2rad(np.arange(0, degrees + 0.5, 1.0))
    operator = scanner(angles)
    x, y = np.meshgrid(*operator.grid.coordinates(), indexing="ij")
    acrylic = np.hypot(x, y) < 35
    for middle, radius in (((-10, 12), 7), ((14, -4), 5), ((0, -18), 4)):
        acrylic &= np.hypot(x - middle[0], y - middle[1]) > radius
    truth = torch.from_numpy(acrylic)
    # as a beam of two energies, 0.47 and 1.53 times as much attenuated, has it
    thin = operator(0.0466 * truth.float())
    sinogram = thin - torch.log(torch.cosh(0.53 * thin))
    noise = torch.randn(sinogram.shape, generator=torch.Generator().manual_seed(0))
    return Arc("simulated", degrees, sinogram + 0.005 * noise, angles, truth)


def main() -> None:
    """Print the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the measured discs")
    given = parser.parse_args()
    arcs = [simulated(30.0)] if given.data is None else find_arcs(given.data)
    for score in measure(arcs, DEFAULT):
        print(f"{score.disc}, {score.degrees:g} degrees, {score.method}: {score.matthews:.3f}")


if __name__ == "__main__":
    main()
