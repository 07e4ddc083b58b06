"""Networks trained for equal times: what saves memory, and what fully learned ones need of data.

python examples/training/compare_networks.py memory runs/memory [MINUTES]
python examples/training/compare_networks.py data runs/data [MINUTES]

The first trains learned primal-dual, its invertible and its stochastic variant and greedily on the
task "ellipses"; the second learned primal-dual, iRadonMap and AUTOMAP on 32 to 2,048 images of
64 x 64 pixels. MINUTES are for each training. Scores of finished trainings are kept in
scores.json; it ends with the table of mean PSNR in dB of test images and of optimiser steps, and
"data" with the figure data_hunger.png.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib

import tomolearn as tl
from tomolearn.evaluation import compare
from tomolearn.simulation import Acquisition
from tomolearn.tasks import get_task
from tomolearn.training.config import TrainingConfig
from tomolearn.training.run import train

matplotlib.use("Agg")
import matplotlib.pyplot as plt

study, folder = sys.argv[1], Path(sys.argv[2])
minutes = float(sys.argv[3]) if len(sys.argv) > 3 else 8.0
folder.mkdir(parents=True, exist_ok=True)
grid = tl.Grid((64, 64))
dival = get_task("ellipses-dival")
SMALL = replace(
    dival,
    name="ellipses-dival-64",
    grid=grid,
    acquisition=Acquisition(tl.ParallelBeam.covering(grid, 30), dival.acquisition.noise),
)
MUON = {"optimizer": "muon", "learning_rate": 2e-3, "warmup_steps": 50}
ADAM = {"optimizer": "adam", "learning_rate": 1e-3}
LPD = {"model": "learned-primal-dual", **MUON}
STUDIES = {
    "memory": {
        "learned primal-dual": LPD,
        "invertible": {"model": "invertible-primal-dual", **MUON},
        "stochastic": {"model": "stochastic-primal-dual", **MUON},
        "greedy": {**LPD, "objective": "greedy"},
    },
    "data": {
        "learned primal-dual": {**LPD, "model_arguments": {"iterations": 6}},
        "iRadonMap": {
            "model": "iradonmap",
            "model_arguments": {"image_shape": [64, 64], "sinogram_shape": [30, 93]},
            **ADAM,
        },
        # steps of Adam's usual size saturate its hyperbolic tangents
        "AUTOMAP": {"model": "automap", **ADAM, "learning_rate": 1e-4},
    },
}
COMMON = {
    "max_time": 60 * minutes,
    "keep": "last",
    "batch_size": 2 if study == "memory" else 8,
    "ema_decay": 0.99,
    "precision": "auto" if study == "memory" else "32-true",
    "validation_every": 10**6,
    "validation_size": 8,
    "threads": 1,
}
SIZES = (None,) if study == "memory" else (32, 128, 512, 2048)
task = get_task("ellipses") if study == "memory" else SMALL
scores_file = folder / "scores.json"
scores = json.loads(scores_file.read_text()) if scores_file.exists() else {}
for contender, settings in STUDIES[study].items():
    for size in SIZES:
        name = f"{contender}, {size}"
        if name in scores:
            continue
        config = TrainingConfig(**{**COMMON, "task": task, "train_size": size, **settings})
        run = folder / name.replace(", ", "-").replace(" ", "-")
        result = train(config, run, resume=run.exists())
        row = compare(task, {contender: result.model}, split="validation", images=50).rows[0]
        scores[name] = {
            "psnr": row.metrics["psnr"].mean,
            "steps": result.steps,
            "parameters": result.model.n_parameters,
        }
        scores_file.write_text(json.dumps(scores, indent=1))
        print(name, scores[name], flush=True)

for name, found in scores.items():
    print(f"| {name} | {found['psnr']:.2f} | {found['steps']} | {found['parameters']:,} |")
if study == "data":
    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for contender in STUDIES[study]:
        psnrs = [scores[f"{contender}, {size}"]["psnr"] for size in SIZES]
        axes.semilogx(SIZES, psnrs, "o-", label=contender)
    axes.set(xlabel="training images", ylabel="PSNR in dB")
    axes.legend()
    figure.savefig(folder / "data_hunger.png", dpi=110)
