"""Put the result of a training among the shipped weights, with a card of what it does.

python examples/training/ship.py runs/lpd-ellipses lpd-ellipses \\
        --description "learned primal-dual, trained on random ellipses"
python examples/training/ship.py runs/crr-chest crr-chest --task chest-60 --scales 6 9 \\
        --factors 230 340 --algorithm data-proximal --iterations 80 --description "..."
python examples/training/ship.py runs/gsd-ellipses gsd-ellipses --task ellipses --sigmas 0.05 \\
        --weights 70 --iterations 100 --description "..."

A reconstruction is measured on the test of the task it was trained for. Of a regulariser or a
denoiser, the settings of a reconstruction are chosen first, on validation images of `--task`:
the pair of weight and scale, or of weight and noise level, with the best PSNR. `--factors` are
weights as multiples of the size of back-projected noise in a pixel, A.T(noise), which for priors
with gradients of norm one is the weight that Lunz, Öktem and Schönlieb suggest; with `--algorithm
generative` they are multiples of the noise's variance in a bin.
"""

import argparse
import itertools
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

import tomolearn as tl
from tomolearn._core.checkpoints.cards import render_card
from tomolearn.evaluation import compare
from tomolearn.evaluation.tables import card_metrics
from tomolearn.methods.variational.noise_levels import column_norm
from tomolearn.metrics import psnr
from tomolearn.models import MODELS, build_model
from tomolearn.tasks import Task, get_task
from tomolearn.training.weights import annotate, read_card

WEIGHTS = Path(tl.__file__).parent / "weights"
NUMBERS = {"type": float, "nargs": "+"}

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("run", type=Path, help="folder of the run")
arguments.add_argument("name", help="what the weights are to be called")
arguments.add_argument("--description", required=True, help="one line")
arguments.add_argument("--use", help="what for, one line; default: the task's description")
arguments.add_argument(
    "--limits",
    default="images whose values lie in about [0, 1] like those of the training, on pixels of the "
    "size of the training's",
    help="what images the weights are for",
)
arguments.add_argument("--trained-on", default="synthetic images", help="what the images were")
arguments.add_argument("--task", help="whose images are reconstructed; default: the training's")
arguments.add_argument(
    "--any-scan",
    action="store_true",
    help="weights are for other grids and scans, too, as --limits tells: do not warn of them",
)
arguments.add_argument(
    "--figure",
    action="append",
    default=[],
    metavar="NAME=NUMBER",
    help="one more result for the card, measured by another command",
)
arguments.add_argument("--pairs", type=int, default=100, help="pairs of the test, 0: none")
arguments.add_argument(
    "--argument",
    action="append",
    default=[],
    help="NAME=VALUE: another value of an argument on which no weight depends, as a tolerance",
)
priors = arguments.add_argument_group("regularisers and denoisers")
priors.add_argument("--weights", **NUMBERS, help="weights of the prior, beside --factors")
priors.add_argument("--factors", **NUMBERS, help="weights, in sizes of back-projected noise")
priors.add_argument("--scales", **NUMBERS, default=[1.0], help="of image values, regularisers")
priors.add_argument("--sigmas", **NUMBERS, help="noise levels that a denoiser removes")
priors.add_argument("--algorithm", help="default: nmapg, or that of the denoiser")
priors.add_argument("--iterations", type=int, default=100)
priors.add_argument("--images", type=int, default=2, help="number of validation images")
priors.add_argument(
    "--from-fbp",
    action="store_true",
    help="begin with it in use, too: for iterations that are ended early",
)


def choose_settings(
    prior: Any, kind: str, task: Task, given: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of a prior with the best PSNR, and figures of the validation."""
    operator = task.operator()
    pairs = task.pairs("validation", size=given.images)
    sinograms, truths = (torch.stack(part) for part in zip(*pairs, strict=True))
    noise = task.acquisition.noise
    deviation = sum(noise.level(y[0].numpy()) for y in sinograms) / len(sinograms)
    size = deviation * column_norm(operator)
    generative = given.algorithm == "generative"
    unit = deviation**2 if generative else size
    weights = [*(given.weights or []), *(factor * unit for factor in given.factors or [])]
    second = given.scales if kind == "regulariser" else given.sigmas
    if not weights or not second:
        arguments.error(f"a {kind} needs --factors or --weights, and --scales or --sigmas")
    start = tl.fbp(sinograms, operator, filter="hann", frequency_scaling=0.5)
    if given.from_fbp:
        start = tl.fbp(sinograms, operator, filter="hann")
    tried = []
    for other, weight in itertools.product(second, weights):
        settings = {"scale": other} if kind == "regulariser" else {"scale": 1.0, "sigma": other}
        if generative:
            method: Any = tl.methods.Generative(
                prior, weight=weight, image_scale=other, iterations=given.iterations
            )
        elif kind == "regulariser":
            method = tl.methods.Variational(
                prior,
                weight=weight,
                image_scale=other,
                algorithm=given.algorithm or "nmapg",
                iterations=given.iterations,
            )
        else:
            method = tl.methods.PlugAndPlay(
                prior,
                sigma=other,
                weight=weight,
                algorithm=given.algorithm or "auto",
                iterations=given.iterations,
            )
        images = method(sinograms, operator, x0=start)
        value = float(psnr(images, truths, data_range=task.convention.psnr_range).mean())
        tried.append({**settings, "weight": float(f"{weight:.4g}"), "psnr": round(value, 3)})
        print(tried[-1], f"{weight / unit:.3g} of the noise", flush=True)
    best = max(tried, key=lambda one: one["psnr"])
    default = "nmapg" if kind == "regulariser" else "auto"
    settings = {
        "algorithm": given.algorithm or default,
        **{name: best[name] for name in ("weight", "scale", "sigma") if name in best},
        "task": task.name,
        "noise": deviation,
        "backprojected_noise": size,
        "iterations": given.iterations,
        "start": "fbp" if given.from_fbp else "zero",
        "validation_psnr": tried,
    }
    reference = float(psnr(start, truths, data_range=task.convention.psnr_range).mean())
    figures = {
        f"psnr on validation images of {task.name}": round(best["psnr"], 2),
        "psnr of fbp there": round(reference, 2),
        "reconstructed images": given.images,
    }
    return settings, figures


def told_anywhere(training: dict[str, Any], run: Path) -> dict[str, Any]:
    """Return what is said of a training, with commands for any machine: runs lie in runs/.

    Files of pairs are told by their names.
    """
    commands = {**training, "shipped_by": shlex.join(["python", *sys.argv])}
    pairs = training["settings"]["data"]
    if pairs is not None:
        commands["settings"] = {**training["settings"], "data": Path(pairs).name}
        commands["command"] = commands["command"].replace(pairs, Path(pairs).name)
    for name in ("command", "shipped_by"):
        for place in (str(run), str(run.absolute())):
            commands[name] = commands[name].replace(place, f"runs/{run.name}")
    return commands


def rebuilt(model: Any, given: list[str]) -> Any:
    """Return a model with other values of arguments on which no weight depends."""
    changes = {name: json.loads(value) for name, value in (one.split("=") for one in given)}
    changed = build_model(MODELS.spec_of(type(model)), {**model.arguments, **changes})
    changed.load_state_dict(model.state_dict())
    return changed.eval()


def main() -> None:
    """Choose settings, save the weights, measure them as they will be used."""
    given = arguments.parse_args()
    kind = read_card(given.run / "weights.json")[1]["kind"]
    model = tl.load(given.run / "weights.json", kind=kind).requires_grad_(False)
    card = model.card
    task = get_task(given.task or card["task"])
    training, figures = dict(card["training"]), dict(card["metrics"])
    if kind == "model":
        model = rebuilt(model, given.argument) if given.argument else model
    else:
        settings, measured = choose_settings(model, kind, task, given)
        training["reconstruction"] = settings
        figures |= measured
    if given.any_scan:
        training["any_scan"] = True
    path = tl.save(
        model,
        WEIGHTS / given.name,
        task=card["task"],
        grid=task.grid,
        scan=task.scan,
        metrics=figures,
        training=told_anywhere(training, given.run),
        about=card["about"],
        overwrite=True,
    )
    size = task.splits["test"].size
    pairs = given.pairs if size is None else min(given.pairs, size)
    if pairs:
        method: Any = model
        if kind != "model":
            method = tl.get_method(given.name)
        figures |= card_metrics(compare(task, {given.name: method}, images=pairs))
    for name, number in (one.rsplit("=", 1) for one in given.figure):
        figures[name] = float(number)
    use = f"reconstruction of {task.description}"
    if kind != "model":
        use = f"prior in {use}, of other scans of such images too"
    card = annotate(
        path,
        metrics=figures,
        about={
            "description": given.description,
            "use": given.use or f"{use}; comparison with other methods there",
            "limits": f"{given.limits}; trained on {given.trained_on}, and nothing it shows may be "
            "used for diagnosis",
            "licence": "GPL-3.0-or-later",
        },
    )
    path.with_suffix(".md").write_text(render_card(given.name, card), encoding="utf-8")
    print(f"{path}: {card['metrics']}, {card['bytes'] / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
