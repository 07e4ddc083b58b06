"""Reconstruct a volume from a cone beam by FDK, total variation and trained networks.

The scan is the first of the test of the task "cone-ellipsoids": 64^3 voxels, 30 views, 10,000
photons. Prints PSNR and writes a picture of the middle slice and of errors there.

    python examples/cone_beam.py cone_beam.png [WEIGHTS ...]
"""

import sys

import torch

import tomolearn as tl
from tomolearn.evaluation.figures import draw_images
from tomolearn.tasks import get_task

path, *weights = sys.argv[1:] or ["cone_beam.png"]
task = get_task("cone-ellipsoids")
A = task.operator()
y, (volume,) = task.pairs("test", size=1)[0]
found = {name: task.baselines[key](y, A)[0] for name, key in (("FDK", "fbp"), ("TV", "tv"))}
with torch.no_grad():
    found |= {name: tl.load(name)(y, A)[0] for name in weights}
notes = {
    name: f"{-10 * torch.log10((x - volume).square().mean()):.2f} dB" for name, x in found.items()
}
for name, note in notes.items():
    print(f"{name}: {note}")
images = {"truth": volume, **found}
figure = draw_images(
    {name: x.numpy() for name, x in images.items()},
    unit="value",
    reference="truth",
    difference_window=(-0.1, 0.1),
    notes=notes,
)
figure.savefig(path, dpi=90)
