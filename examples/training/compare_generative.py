"""Compare generative regularisers with an end-to-end network at other views and doses.

python examples/training/compare_generative.py --network lpd-lidc-small \\
        vae-chest-constant vae-chest-diagonal vae-chest

The weight of each autoencoder, as a multiple of the noise's variance, is the best of a few on
validation images of the task; it is kept at all views and doses, whose variance is known. That of
total variation is the task's. Prints a table of mean PSNR, and draws an image of half the views by
each method, and images drawn at random from the last autoencoder.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import tomolearn as tl
from tomolearn.evaluation.conditions import CONDITIONS
from tomolearn.metrics import psnr
from tomolearn.tasks import get_task

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("autoencoders", nargs="+", help="names or paths of weights")
arguments.add_argument("--network", required=True, help="name or path of weights")
arguments.add_argument("--task", default="lidc-style-50-small")
arguments.add_argument("--factors", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
arguments.add_argument("--iterations", type=int, default=10)
arguments.add_argument("--validation", type=int, default=4, help="number of images")
arguments.add_argument("--test", type=int, default=10, help="number of images")
arguments.add_argument("--figure", type=Path, default=Path("generative.png"))
given = arguments.parse_args()

task = get_task(given.task)
twice = dataclasses.replace(task, acquisition=task.acquisition.at_dose(2.0))
others = {name: CONDITIONS[name].change(task) for name in ("views / 2", "views x 2", "dose / 2")}
tasks = {"as trained": task, **others, "dose x 2": twice}


def measured(task, split, size):
    """Return sinograms, images, operator and the noise's variance of some pairs."""
    sinograms, truths = (
        torch.stack(part) for part in zip(*task.pairs(split, size=size), strict=True)
    )
    noise = task.acquisition.noise
    levels = [noise.level(y[0].numpy()) for y in sinograms]
    return sinograms, truths, task.operator(), float(np.mean(np.square(levels)))


def generated(prior, factor, y, operator, variance):
    """Return images by a generative regulariser."""
    start = tl.fbp(y, operator, filter="hann")
    return tl.generative(
        y, operator, prior=prior, weight=factor * variance, iterations=given.iterations, x0=start
    )


def decibels(images, truths):
    """Return the mean PSNR."""
    return float(psnr(images, truths, data_range=task.convention.psnr_range).mean())


network, path = tl.load(given.network), Path(given.network)
trained = path.parent.name if path.stem == "weights" else path.stem
priors = {one: tl.load(one, kind="regulariser").requires_grad_(False) for one in given.autoencoders}
y, x, A, variance = measured(task, "validation", given.validation)
factors = {}
for name, prior in priors.items():
    found = {f: decibels(generated(prior, f, y, A, variance), x) for f in given.factors}
    factors[name] = max(found, key=found.__getitem__)
    print(f"{name}: { ({f: round(value, 2) for f, value in found.items()}) } dB", flush=True)

print(f"\n| condition | fbp | tv | {trained} | {' | '.join(priors)} |")
print("|---|" + "---:|" * (3 + len(priors)))
shown = []
for condition, changed in tasks.items():
    y, x, A, variance = measured(changed, "test", given.test)
    with torch.no_grad():
        images = {
            "fbp": task.baselines["fbp"](y, A),
            "tv": task.baselines["tv"](y, A),
            trained: network(y, A),
            **{name: generated(p, factors[name], y, A, variance) for name, p in priors.items()},
        }
    values = " | ".join(f"{decibels(one, x):.2f}" for one in images.values())
    print(f"| {condition} | {values} |", flush=True)
    if condition == "views / 2":
        shown = [("truth", x[0, 0]), *((name, one[0, 0]) for name, one in images.items())]

last = list(priors)[-1]
drawn, means = priors[last].sample(len(shown), task.grid.shape, np.random.default_rng(0))
figure = Figure(figsize=(1.6 * len(shown), 5.2), layout="constrained")
axes = figure.subplots(3, len(shown))
for column, (name, image) in enumerate(shown):
    for row, (title, one) in enumerate(
        [(name, image), (f"{last}, drawn", drawn[column]), ("its mean", means[column])]
    ):
        axes[row, column].imshow(one, cmap="gray", vmin=0, vmax=0.4)
        axes[row, column].set_title(title if column == 0 or row == 0 else "", fontsize=7)
        axes[row, column].set_axis_off()
figure.savefig(given.figure, dpi=110)
print(f"\n{given.figure}: {task.name}, half of the views; images drawn at random from {last}")
