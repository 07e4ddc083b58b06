"""Minimisers of variational problems from five random starts: one image, or several.

The data are those of the first test image of a task, the starts are white noise of the size of the
image. Prints for each prior the largest distance of two of the five images, relative to their mean
one, the relative spread of their objectives, and how well they show the truth.
"""

import argparse
import itertools

import torch

import tomolearn as tl
from tomolearn.metrics import psnr
from tomolearn.tasks import get_task

arguments = argparse.ArgumentParser(description="Minimisers from five random starts.")
arguments.add_argument("priors", nargs="*", default=["crr-chest"], help="names or paths of weights")
arguments.add_argument("--task", default="chest-16")
arguments.add_argument("--weight", type=float, help="default: that of the card, for the noise")
arguments.add_argument("--algorithm", default="lbfgs")
arguments.add_argument("--iterations", type=int, default=100)
given = arguments.parse_args()

task = get_task(given.task)
A = task.operator()
y, truth = task.pairs("test", size=1)[0]
noise = {} if given.weight else {"noise_level": task.acquisition.noise.level(y.numpy())}
generator = torch.Generator().manual_seed(0)
starts = truth.std() * torch.randn(5, *truth.shape, generator=generator)
for name in given.priors:
    method = tl.get_method(
        name,
        weight=given.weight,
        algorithm=given.algorithm,
        iterations=given.iterations,
        **noise,
    )
    history = tl.methods.History()
    images = method(y.expand(5, *y.shape), A, x0=starts, callback=history)
    distance = max(float((a - b).norm()) for a, b in itertools.combinations(images, 2))
    values = history.states[-1].objective
    spread = float((values.max() - values.min()) / values.abs().max())
    quality = psnr(images, truth.expand_as(images), data_range=task.convention.psnr_range)
    print(
        f"{name}: distance {distance / float(images.mean(0).norm()):.1e}, objectives "
        f"{spread:.1e}, PSNR {float(quality.min()):.2f} to {float(quality.max()):.2f} dB after "
        f"{len(history.states)} iterations",
        flush=True,
    )
