"""Masks, weights and several arcs on measured scans."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import tomolearn as tl
from tomolearn import CoverageWarning, FanBeam, Grid, ParallelBeam, RayTransform


def measured(folder: Path, name: str) -> Path:
    """Return a file of measured data, or skip the test."""
    path = folder / "measured" / name
    if not path.is_file():
        pytest.skip(f"needs measured data in ../shared/data/measured; there is no {name}")
    return path


def test_dead_columns_of_a_neutron_scan(real_data: Path):
    tifffile = pytest.importorskip("tifffile")
    counts = tifffile.imread(measured(real_data, "neutron_360.tif")).astype(np.float32)[::3]
    angles = np.linspace(0, 2 * math.pi, len(counts), endpoint=False)
    counts = torch.from_numpy(counts / 46985.0)
    dead = counts <= 0
    dead[:, [314, 346]] = True
    scan = ParallelBeam(angles=angles, n_detectors=503, detector_spacing=1.0, detector_offset=4.5)
    operator = RayTransform(Grid((250, 250), 2.0), scan)
    y = -counts.clamp(min=1e-4).log()
    spoiled = torch.where(dead, math.nan, y)
    weights = torch.where(dead, 0.0, counts)
    images = {
        "fbp": tl.fbp(y, operator, filter="hann"),
        "fbp_mask": tl.fbp(spoiled, operator, filter="hann", mask=~dead),
        "cgls": tl.cgls(y, operator, iterations=8),
        "cgls_weights": tl.cgls(spoiled, operator, iterations=8, weights=weights),
    }
    rows, columns = np.meshgrid(*operator.grid.coordinates(), indexing="ij")
    radius = np.hypot(rows, columns)
    air = torch.from_numpy((radius > 200) & (radius < 240))
    noise = {name: float(image[air].square().mean().sqrt()) for name, image in images.items()}
    assert noise["fbp_mask"] < noise["fbp"] / 3
    assert noise["cgls_weights"] < noise["cgls"] / 3


def test_three_arcs_of_the_helsinki_challenge_are_not_reconstructed_without_a_word(real_data: Path):
    file = np.load(measured(real_data, "htc2022_tb_fan_549views.npz"))
    sinogram = file["sinogram"].reshape(549, 140, 4).mean(-1)[::3]
    scan = FanBeam(
        angles=np.deg2rad(file["angles_deg"][::3]),
        n_detectors=140,
        detector_spacing=0.8,
        detector_offset=0.04,
        source_to_isocenter=408.7,
        source_to_detector=551.1,
    )
    operator = RayTransform(Grid((100, 100), 0.72), scan)
    y = torch.from_numpy(sinogram)
    with pytest.warns(CoverageWarning, match=r"not measured over up to 18\.\d degrees"):
        image = tl.fbp(y, operator, filter="hann")
    x = tl.total_variation(y, operator, weight=0.2, iterations=100, nonnegative=True)
    inside = torch.from_numpy(np.hypot(*np.meshgrid(*operator.grid.coordinates())) < 33)
    # the lines that were measured twice count once: the mean is right, whatever the streaks
    assert float(image[inside].mean()) == pytest.approx(float(x[inside].mean()), rel=0.03)
