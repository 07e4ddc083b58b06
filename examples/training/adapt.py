"""Adapt a network to another scanner by four sinograms, and measure it on four other images.

python examples/training/adapt.py WEIGHTS {views,offset,noise} [STEPS] [RATE] [LOSS] [PARTS]

LOSS is residual, left-out-views, or an objective that needs no true image: noise2inverse, sure or
equivariant-imaging.
"""

import sys
import warnings
from dataclasses import replace

import torch

import tomolearn as tl
from tomolearn.evaluation.conditions import CONDITIONS, detector_off
from tomolearn.metrics import psnr
from tomolearn.tasks import get_task
from tomolearn.training.adaptation import LOSSES
from tomolearn.training.objectives import SURE, EquivariantImaging, Noise2Inverse

N, LEFT_OUT_SEED = 4, 5
weights, shift = sys.argv[1:3]
steps, rate, loss, parts = [*sys.argv[3:], *("10", "3e-4", "residual", "8")[len(sys.argv) - 3 :]]
# of the standard deviation of "noise", in multiples of a sinogram's mean
level = 0.1 if shift == "noise" else 0.05
objectives = {
    "noise2inverse": Noise2Inverse(),
    "sure": SURE(level),
    "equivariant-imaging": EquivariantImaging(noise=level),
}
task, model = get_task("ellipses"), tl.load(weights)
shifted = {
    "views": CONDITIONS["views / 2"].change,
    "offset": detector_off(2.0),
    "noise": lambda task: replace(task, acquisition=task.acquisition.at_dose(0.25)),
}[shift](task)
A = shifted.operator()


def stacked(seed):
    pairs = shifted.pairs("validation", size=N, seed=seed)
    return (torch.stack(part) for part in zip(*(pairs[k] for k in range(N)), strict=True))


y, _ = stacked(None)
others, truths = stacked(LEFT_OUT_SEED)
warnings.simplefilter("ignore", tl.TrainedElsewhereWarning)


def quality(network, operator):
    with torch.no_grad():
        return psnr(network(others, operator), truths, data_range=1.0).mean().item()


free = ("detector_offset",) if shift == "offset" else ()
found = tl.adapt(
    model,
    y,
    A,
    loss=loss if loss in LOSSES else objectives[loss],
    steps=int(steps),
    learning_rate=float(rate),
    parts=int(parts),
    check_every=5,
    free=free,
)
print(f"{weights}, {shift}: naive reuse {quality(model, A):.2f} dB")
if free:
    bins = found.values["detector_offset"] / A.scan.detector_spacing
    print(
        f"offset found {bins:.3f} bins; old weights there {quality(model, found.operator):.2f} dB"
    )
print(f"adapted {quality(found.model, found.operator):.2f} dB")
print(f"left-out error {found.before:.4f} -> {found.after:.4f}")
