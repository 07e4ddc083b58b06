"""Measure the result of a training on its task's test, and put it among the shipped weights.

python examples/training/ship_weights.py runs/ellipses-learned-primal-dual-0 lpd-ellipses \\
        --description "learned primal-dual, trained on random ellipses"
"""

import argparse
import json
from pathlib import Path

import tomolearn as tl
from tomolearn._core.checkpoints.cards import render_card
from tomolearn.evaluation import compare
from tomolearn.evaluation.tables import card_metrics
from tomolearn.models import MODELS, build_model
from tomolearn.tasks import get_task
from tomolearn.training.weights import annotate

WEIGHTS = Path(tl.__file__).parent / "weights"

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("run", type=Path, help="folder of the run")
arguments.add_argument("name", help="what the weights are to be called")
arguments.add_argument("--description", required=True, help="one line")
arguments.add_argument("--use", help="what for, one line; default: the task's description")
arguments.add_argument("--pairs", type=int, default=100, help="pairs of the test")
arguments.add_argument(
    "--limits",
    default="images whose values lie in about [0, 1] like those of the training, on pixels of the "
    "size of the training's",
    help="what images the weights are for",
)
arguments.add_argument(
    "--argument",
    action="append",
    default=[],
    help="NAME=VALUE: another value of an argument on which no weight depends, as a tolerance",
)
given = arguments.parse_args()

model = tl.load(given.run / "weights.json")
card = model.card
if given.argument:
    changes = {name: json.loads(value) for name, value in (a.split("=") for a in given.argument)}
    trained, model = model, build_model(MODELS.spec_of(type(model)), {**model.arguments, **changes})
    model.load_state_dict(trained.state_dict())
    model.eval()
task = get_task(card["task"])
path = tl.save(
    model,
    WEIGHTS / given.name,
    task=task.name,
    grid=task.grid,
    scan=task.scan,
    metrics=card["metrics"],
    training=card["training"],
    about=card["about"],
    overwrite=True,
)
size = task.splits["test"].size
pairs = given.pairs if size is None else min(given.pairs, size)
card = annotate(
    path,
    metrics=card_metrics(compare(task, {given.name: model}, images=pairs)),
    about={
        "description": given.description,
        "use": given.use
        or f"reconstruction of {task.description}; comparison with other methods there",
        "limits": f"{given.limits}; nothing was trained on patients, and nothing it shows may be "
        "used for diagnosis",
        "licence": "GPL-3.0-or-later",
    },
)
path.with_suffix(".md").write_text(render_card(given.name, card), encoding="utf-8")
print(f"{path}: {card['metrics']['psnr']} dB, {card['bytes'] / 1e6:.2f} MB")
