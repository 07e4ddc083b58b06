"""Run iterations on beyond the number that they were trained with.

A deep-equilibrium network is defined by where its iteration ends, and stays there. A learned
gradient method is defined by its ten iterations, and leaves its image when it is run further.

The number of noise seeds is an argument, 5 by default.
"""

import sys

import matplotlib.pyplot as plt
import torch

import tomolearn as tl
from tomolearn.metrics import psnr
from tomolearn.tasks import get_task

task = get_task("ellipses")
A = task.operator()
n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
pairs = task.pairs("test", size=n_seeds)
y, truth = (torch.stack(parts) for parts in zip(*(pairs[i] for i in range(n_seeds)), strict=True))

equilibrium, unrolled = tl.load("degrad-ellipses"), tl.load("lgd-ellipses")
settings = equilibrium.card["training"]["settings"]["model_arguments"]
trained = {"DE-Grad": settings["max_iterations"], "learned gradient": unrolled.iterations}
found = {"DE-Grad": {}, "learned gradient": {}}
with torch.no_grad():
    for factor in (0.2, 0.5, 1, 1.5, 2, 4, 10):
        n = round(factor * trained["DE-Grad"])
        state = equilibrium.solve(y, A, tolerance=0.0, max_iterations=n).state
        found["DE-Grad"][factor] = psnr(state, truth, data_range=1.0).mean().item()
        unrolled.iterations = round(factor * trained["learned gradient"])
        found["learned gradient"][factor] = (
            psnr(unrolled(y, A), truth, data_range=1.0).mean().item()
        )

figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
for name, values in found.items():
    print(f"{name}, trained with {trained[name]} iterations:")
    for factor, value in values.items():
        print(f"  {factor:4g} times as many: {value:6.2f} dB")
    axis.plot(list(values), list(values.values()), "o-", label=name)
axis.set(xscale="log", ylim=(15, 40), ylabel="PSNR [dB]", xlabel="iterations / those of training")
axis.legend()
figure.savefig("iterate_more.png", dpi=150)
