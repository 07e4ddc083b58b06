"""Compare posterior samples with a network's image: PSNR, residuals, spread and cost.

python examples/posterior_sampling.py --images 2 --figure posterior.png \\
        --methods 'dds(prior=diffusion-ellipses)' 'dps(prior=diffusion-ellipses,samples=2)'
"""

import argparse
import math
import time

import torch
from matplotlib.figure import Figure

import tomolearn as tl
from tomolearn.methods import Posterior
from tomolearn.metrics import psnr
from tomolearn.tasks import get_task

arguments = argparse.ArgumentParser(description="Posterior samples beside a network's image.")
arguments.add_argument("--task", default="ellipses")
arguments.add_argument("--split", default="test", help="of the task")
arguments.add_argument("--images", type=int, default=2, help="pairs of the split")
arguments.add_argument("--network", default="lpd-ellipses", help="what samples are compared with")
arguments.add_argument(
    "--methods",
    nargs="+",
    default=["dds(prior=diffusion-ellipses)"],
    help="methods that sample",
)
arguments.add_argument("--figure", help="picture of the last method's samples of the first image")
arguments.add_argument("--prior", help="diffusion prior whose images without data are drawn, too")
given = arguments.parse_args()

torch.set_num_threads(1)
task = get_task(given.task)
operator, noise, value_range = task.operator(), task.acquisition.noise, task.convention.psnr_range
pairs = [task.pairs(given.split, size=given.images)[k] for k in range(given.images)]


def decibels(image: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the PSNR of an image in the task's convention."""
    return float(psnr(image[None], truth, data_range=value_range))


def row(found: Posterior, sinogram: torch.Tensor, truth: torch.Tensor) -> list[float]:
    """Return figures of the samples of one sinogram."""
    expected = noise.level(sinogram[0].numpy()) * math.sqrt(sinogram.numel())
    samples, mean = found.samples[:, 0, 0], found.mean[0, 0]
    single = [decibels(one, truth) for one in samples]
    return [
        decibels(mean, truth),
        sum(single) / len(single),
        max(single),
        float(found.residuals.mean()) / expected,
        float((operator(mean) - sinogram[0]).norm()) / expected,
        float(found.standard_deviation.square().mean().sqrt()),
        float((mean - truth[0]).square().mean().sqrt()),
    ]


network = tl.load(given.network)
with torch.no_grad():
    reference = [decibels(network(y[None], operator)[0, 0], x) for y, x in pairs]
print(f"{given.network}: {sum(reference) / len(reference):.2f} dB on {len(pairs)} of {given.split}")
print("mean, one sample, best sample (dB); residual / noise of samples, of the mean; spread, error")
for text in given.methods:
    method = tl.get_method(text).informed(noise)
    method.prepare()
    start, rows, first = time.process_time(), [], None
    for y, x in pairs:
        posterior = method.sample(y[None], operator)
        first = posterior if first is None else first
        rows.append(row(posterior, y, x))
    seconds = (time.process_time() - start) / len(pairs)
    figures = [f"{number:.4g}" for number in torch.tensor(rows).mean(0).tolist()]
    per_sample = seconds / method.samples
    print(
        f"{method}: {', '.join(figures)}; {seconds:.1f} s, {per_sample:.2f} s per sample",
        flush=True,
    )

if given.figure:
    shown = {"truth": pairs[0][1][0], "mean": first.mean[0, 0]}
    shown["standard deviation x 5"] = 5 * first.standard_deviation[0, 0]
    shown |= {f"sample {k + 1}": one[0, 0] for k, one in enumerate(first.samples[:2])}
    if given.prior:
        drawn = tl.sample_prior(given.prior, task.grid.shape, samples=5, steps=30)
        shown |= {f"without data {k + 1}": one for k, one in enumerate(drawn)}
    figure = Figure(figsize=(12, 2.6 * math.ceil(len(shown) / 5)), layout="constrained")
    panels = figure.subplots(math.ceil(len(shown) / 5), 5, squeeze=False).ravel()
    low, high = float(shown["truth"].min()), float(shown["truth"].max())
    for panel in panels:
        panel.axis("off")
    for panel, (name, image) in zip(panels, shown.items(), strict=False):
        panel.imshow(image, cmap="gray", vmin=low, vmax=high)
        panel.set_title(name, fontsize=9)
    figure.savefig(given.figure, dpi=70)
