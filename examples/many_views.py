"""Reconstruct Shepp-Logan from 10 to 180 views with one network, and with one made for 30 views.

Noise is 5 % of the mean of each sinogram, as in the task "ellipses". The weight of total variation
is the best of some for each number of views, found with the truth: no rule would do better.

The number of noise seeds is an argument, 5 by default.
"""

import sys
import warnings
from dataclasses import replace

import tomolearn as tl
from tomolearn.evaluation import compare
from tomolearn.methods import FBP, TotalVariation
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import get_task

VIEWS = (10, 15, 20, 30, 45, 60, 90, 180)
WEIGHTS = (1.2, 2.5, 5.0, 10.0)

task = get_task("ellipses")
n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
networks = {name: tl.load(name) for name in ("lpd-ellipses", "lpd-ellipses-any")}
methods = {
    "FBP": FBP(filter="hann"),
    **{f"TV {weight:g}": TotalVariation(weight=weight) for weight in WEIGHTS},
    **networks,
}
# the specialist is used elsewhere on purpose
warnings.simplefilter("ignore", tl.TrainedElsewhereWarning)
print("| views | FBP | TV | lpd-ellipses | lpd-ellipses-any |\n|---|---|---|---|---|")
for views in VIEWS:
    scan = tl.ParallelBeam.covering(task.grid, views)
    there = replace(task, acquisition=Acquisition(scan, GaussianNoise(0.05)))
    rows = compare(there, methods, images=n_seeds).rows
    found = {row.method: row.metrics["psnr"].mean for row in rows}
    best = max(found[f"TV {weight:g}"] for weight in WEIGHTS)
    values = (found["FBP"], best, *(found[name] for name in networks))
    print(f"| {views} | " + " | ".join(f"{value:.2f}" for value in values) + " |", flush=True)
