"""What training a deep-equilibrium network costs: backward modes in time, iterations in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from tomolearn._core.tensors import now
from tomolearn.benchmarks.timing import Timing, turns, with_ratios
from tomolearn.benchmarks.training import memory_of_steps, training_batch
from tomolearn.methods.checks import check_ray_transform
from tomolearn.models.equilibrium import DeepEquilibrium, DEGradient
from tomolearn.tasks import Task, get_task

BACKWARD: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "implicit, anderson": {"mode": "implicit", "solver": "anderson"},
        "implicit, gmres": {"mode": "implicit", "solver": "gmres"},
        "phantom": {"mode": "phantom"},
        "jfb": {"mode": "jfb"},
    }
)
"""The backward modes that are measured, by name; ratios are to the first."""
_NETWORK: Mapping[str, Any] = MappingProxyType({"depth": 5, "channels": 32})


def measure_backward(
    model: DeepEquilibrium,
    *,
    task: Task | None = None,
    batch: int = 2,
    rounds: int = 5,
    device: str = "cpu",
) -> Iterator[Timing]:
    """Measure the backward pass, and forward and backward together, in all backward modes.

    All modes have the same weights, and the same tolerance of the forward pass; they take turns.
    Ratios are to "implicit, anderson"; the iterations of the linear system come last.
    """
    where = torch.device(device)
    task = get_task("ellipses") if task is None else task
    sinogram, image = training_batch(task, batch, where)
    operator = task.operator()
    models = {}
    for name, options in BACKWARD.items():
        models[name] = copy.deepcopy(model).to(where).train()
        models[name].backward = replace(model.backward, **options)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for name in turns(models, rounds + 1):
        models[name].zero_grad()
        times = [now(where)]
        loss = (models[name](sinogram, operator) - image).square().mean()
        times.append(now(where))
        loss.backward()
        times.append(now(where))
        samples[name].append((times[2] - times[1], times[2] - times[0]))
    whats = ("backward pass", "forward and backward pass")
    # without the first, which fills caches
    medians = {name: np.median(np.array(found[1:]), axis=0) for name, found in samples.items()}
    for i, what in enumerate(whats):
        seconds = {name: float(found[i]) for name, found in medians.items()}
        yield from with_ratios(task.name, batch, what, seconds, next(iter(BACKWARD)))
    for name, contender in models.items():
        found = contender.diagnostics.get("backward_iterations")
        if found is not None:
            what = "backward pass, iterations"
            yield Timing(task.name, batch, what, name, found, "", None)


def measure_equilibrium_memory(
    *,
    task: Task | None = None,
    iterations: tuple[int, int] = (20, 200),
    batch: int = 1,
    device: str = "cpu",
) -> Iterator[Timing]:
    """Measure the peak memory in MiB of a training step with few and with many forward iterations.

    For implicit gradients, and for the same iteration unrolled. See `measure_training_memory`
    for what is counted.
    """
    task = get_task("ellipses") if task is None else task
    steps = {}
    for mode in ("implicit", "unrolled"):
        for n in iterations:
            options = {"max_iterations": n, "tolerance": 0.0, "backward": mode}
            network = DEGradient(**{**_NETWORK, **options, "backward_iterations": 20})
            steps[f"{mode}, {n} iterations"] = network
    scan = check_ray_transform(task.operator()).scan
    return memory_of_steps(task.grid, scan, steps, batch, device)
