"""Joint and sequential training of reconstruction and segmentation, over C and seeds.

python examples/training/task_adapted.py FOLDER [STEPS] [SEEDS] [MINUTES]

Trains in FOLDER on the task "chest-nodules"; one after the other, each network has half of the
steps. Scores of finished trainings are kept there, in
scores.json, and none is begun after MINUTES; the next call goes on. It ends with the table of what
there is, mean and half the range over the seeds and least processor time of a training (the first
one draws the chests, too), the figure task_adapted.png and, of the first seed, nodules.png.
"""

import itertools
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import matplotlib
import numpy as np
import torch

import tomolearn as tl
from tomolearn.tasks import get_task
from tomolearn.training.config import TrainingConfig, read_config
from tomolearn.training.run import train

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RECIPE = Path(__file__).with_name("task-adapted.toml")
WEIGHTS = (0.1, 0.5, 0.9, 0.99)
SEQUENTIAL = "sequential"
ORDER = ((0.9, SEQUENTIAL), (0.5,), (0.99,), (0.1,))
KEYS = ("dice", "overlap", "psnr", "minutes")

start, folder = time.monotonic(), Path(sys.argv[1])
given = [*sys.argv[2:], *("2000", "3", "inf")[len(sys.argv) - 2 :]]
steps, seeds, minutes = int(given[0]), int(given[1]), float(given[2])
folder.mkdir(parents=True, exist_ok=True)
scores_file = folder / "scores.json"
scores = json.loads(scores_file.read_text()) if scores_file.exists() else {}


def trained(name, n, **changes):
    values = {**read_config(RECIPE), "steps": n, "validation_every": n, **changes}
    resume = (folder / name / "last.ckpt").exists()
    result = train(TrainingConfig(**values), folder / name, resume=resume)
    return result.model, str(result.weights)


def one_after_the_other(seed):
    half = steps // 2
    _, weights = trained(
        f"reconstruction-{seed}", half, seed=seed, objective_arguments={"task_weight": 0.0}
    )
    settings = {"task_weight": 1.0, "freeze_reconstruction": True}
    changes = {"objective_arguments": settings, "initial_weights": weights}
    return trained(f"{SEQUENTIAL}-{seed}", half, seed=seed, **changes)


for group in ORDER:
    for seed, c in itertools.product(range(seeds), group):
        name = f"{c}-{seed}"
        if name in scores or time.monotonic() - start > 60 * minutes:
            continue
        begin = time.process_time()
        if c == SEQUENTIAL:
            model, _ = one_after_the_other(seed)
        else:
            model, _ = trained(name, steps, seed=seed, objective_arguments={"task_weight": c})
        spent = (time.process_time() - begin) / 60
        found = tl.evaluation.segmentation_score(model, get_task("chest-nodules"))
        found = {**asdict(found), "minutes": spent}
        scores[name] = {key: found[key] for key in KEYS}
        scores_file.write_text(json.dumps(scores, indent=1))
        print(name, scores[name], flush=True)


def values_of(c, key):
    return [scores[name][key] for seed in range(seeds) if (name := f"{c}-{seed}") in scores]


print("| C | seeds | mean Dice | Dice of all pixels | PSNR | minutes |\n|---|---|---|---|---|---|")
for c in (*WEIGHTS, SEQUENTIAL):
    found = [values_of(c, key) for key in KEYS]
    if found[0]:
        cells = [f"{np.mean(x):.3f} ± {np.ptp(x) / 2:.3f}" for x in found[:-1]]
        print(f"| {c} | {len(found[0])} | {' | '.join(cells)} | {min(found[-1]):.1f} |")

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for panel, key, label in zip(axes, ("dice", "psnr"), ("mean Dice", "PSNR in dB"), strict=True):
    for place, c in enumerate(WEIGHTS):
        panel.plot([place] * len(values_of(c, key)), values_of(c, key), "o", color="C0")
    for value in values_of(SEQUENTIAL, key):
        panel.axhline(value, color="C1")
    panel.set_xticks(range(len(WEIGHTS)), [str(c) for c in WEIGHTS])
    panel.set_xlabel("C; lines: one after the other")
    panel.set_ylabel(label)
figure.savefig(folder / "task_adapted.png", dpi=110)

# contours of what is found in the first test images, beside the nodules
task, shown = get_task("chest-nodules"), range(6)
pairs, operator = task.pairs("test", labels=True), task.operator()
y, x, labels = (torch.stack(part) for part in zip(*(pairs[k] for k in shown), strict=True))
rows = [("truth", x, labels)]
for c, label in ((0.9, "C = 0.9"), (SEQUENTIAL, "one after\nthe other")):
    model = tl.load(folder / f"{c}-0" / "weights.json").eval()
    with torch.no_grad():
        rows.append((label, *model.segment(y, operator)))
figure, panels = plt.subplots(len(rows), len(shown), figsize=(9, 4.6), layout="constrained")
for line, (label, images, regions) in zip(panels, rows, strict=True):
    line[0].set_ylabel(label)
    for panel, image, region in zip(line, images[:, 0], regions[:, 0], strict=True):
        panel.imshow(image, cmap="gray", vmin=0, vmax=0.4)
        panel.contour(region, [0.5], colors="C1", linewidths=1)
        panel.set(xticks=[], yticks=[])
figure.savefig(folder / "nodules.png", dpi=80)
