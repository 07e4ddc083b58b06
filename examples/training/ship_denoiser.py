"""Measure a trained denoiser in plug-and-play on a task's test, and ship it.

python examples/training/ship_denoiser.py runs/gsd-ellipses gsd-ellipses --task ellipses \\
        --sigma 0.05 --weight 70 --description "gradient-step denoiser of random ellipses"
"""

import argparse
import shlex
import sys
from pathlib import Path

import tomolearn as tl
from tomolearn._core.checkpoints.cards import render_card
from tomolearn.evaluation import compare
from tomolearn.evaluation.tables import card_metrics
from tomolearn.methods.variational.noise_levels import column_norm
from tomolearn.tasks import get_task
from tomolearn.training.weights import annotate

WEIGHTS = Path(tl.__file__).parent / "weights"

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("run", type=Path, help="folder of the run")
arguments.add_argument("name", help="what the weights are to be called")
arguments.add_argument("--task", required=True, help="where weight and noise level were found")
arguments.add_argument("--sigma", type=float, required=True, help="noise level that is removed")
arguments.add_argument("--weight", type=float, required=True, help="weight of the potential")
arguments.add_argument("--iterations", type=int, default=100)
arguments.add_argument("--pairs", type=int, default=3, help="pairs of the test")
arguments.add_argument("--description", required=True, help="one line")
given = arguments.parse_args()

denoiser = tl.load(given.run / "weights.json", kind="denoiser")
card, task = denoiser.card, get_task(given.task)
operator, noise = task.operator(), task.acquisition.noise
deviation = noise.level(task.pairs("validation", size=1)[0][0][0].numpy())
reconstruction = {
    "algorithm": "gradient-step",
    "task": task.name,
    "sigma": given.sigma,
    "weight": given.weight,
    "scale": 1.0,
    "noise": deviation,
    "backprojected_noise": deviation * column_norm(operator),
    "iterations": given.iterations,
}
path = tl.save(
    denoiser,
    WEIGHTS / given.name,
    task=task.name,
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
method = tl.methods.PlugAndPlay(
    denoiser, sigma=given.sigma, weight=given.weight, iterations=given.iterations
)
size = task.splits["test"].size
pairs = given.pairs if size is None else min(given.pairs, size)
card = annotate(
    path,
    metrics=card_metrics(compare(task, {given.name: method}, images=pairs)),
    about={
        "description": given.description,
        "use": f"prior in plug-and-play reconstruction of {task.description}, of other scans of "
        "such images too; denoising of them",
        "limits": "images whose values are like those of the training, and noise levels of its "
        "range; nothing was trained on patients, and nothing it shows may be used for diagnosis",
        "licence": "GPL-3.0-or-later",
    },
)
path.with_suffix(".md").write_text(render_card(given.name, card), encoding="utf-8")
print(f"{path}: {card['metrics']['psnr']} dB, {card['bytes'] / 1e6:.2f} MB")
