"""Train equivariant and ordinary networks on few images, and compare them.

python examples/training/equivariance.py runs/equivariance --figure equivariance.png

Runs that are complete are not repeated, so that it may be stopped and started again.
"""

import argparse
import csv
import itertools
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

import matplotlib.pyplot as plt

import tomolearn as tl
from tomolearn.evaluation import compare
from tomolearn.tasks import get_task
from tomolearn.training.config import read_config, with_overrides
from tomolearn.training.run import train

RECIPE = Path(__file__).parent / "equivariant.toml"
GROUPS = {"C4": "equivariant (C4)", "C1": "ordinary"}
SPLITS = {"test": "upright", "test-rotated": "any orientation"}

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("out", type=Path, help="folder of the runs, and of table.csv")
arguments.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 50, 100])
arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
arguments.add_argument("--set", action="append", default=[], help="setting of the training")
arguments.add_argument("--figure", type=Path, help="where to draw the result")
given = arguments.parse_args()


def scores(group, size, seed):
    """Return the PSNR of one training on each test set."""
    folder = given.out / f"{group}-{size}-{seed}"
    changes = [f"model_arguments.group={group}", f"train_size={size}", f"seed={seed}", *given.set]
    config = with_overrides(read_config(RECIPE), changes)
    if not (folder / "weights.json").exists():
        command = f"tomolearn train --config examples/training/{RECIPE.name} --set "
        train(config, folder, resume=folder.exists(), command=command + " --set ".join(changes))
    known = folder / "scores.json"
    if not known.exists():
        model = {group: tl.load(folder / "weights.json")}
        measured = [compare(config.task, model, split=split).rows[0] for split in SPLITS]
        known.write_text(
            json.dumps([row.metrics["psnr"].mean for row in measured]), encoding="utf-8"
        )
    return json.loads(known.read_text(encoding="utf-8"))


found = defaultdict(list)
for seed, size, group in itertools.product(given.seeds, given.sizes, GROUPS):
    found[group, size].append(scores(group, size, seed))
    print(group, size, seed, *(f"{value:.2f}" for value in found[group, size][-1]), flush=True)

task = get_task(with_overrides(read_config(RECIPE), given.set).task)
with (given.out / "table.csv").open("w", newline="", encoding="utf-8") as file:
    table = csv.writer(file)
    table.writerow(["task", "split", "training images", *GROUPS, "gap"])
    for (split, values), size in itertools.product(enumerate(SPLITS), given.sizes):
        means = [fmean(run[split] for run in found[group, size]) for group in GROUPS]
        row = [f"{mean:.2f}" for mean in (*means, means[0] - means[1])]
        table.writerow([task.name, values, size, *row])
print((given.out / "table.csv").read_text(encoding="utf-8"))

if given.figure is not None:
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
    for split, (axis, title) in enumerate(zip(axes, SPLITS.values(), strict=True)):
        for group, label in GROUPS.items():
            runs = [[run[split] for run in found[group, size]] for size in given.sizes]
            spread = [stdev(run) if len(run) > 1 else 0.0 for run in runs]
            axis.errorbar(given.sizes, [fmean(run) for run in runs], spread, capsize=3, label=label)
        axis.set(title=f"test images: {title}", xlabel="training images", xscale="log")
        axis.set_xticks(given.sizes, [str(size) for size in given.sizes], minor=False)
        axis.minorticks_off()
    axes[0].set_ylabel("PSNR [dB]")
    axes[0].legend()
    figure.savefig(given.figure, dpi=150)
