"""Choose weight and scale of a trained regulariser on validation images, and ship it.

python examples/training/ship_prior.py runs/acr-chest acr-chest --task chest-60 --factors 75 150 \\
        --description "convex regulariser of synthetic chest slices"

Weights are multiples of the size of back-projected noise in a pixel, A.T(noise), which for priors
with gradients of norm one is the weight that Lunz, Öktem and Schönlieb suggest. Iterations begin at
filtered back-projections.
"""

import argparse
import itertools
import shlex
import sys
from pathlib import Path

import torch

import tomolearn as tl
from tomolearn._core.checkpoints.cards import render_card
from tomolearn.methods.variational.noise_levels import column_norm
from tomolearn.metrics import psnr
from tomolearn.tasks import get_task
from tomolearn.training.weights import annotate

WEIGHTS = Path(tl.__file__).parent / "weights"

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("run", type=Path, help="folder of the run")
arguments.add_argument("name", help="what the weights are to be called")
arguments.add_argument("--description", required=True, help="one line")
arguments.add_argument("--task", required=True, help="whose validation images are reconstructed")
arguments.add_argument("--factors", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
arguments.add_argument("--scales", type=float, nargs="+", default=[1.0], help="of image values")
arguments.add_argument("--algorithm", default="nmapg")
arguments.add_argument("--iterations", type=int, default=100)
arguments.add_argument("--images", type=int, default=2, help="number of validation images")
arguments.add_argument("--trained-on", default="synthetic", help="what the images were")
arguments.add_argument("--limits", default="", help="more of them, for the card")
arguments.add_argument(
    "--from-fbp",
    action="store_true",
    help="begin with it in use, too: for iterations that are ended early",
)
given = arguments.parse_args()

prior = tl.load(given.run / "weights.json", kind="regulariser").requires_grad_(False)
card = prior.card
task = get_task(given.task)
operator = task.operator()
pairs = task.pairs("validation", size=given.images)
sinograms, truths = (torch.stack(part) for part in zip(*pairs, strict=True))
deviation = task.acquisition.noise.level(sinograms[0, 0].numpy())
size = deviation * column_norm(operator)
deviation = sum(task.acquisition.noise.level(y.numpy()) for y in sinograms) / len(sinograms)
size = deviation * column_norm(operator)
cutoff = 1.0 if given.from_fbp else 0.5
start = tl.fbp(sinograms, operator, filter="hann", frequency_scaling=cutoff)
convention = task.convention.psnr_range
found = {}
for scale, factor in itertools.product(given.scales, given.factors):
    images = tl.variational(
        sinograms,
        operator,
        prior=prior,
        weight=factor * size,
        image_scale=scale,
        algorithm=given.algorithm,
        iterations=given.iterations,
        x0=start,
    )
    found[scale, factor] = float(psnr(images, truths, data_range=convention).mean())
    print(
        f"scale {scale:g}, weight {factor * size:.3g} ({factor:g} of the noise): "
        f"{found[scale, factor]:.2f} dB",
        flush=True,
    )
best = max(found, key=found.__getitem__)

reconstruction = {
    "algorithm": given.algorithm,
    "weight": best[1] * size,
    "scale": best[0],
    "noise": deviation,
    "backprojected_noise": size,
    "iterations": given.iterations,
    "start": "fbp" if given.from_fbp else "zero",
    "validation_psnr": [
        {"scale": scale, "weight": float(f"{factor * size:.4g}"), "psnr": round(value, 3)}
        for (scale, factor), value in found.items()
    ],
}
path = tl.save(
    prior,
    WEIGHTS / given.name,
    task=card["task"],
    grid=task.grid,
    scan=task.scan,
    metrics=card["metrics"],
    training={
        **card["training"],
        "reconstruction": reconstruction,
        "shipped_by": shlex.join(["python", *sys.argv]),
    },
    about=card["about"],
    overwrite=True,
)
card = annotate(
    path,
    metrics={
        f"psnr on validation images of {task.name}": round(found[best], 2),
        "psnr of fbp there": round(float(psnr(start, truths, data_range=convention).mean()), 2),
        "reconstructed images": given.images,
    },
    about={
        "description": given.description,
        "use": f"regulariser of variational reconstruction of {task.description}, of other scans "
        "of such images too; comparison with other methods there",
        "limits": f"{given.limits}{'; ' if given.limits else ''}images whose values lie in about "
        f"[0, 1] like those of the training, which were {given.trained_on}; "
        "nothing it shows may be used for diagnosis",
        "licence": "GPL-3.0-or-later",
    },
)
path.with_suffix(".md").write_text(render_card(given.name, card), encoding="utf-8")
print(f"{path}: {found[best]:.2f} dB, {card['bytes'] / 1e6:.2f} MB")
