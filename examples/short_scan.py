"""A fan beam needs no full turn: half a turn plus the fan is enough, Parker's weights included."""

import math

import torch

import tomolearn as tl
from data_sim import shepp_logan
from tomolearn.methods import fbp
from tomolearn.metrics import psnr

grid = tl.Grid(shape=(128, 128), spacing=2.0)
distances = {"source_to_isocenter": 500.0, "source_to_detector": 1000.0}
full = tl.FanBeam.covering(grid, 360, **distances)
needed = full.short_scan_range
views = math.ceil(360 * needed / (2 * math.pi))
short = tl.FanBeam.covering(grid, views, angular_range=needed, **distances)

truth = torch.from_numpy(shepp_logan(grid.shape, oversampling=4))
for name, scan in (("full turn", full), ("short scan", short)):
    A = tl.RayTransform(grid, scan)
    y = A(truth)
    print(f"{name}: {scan.shape[0]} views over {math.degrees(scan.angular_range):.1f} degrees")
    for window in ("ram-lak", "shepp-logan", "cosine", "hamming", "hann"):
        score = psnr(fbp(y, A, filter=window), truth, data_range=1.0)
        print(f"  {window:12} {score:.2f} dB")
