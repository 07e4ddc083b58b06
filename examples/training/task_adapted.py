"""Joint and sequential training of reconstruction and segmentation, over C and seeds.

python examples/training/task_adapted.py FOLDER [STEPS] [SEEDS]

Trains in FOLDER on the task "chest-nodules"; scores of finished trainings are kept there, in
scores.json, and are not trained again. Ends with the table, and the figure task_adapted.png.
"""

import json
import sys
from pathlib import Path

import numpy as np

import tomolearn as tl
from tomolearn.tasks import get_task
from tomolearn.training.config import TrainingConfig, read_config
from tomolearn.training.run import train

RECIPE = Path(__file__).with_name("task-adapted.toml")
WEIGHTS = (0.1, 0.5, 0.9, 0.99)
folder = Path(sys.argv[1])
steps, seeds = (int(given) for given in [*sys.argv[2:], *("3000", "3")[len(sys.argv) - 2 :]])
task = get_task("chest-nodules")
folder.mkdir(parents=True, exist_ok=True)
scores_file = folder / "scores.json"
scores = json.loads(scores_file.read_text()) if scores_file.exists() else {}


def trained(name, **changes):
    values = {**read_config(RECIPE), "steps": steps, "validation_every": steps, **changes}
    config = TrainingConfig(**values)
    result = train(config, folder / name, resume=(folder / name / "last.ckpt").exists())
    return result.model, result.weights


for seed in range(seeds):
    for c in (*WEIGHTS, "sequential"):
        name = f"{c}-{seed}"
        if name in scores:
            continue
        if c == "sequential":
            given = {"seed": seed, "objective_arguments": {"task_weight": 0.0}}
            _, weights = trained(f"reconstruction-{seed}", **given)
            settings = {"task_weight": 1.0, "freeze_reconstruction": True}
            model, _ = trained(
                name, seed=seed, objective_arguments=settings, initial_weights=str(weights)
            )
        else:
            model, _ = trained(name, seed=seed, objective_arguments={"task_weight": c})
        found = tl.evaluation.segmentation_score(model, task)
        scores[name] = {"psnr": found.psnr, "dice": found.dice, "overlap": found.overlap}
        scores_file.write_text(json.dumps(scores, indent=1))
        print(name, scores[name], flush=True)


def rows(c, key):
    return np.array([scores[f"{c}-{seed}"][key] for seed in range(seeds)])


for c in (*WEIGHTS, "sequential"):
    parts = [f"{rows(c, key).mean():.3f} ± {np.ptp(rows(c, key)) / 2:.3f}" for key in scores[name]]
    print(c, *parts, sep=" | ")

import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
places = np.arange(len(WEIGHTS))
for axes, key, label in ((left, "dice", "mean Dice of nodules"), (right, "psnr", "PSNR in dB")):
    for seed in range(seeds):
        axes.plot(
            places, [scores[f"{c}-{seed}"][key] for c in WEIGHTS], "o-", color="C0", alpha=0.5
        )
        axes.axhline(scores[f"sequential-{seed}"][key], color="C1", alpha=0.5)
    axes.set_xticks(places, [str(c) for c in WEIGHTS])
    axes.set_xlabel("C; line: one after the other")
    axes.set_ylabel(label)
figure.savefig(folder / "task_adapted.png", dpi=110)
