"""Scans calibrated by their own data: detector offset, source distance, jitter of the views.

Without `--data` a fan beam is simulated whose detector sways. With it, three measured scans of that
folder are calibrated: `htc2022_tb_fan_549views.npz` (doi:10.5281/zenodo.6984868), `tooth.h5`
(TomoPy) and `neutron_360.tif` (sarepy, Vo et al.). Prints what is found.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

import tomolearn as tl
from data_sim import shepp_logan
from tomolearn.measurements import prepare, read


def calibrated(name: str, *arguments, **settings) -> tl.measurements.Calibration:
    """Calibrate, and print what was found."""
    start = time.perf_counter()
    found = tl.calibrate(*arguments, **settings)
    print(f"{name}, {time.perf_counter() - start:.0f} s\n{found}\n", flush=True)
    return found


def simulated() -> None:
    """Calibrate a fan beam, first its offset and distance, then the detector's sway."""
    grid = tl.Grid((64, 64), 1.0)
    settings = {"n_angles": 60, "n_detectors": 96, "detector_spacing": 1.4}
    truth = tl.FanBeam(
        **settings, source_to_isocenter=150.0, source_to_detector=240.0, detector_offset=2.1
    )
    x = torch.from_numpy(shepp_logan(grid.shape))
    guess = tl.FanBeam(**settings, source_to_isocenter=200.0, source_to_detector=320.0)
    free = ("detector_offset", "source_to_isocenter")
    calibrated("2.1 mm, 150 mm", tl.RayTransform(grid, truth)(x), grid, guess, free=free)
    sway = 0.5 * np.sin(3 * truth.view_angles)
    source, detector, (step,) = tl.Views.of(truth).vectors()
    detector = detector + sway[:, None] * step / truth.detector_spacing
    views = tl.Views(truth.detector_shape, detector, [step], source=source)
    y = tl.RayTransform(grid, views)(x)
    found = calibrated("shifts", y, grid, truth, free=("shifts",), bins=96, inner_iterations=10)
    print(f"largest error of a shift: {np.abs(np.array(found.shifts) - sway).max():.3f} mm")


def disc(folder: Path) -> None:
    """Calibrate the disc tb, begun 1 mm and 190 mm off."""
    with np.load(folder / "htc2022_tb_fan_549views.npz") as file:
        y = torch.from_numpy(file["sinogram"].astype(np.float32))
        angles = np.deg2rad(file["angles_deg"].astype(float))
    scan = tl.FanBeam(
        angles=angles,
        n_detectors=560,
        detector_spacing=0.2,
        source_to_isocenter=600.0,
        source_to_detector=600 * 553.74 / 410.66,
        detector_offset=1.0,
    )
    free = ("detector_offset", "source_to_isocenter")
    calibrated("disc tb", y, tl.Grid((512, 512), 0.157), scan, free=free)


def tooth(folder: Path) -> None:
    """Calibrate the tooth by nothing but its file, in units of bins, and try algotom's offset."""
    y, _, scan, _, _ = prepare(read(folder / "tooth.h5", rows=0, detector_spacing=1.0))
    data, grid = torch.from_numpy(y).float(), tl.Grid((588, 588), 1.0)
    calibrated("tooth, by bins in fours", data, grid, scan, bins=160)
    other = tl.ParallelBeam.from_dict(scan.to_dict() | {"detector_offset": 24.5})
    calibrated("tooth, begun at 24.5", data, grid, other, search=0, bins=160)


def neutron(folder: Path) -> None:
    """Calibrate the neutron scan, in units of bins, by the columns that its air tells alive."""
    path = folder / "neutron_360.tif"
    measured = read(path, angular_range=2 * math.pi, detector_spacing=1.0)
    y, w, scan, grid, _ = prepare(measured, air=10)
    calibrated(
        "neutron scan", torch.from_numpy(y).float(), grid, scan, weights=torch.from_numpy(w).float()
    )


def main() -> None:
    """Calibrate what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the measured scans")
    folder = parser.parse_args().data
    if folder is None:
        simulated()
        return
    tooth(folder)
    neutron(folder)
    disc(folder)


if __name__ == "__main__":
    main()
