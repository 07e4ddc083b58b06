"""Compare trained regularisers with FBP and total variation on the test images of a task.

python examples/training/compare_critics.py --task lidc-style-50-small \\
        runs/ar-chest runs/acr-adversarial

Weights, multiples of the size of back-projected noise in a pixel, are the best of a few on
validation images, and so are the iterations of regularisers that are not convex, whose descent
by small steps leads past the good images. Prints a table of mean PSNR.
"""

import argparse
from pathlib import Path

import torch

import tomolearn as tl
from tomolearn.methods.variational.noise_levels import column_norm
from tomolearn.metrics import psnr
from tomolearn.tasks import get_task

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("runs", type=Path, nargs="+", help="folders of the runs")
arguments.add_argument("--task", required=True)
arguments.add_argument("--factors", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
arguments.add_argument("--tv", type=float, nargs="+", default=[25.0, 50.0, 100.0], help="weights")
arguments.add_argument("--iterations", type=int, default=60, help="largest number of iterations")
arguments.add_argument("--validation", type=int, default=6, help="number of images")
arguments.add_argument("--test", type=int, default=12, help="number of images")
given = arguments.parse_args()

task = get_task(given.task)
A = task.operator()
convention = task.convention.psnr_range


def images_of(split, size):
    """Return the sinograms and images of a split, and their naive reconstructions."""
    pairs = task.pairs(split, size=size)
    sinograms, truths = (torch.stack(part) for part in zip(*pairs, strict=True))
    return sinograms, truths, tl.fbp(sinograms, A, filter="hann")


def decibels(images, truths):
    """Return the mean PSNR."""
    return float(psnr(images, truths, data_range=convention).mean())


def traced(prior, weight, data, iterations):
    """Return the mean PSNR after each iteration that begins at naive reconstructions."""
    sinograms, truths, start = data
    found = []
    tl.variational(
        sinograms,
        A,
        prior=prior,
        weight=weight,
        algorithm="nmapg" if prior.convexity is not None else "fixed-step",
        iterations=iterations,
        x0=start,
        callback=lambda state: found.append(decibels(state.image, truths)),
    )
    return found


validation = images_of("validation", given.validation)
test = images_of("test", given.test)
deviation = sum(task.acquisition.noise.level(y.numpy()) for y in validation[0]) / given.validation
size = deviation * column_norm(A)
print(f"{task.description}; back-projected noise {size:.3g}", flush=True)
print(f"{'FBP':26s}{decibels(test[2], test[1]):7.2f} dB", flush=True)
scores = {
    w: decibels(tl.total_variation(validation[0], A, weight=w), validation[1]) for w in given.tv
}
best = max(scores, key=scores.__getitem__)
score = decibels(tl.total_variation(test[0], A, weight=best), test[1])
print(f"{'TV':26s}{score:7.2f} dB   weight {best:g}", flush=True)
for run in given.runs:
    prior = tl.load(run / "weights.json", kind="regulariser").requires_grad_(False)
    choices = {}
    for factor in given.factors:
        trace = traced(prior, factor * size, validation, given.iterations)
        last = len(trace) if prior.convexity is not None else 1 + trace.index(max(trace))
        choices[trace[last - 1]] = (factor, last)
        print(
            f"  weight {factor:g}: {trace[last - 1]:.2f} dB after {last}, {trace[-1]:.2f} at last"
        )
    factor, last = choices[max(choices)]
    found = traced(prior, factor * size, test, max(last, given.iterations))
    print(
        f"{run.name:26s}{found[last - 1]:7.2f} dB   weight {factor:g} of the noise, {last} "
        f"iterations; {found[-1]:.2f} dB after {len(found)}",
        flush=True,
    )
