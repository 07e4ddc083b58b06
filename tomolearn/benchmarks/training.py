"""How fast a training step of learned primal-dual is, and how much memory one takes."""

from __future__ import annotations

import copy
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.memory import resident_bytes
from tomolearn._core.tensors import now
from tomolearn.benchmarks.rivals import odl_torch
from tomolearn.benchmarks.timing import Timing, race, with_ratios
from tomolearn.geometry import Grid, ParallelBeam
from tomolearn.geometry.scan import Scan
from tomolearn.methods.checks import check_ray_transform
from tomolearn.models import (
    InvertiblePrimalDual,
    LearnedPrimalDual,
    ReconstructionModel,
    StochasticPrimalDual,
)
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.tasks import Task, get_task

_RIVAL = "odl torch"
_INVERTIBLE = (5, 20)  # iterations
_BLOCK = 32  # voxels
# two iterations of the network lpd-cone: with checkpoints each further one adds its images only
_CONE: Mapping[str, Any] = MappingProxyType(
    {"iterations": 2, "n_dual": 3, "dual_channels": 16, "start": "fbp", "ndim": 3}
)
_SUBSETS = 5  # of the views, in stochastic learned primal-dual
# what of a network is no argument of its class
_HOW = ("checkpoint_activations", "only_iteration", "block_size")


@dataclass(frozen=True)
class Recipe:
    """How a network is computed: convolutions in bfloat16 or not, blocks compiled or not."""

    autocast: bool = False
    compiled: bool = False


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {"float32": Recipe(), "bfloat16 compiled": Recipe(autocast=True, compiled=True)}
)
"""The recipes that are measured, by name; ratios are to ODL's layer in the first."""


class _Watched(LinearOperator):
    """An operator that adds up how often, and for how long, it and its transpose compute."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(operator.domain_shape, operator.range_shape)
        self._operator = operator
        self.calls, self.seconds = 0, 0.0

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        return self._operator.norm(tolerance=tolerance, max_iterations=max_iterations)

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self._watch(self._operator._evaluate, x)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._watch(self._operator._evaluate_adjoint, y)

    def _watch(
        self, compute: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
    ) -> torch.Tensor:
        start = now(x.device)
        values = compute(x)
        self.seconds += now(x.device) - start
        self.calls += 1
        return values


class _Trainer:
    """A network of its own, started from given weights, and its optimiser."""

    def __init__(
        self,
        model: ReconstructionModel,
        recipe: Recipe,
        operator: LinearOperator,
        device: torch.device,
    ) -> None:
        self.model = copy.deepcopy(model).to(device).train()
        self.recipe, self.operator, self.device = recipe, operator, device
        if recipe.compiled:
            self.model.compile_blocks()
        # the settings with which Adler and Öktem trained
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, betas=(0.9, 0.99))

    def step(self, sinogram: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Take an optimiser step on the mean squared error; return that error."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.autocast):
            loss = (self.model(sinogram, self.operator) - image).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()


def measure_training(
    *,
    task: Task | None = None,
    model: ReconstructionModel | None = None,
    batch: int = 5,
    rounds: int = 5,
    device: str = "cpu",
    rivals: bool = True,
    recipes: Mapping[str, Recipe] | None = None,
) -> Iterator[Timing]:
    """Measure optimiser steps with our operator and with ODL's torch layer in the same network.

    A step is a forward and a backward pass, clipping of the gradient, and Adam; all contenders
    start from the same weights and take turns. The batch is drawn beforehand and used at every
    step. What else a training does (averaging of weights, validation, logs) is not in it. ODL's
    layer is there on a CPU only; compiled blocks need a C++ compiler, or a GPU.

    By default on "ellipses", with scan and network (learned primal-dual) of Adler and Öktem
    (arXiv:1707.06474). All ratios are to ODL's layer in the first recipe, so that the effects of
    operator and precision can be told apart. Then, for our operator, the share of the step in which
    it computes rays, forward and backward; what automatic differentiation and the scaling by the
    norm add to that is not in it.
    """
    where = torch.device(device)
    task = get_task("ellipses") if task is None else task
    recipes = RECIPES if recipes is None else recipes
    if model is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = LearnedPrimalDual()
    sinogram, image = training_batch(task, batch, where)
    ours = check_ray_transform(task.operator())
    backend = ours.backend_on(where).name
    operators: dict[str, LinearOperator] = {backend: ours}
    if rivals and where.type == "cpu":
        operators[_RIVAL] = odl_torch(ours.grid, ours.scan)
    trainers = {
        f"{name}, {recipe}": _Trainer(model, recipes[recipe], operator, where)
        for recipe in recipes
        for name, operator in operators.items()
    }
    steps = {name: partial(trainer.step, sinogram, image) for name, trainer in trainers.items()}
    seconds = race(steps, rounds, where)
    reference = f"{_RIVAL}, {next(iter(recipes))}"
    yield from with_ratios(task.name, batch, "training step", seconds, reference)
    for recipe in recipes:
        name = f"{backend}, {recipe}"
        share = _share_of_rays(trainers[name], ours, sinogram, image, rounds)
        what = "training step, share of the ray transforms"
        yield Timing(task.name, batch, what, name, 100.0 * share, "%", None)


def training_batch(
    task: Task, size: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sinograms and images of a task's first training pairs."""
    pairs = task.pairs("train", size=size)
    sinogram, image = torch.utils.data.default_collate([pairs[index] for index in range(size)])
    return sinogram.to(device), image.to(device)


def _share_of_rays(
    trainer: _Trainer,
    operator: LinearOperator,
    sinogram: torch.Tensor,
    image: torch.Tensor,
    rounds: int,
) -> float:
    """Return the median share of a step that is spent in projections and back-projections."""
    watched = _Watched(operator)
    trainer.operator = watched
    trainer.step(sinogram, image)
    shares = []
    for _ in range(rounds):
        watched.seconds, start = 0.0, now(sinogram.device)
        trainer.step(sinogram, image)
        shares.append(watched.seconds / (now(sinogram.device) - start))
    return float(np.median(shares))


def measure_training_memory(
    *,
    grid: Grid | None = None,
    scan: ParallelBeam | None = None,
    model: ReconstructionModel | None = None,
    batch: int = 1,
    device: str = "cpu",
) -> Iterator[Timing]:
    """Measure the peak memory of an optimiser step, without and with checkpoints of activations.

    Each figure, in MiB, is from a fresh process: what it held at most during its first step, less
    what it held before, when it had all that is loaded and made but once (the libraries, the
    operator, the network, a first reconstruction). On a GPU it is the memory of torch's tensors
    there. With each comes the time of the next step: on a CPU processor time, which says as much
    on a machine that others use. Default: 512 x 512 pixels, a parallel beam of 360 views that
    covers them, and learned primal-dual in float32; also its last iteration in greedy training,
    the stochastic one with 5 subsets of the views, and the invertible one with 5 and with 20
    iterations.
    """
    grid = Grid((512, 512)) if grid is None else grid
    scan = ParallelBeam.covering(grid, 360) if scan is None else scan
    saving = LearnedPrimalDual() if model is None else copy.deepcopy(model)
    saving.checkpoint_activations = True
    every = copy.deepcopy(saving)
    every.checkpoint_activations = False
    models: dict[str, ReconstructionModel] = {
        "all activations": every,
        "one iteration's activations": saving,
    }
    if model is None:
        greedy = copy.deepcopy(every)
        greedy.only_iteration = (greedy.own_weights or 1) - 1
        models["greedy, last iteration"] = greedy
        models[f"stochastic, {_SUBSETS} subsets"] = StochasticPrimalDual(
            iterations=10, subsets=_SUBSETS
        )
        models |= {
            f"invertible, {n} iterations": InvertiblePrimalDual(iterations=n) for n in _INVERTIBLE
        }
    return cost_of_steps(grid, scan, models, batch, device)


def measure_volume_memory(
    *, task: Task | None = None, model: ReconstructionModel | None = None, device: str = "cpu"
) -> Iterator[Timing]:
    """Measure memory and time of a network of space, as a whole and divided into blocks.

    As `measure_training_memory`, with checkpoints of activations in the steps. Default: the task
    "cone-ellipsoids-128", two iterations of learned primal-dual with 32 channels, in float32, and
    blocks of 32 voxels.
    """
    task = get_task("cone-ellipsoids-128") if task is None else task
    whole = LearnedPrimalDual(**_CONE) if model is None else copy.deepcopy(model)
    whole.checkpoint_activations = True
    divided = copy.deepcopy(whole).divide_domain(_BLOCK)
    models = {"whole": whole, f"blocks of {_BLOCK} voxels": divided}
    scan = task.scan
    if scan is None:
        raise TomolearnError("task: expected one with a scan, got none")
    for what in ("reconstruction", "training step"):
        yield from cost_of_steps(task.grid, scan, models, 1, device, what=what)


def memory_of_steps(
    grid: Grid,
    scan: Scan,
    models: Mapping[str, ReconstructionModel],
    batch: int,
    device: str,
) -> Iterator[Timing]:
    """Measure the peak memory of one step of each network, whose weights are drawn anew, in MiB."""
    found = cost_of_steps(grid, scan, models, batch, device)
    return (one for one in found if one.unit == "MiB")


def cost_of_steps(
    grid: Grid,
    scan: Scan,
    models: Mapping[str, ReconstructionModel],
    batch: int,
    device: str,
    *,
    what: str = "training step",
) -> Iterator[Timing]:
    """Measure memory and time of a step of each network; see `measure_training_memory`.

    Or those of a "reconstruction" instead of a "training step".
    """
    if torch.device(device).type == "cpu":
        resident_bytes("VmHWM")
    kind = "parallel" if scan.is_parallel else "fan" if scan.ndim == 2 else "cone"
    case = f"{kind} {grid.shape[0]}, {scan.n_angles} angles"
    context = multiprocessing.get_context("spawn")

    clock = "processor time" if torch.device(device).type == "cpu" else "time"

    def measure(name: str, model: ReconstructionModel) -> Iterator[Timing]:
        how = {key: getattr(model, key) for key in _HOW}
        settings = (type(model), dict(model.arguments), how)
        # a new process for each: what one has once held, its allocator may keep
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            size, seconds = pool.submit(
                _cost_of_a_step,
                *(grid, scan, *settings, what, batch, device, torch.get_num_threads()),
            ).result()
        yield Timing(case, batch, f"{what}, peak memory", name, size / 2**20, "MiB", None)
        yield Timing(case, batch, f"{what}, {clock}", name, 1e3 * seconds, "ms", None)

    return (timing for name, model in models.items() for timing in measure(name, model))


def _cost_of_a_step(
    grid: Grid,
    scan: Scan,
    network: type[ReconstructionModel],
    arguments: Mapping[str, Any],
    how: Mapping[str, Any],
    what: str,
    batch: int,
    device: str,
    threads: int,
) -> tuple[int, float]:
    """Return what a step takes: bytes on top of what this new process holds anyway, and seconds."""
    torch.set_num_threads(threads)
    where = torch.device(device)
    operator = RayTransform(grid, scan)
    image = torch.rand(batch, 1, *grid.shape, generator=torch.Generator().manual_seed(0)).to(where)
    sinogram = operator(image)
    # made here: torch would send weights in memory that both processes share
    model = network(**arguments)
    for name, value in how.items():
        setattr(model, name, value)
    if model.block_size is not None:
        model.divide_domain(model.block_size)
    trainer = _Trainer(model, Recipe(), operator, where)

    def run() -> None:
        if what == "training step":
            trainer.step(sinogram, image)
        else:
            with torch.no_grad():
                trainer.model(sinogram, operator)

    if what == "training step":
        with torch.no_grad():
            trainer.model(sinogram, operator)
    else:
        operator.norm()
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
        before = torch.cuda.memory_allocated(where)
        run()
        size = torch.cuda.max_memory_allocated(where) - before
        start = now(where)
        run()
        return size, now(where) - start
    before = resident_bytes("VmRSS")
    run()
    size = resident_bytes("VmHWM") - before
    start = time.process_time()
    run()
    return size, time.process_time() - start
