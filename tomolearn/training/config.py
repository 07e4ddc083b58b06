"""What a training run is told: a file, overrides of it, and checks of both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
from torch.nn.modules.batchnorm import _BatchNorm

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.modules import built
from tomolearn._core.reading import parse_json, parse_toml, read_json, read_text
from tomolearn._core.tables import Origin, Table, absolute, find_object
from tomolearn.metrics import METRICS
from tomolearn.models import MODELS, ReconstructionModel
from tomolearn.priors import PRIORS, Denoiser, Prior, Regulariser
from tomolearn.tasks import TASKS, Task, get_task
from tomolearn.tasks.folder import TASK_FILE, is_folder_task
from tomolearn.training.objectives import OBJECTIVES, Network, Objective, make_objective

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]

_STANDARD = ("psnr", "ssim", "objective")
_BEST = {"psnr": "largest", "ssim": "largest", "rmse": "smallest", "objective": "smallest"}


def _network_class(spec: str) -> type[Network]:
    if spec in PRIORS and spec not in MODELS:
        kind: Any = PRIORS.find(spec)
    else:
        kind = find_object("model", spec) if ":" in spec else MODELS.find(spec)
    if not (
        isinstance(kind, type) and issubclass(kind, (ReconstructionModel, Denoiser, Regulariser))
    ):
        raise TomolearnError(
            f"model: expected a class of ReconstructionModel, Denoiser or Regulariser, got {kind!r}"
        )
    return kind


def _model(value: Any) -> str:
    if isinstance(value, str):
        return absolute(value)
    is_prior = isinstance(value, type) and issubclass(value, Prior)
    return PRIORS.spec_of(value) if is_prior else MODELS.spec_of(value)


def _task(value: Any) -> str | Task:
    if isinstance(value, Task):
        return value
    if not isinstance(value, str):
        raise TomolearnTypeError(f"task: expected a name or a Task, got {type(value).__name__}")
    return absolute(value)


def _spec(table: Table[Any]) -> BeforeValidator:
    """Read what is given by its name, by where it stands, or as the thing itself."""
    return BeforeValidator(lambda v: absolute(v) if isinstance(v, str) else table.spec_of(v))


class TrainingConfig(BaseModel):
    """Everything that a training run depends on.

    Defaults are those of Adler and Öktem (arXiv:1707.06474) where they state them: batches of 5,
    Adam with betas (0.9, 0.99), a learning rate that falls from 1e-3 to zero along a cosine,
    gradients clipped at norm 1.

    Parameters
    ----------
    model, model_arguments : str or type, and dict
        Network: a name in `models.MODELS`, a prior's in `priors.PRIORS`, a user's own as
        ``path/to/file.py:Net`` or ``module:Net``, or the class itself; and its constructor's.
    task : str or Task
        Task, as for `tasks.get_task`, or the task itself.
    initial_weights : str, optional
        Weights of the same network to begin with, by name or path, as `tomolearn.load` takes them.
        Arguments on which no weight's shape depends, such as a tolerance, may be others. Default:
        drawn at random.
    image_scale : float, optional
        What image values are multiplied by for the network; it is saved with its weights. Default:
        that of the initial weights, or 1.
    objective, objective_arguments : str or Objective, and dict
        What is made small: "supervised", the mean squared error of reconstructions; "denoising",
        that of images with noise added, cleaned by the network's denoiser; a user's own as
        ``path/to/file.py:Name`` or ``module:Name``; or the objective itself. And the settings of
        one given by name, such as `Denoising`'s `noise_levels`.
    steps : int, optional
        Length of the run in optimiser steps.
    max_time : timedelta, optional
        Length of the run in time, over all its parts if it is resumed. Seconds, or text such as
        "90m", "1h30m" or "2d". With both, whichever ends first; the schedule follows it.
    batch_size : int
        Pairs per step and process.
    train_size : int, optional
        Use the first of the task's training pairs only. Default: all.
    data : path, optional
        Where the task's data lie, see `Task.pairs`; or a file of training pairs only, as
        `data.store_pairs` writes it. Default: pairs are drawn on the fly.
    validation : path, optional
        File of validation pairs. Default: those of `data`, or drawn ones.
    workers : int
        Processes per training process that draw data. 0: the training process itself.
    optimizer : {"adam", "adamw", "muon"}
        Rule of the steps; see `training.muon.Muon` for the last.
    learning_rate, weight_decay, betas : float and (float, float)
        Its parameters; `betas` are the decay of its moments.
    final_learning_rate : float
        What the learning rate falls to. Default: zero.
    vector_learning_rate : float, optional
        Learning rate of what is no kernel or matrix: biases, slopes, logarithms of weights.
        Default: `learning_rate`; 1e-3 under "muon".
    warmup_steps : int
        Steps in which the learning rate rises linearly from zero.
    gradient_clip : float, optional
        Largest norm of all gradients together; null: no limit.
    ema_decay : float, optional
        Decay per step of the averaged weights, which are the ones that are validated and kept;
        null: no averaging.
    precision : {"32-true", "bf16-mixed", "16-mixed", "64-true", "auto"}
        As Lightning names it; "auto" is bfloat16 where the machine has instructions for it, and
        float32 elsewhere. The ray transform always runs in float32 or better.
    compile : bool
        Whether to compile the convolutional blocks; needs a C++ compiler or a GPU.
    checkpoint_activations : bool
        Whether to save memory by computing activations twice.
    seed : int
        Of the weights, and of the order of the training pairs where they are finitely many.
    validation_every, validation_size : int
        Steps between validations, and the number of validation pairs.
    metric : str
        By which validations are compared: "psnr" or "ssim" in the task's convention, "objective",
        the loss itself, a name in `metrics.METRICS`, or a user's own as ``path/to/file.py:name``
        or ``module:name``.
    best_is : {"largest", "smallest"}, optional
        Which value of the metric is best. Default: known of ours.
    keep : {"best", "last"}
        Which weights become the result: those of the best validation, or the last.
    checkpoint_minutes, log_every : float and int
        Minutes between checkpoints, and steps between entries of the log.
    accelerator : {"auto", "cpu", "gpu"}
        Where to train; "auto" is a GPU that torch sees, or else the CPU.
    devices, num_nodes : int
        Processes per node, and nodes, of distributed data-parallel training.
    threads : int, optional
        Threads per process on a CPU. Default: torch's number of threads divided by `devices`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: Annotated[str, BeforeValidator(_model)]
    task: Annotated[str | Task, PlainValidator(_task)]
    model_arguments: dict[str, Any] = {}
    initial_weights: str | None = None
    image_scale: Positive | None = None
    objective: Annotated[str, _spec(OBJECTIVES)] = "supervised"
    objective_arguments: dict[str, Any] = {}
    steps: Count | None = None
    max_time: timedelta | None = None
    batch_size: Count = 5
    train_size: Count | None = None
    data: Path | None = None
    validation: Path | None = None
    workers: Annotated[int, Field(ge=0)] = 0
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: Positive = 1e-3
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    vector_learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    gradient_clip: Positive | None = 1.0
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = 0.999
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true", "auto"] = "32-true"
    compile: bool = False
    checkpoint_activations: bool = False
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    validation_every: Count = 1000
    validation_size: Count = 32
    metric: Annotated[str, _spec(METRICS)] = "psnr"
    best_is: Literal["largest", "smallest"] | None = None
    keep: Literal["best", "last"] = "best"
    checkpoint_minutes: Positive = 10.0
    log_every: Count = 50
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Count = 1
    num_nodes: Count = 1
    threads: Count | None = None

    @field_validator("max_time", mode="before")
    @classmethod
    def _read_time(cls, value: Any) -> Any:
        return _time(value) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _settings_of_objective(cls, values: Any) -> Any:
        """Divide an objective that is a value into what finds it and its settings."""
        if isinstance(values, dict) and isinstance(values.get("objective"), Objective):
            objective: Any = values["objective"]
            arguments = {"objective_arguments": asdict(objective)}
            return {**values, "objective": type(objective), **arguments}
        return values

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        self.find_task()
        objective = self.make_objective()
        with torch.random.fork_rng(devices=[]):  # weights that nobody will see
            objective.check(self.make_network())
        if self.image_scale is not None and not self.reconstructs:
            raise TomolearnError(
                "image_scale: expected for networks that reconstruct, got "
                f"{self.image_scale:g} for {self.model}"
            )
        if self.processes > 1 and not objective.uses_all_weights:
            raise TomolearnError(
                f"devices: expected one process for {self.objective}, got {self.processes}"
            )
        if self.final_learning_rate > self.learning_rate:
            raise TomolearnError(
                f"final_learning_rate: expected at most learning_rate = {self.learning_rate}, "
                f"got {self.final_learning_rate}"
            )
        if self.metric != "objective" and not objective.makes_images:
            raise TomolearnError(
                f"metric: expected objective, since {self.objective} makes no images, got "
                f"{self.metric}"
            )
        if self.metric not in _STANDARD:
            METRICS.find(self.metric)
            if self.metric not in _BEST and self.best_is is None and self.keep == "best":
                raise TomolearnError(
                    f"best_is: expected largest or smallest, whichever {self.metric} has for the "
                    "best images, got none"
                )
        if objective.has_stages and self.keep != "last":
            raise TomolearnError(
                f"keep: expected last, since {self.objective} trains one part of the network after "
                f"the other, got {self.keep}"
            )
        if self.steps is None and self.max_time is None:
            raise TomolearnError("steps, max_time: expected at least one of the two, got neither")
        if self.max_time is not None and self.max_time <= timedelta(0):
            raise TomolearnError(f"max_time: expected a positive time, got {self.max_time}")
        return self

    @field_serializer("task")
    def _written_task(self, task: str | Task) -> Any:
        if isinstance(task, str):
            return task
        return TASK_FILE if is_folder_task(task) else task.to_dict()

    def find_task(self) -> Task:
        """Return the task."""
        return self.task if isinstance(self.task, Task) else get_task(self.task)

    def make_network(self) -> Network:
        """Return the network with fresh weights."""
        network: Network = built(self.model, _network_class(self.model), self.model_arguments)
        return network

    @property
    def reconstructs(self) -> bool:
        """Whether the network is a reconstruction, and no prior."""
        return issubclass(_network_class(self.model), ReconstructionModel)

    @property
    def processes(self) -> int:
        """Number of processes of all nodes."""
        return self.devices * self.num_nodes

    def has_batch_norm(self) -> bool:
        """Return whether what the network makes of a pair depends on the others of its process."""
        with torch.random.fork_rng(devices=[]):
            return any(isinstance(m, _BatchNorm) for m in self.make_network().modules())

    def make_objective(self) -> Objective:
        """Return the objective with its settings."""
        return make_objective(self.objective, self.objective_arguments)

    @property
    def smallest_is_best(self) -> bool:
        """Whether validations are better the smaller the metric is."""
        return (self.best_is or _BEST.get(self.metric)) == "smallest"

    def origins(self) -> dict[str, Origin]:
        """Return where network, task, objective and metric come from, if that is not tomolearn."""
        model: Table[Any] = PRIORS if self.model in PRIORS else MODELS
        tables = {"model": model, "task": TASKS, "objective": OBJECTIVES, "metric": METRICS}
        specs = {name: getattr(self, name) for name in tables}
        found = {
            name: tables[name].origin(spec)
            for name, spec in specs.items()
            if isinstance(spec, str) and (spec in tables[name] or ":" in spec)
        }
        return {name: origin for name, origin in found.items() if origin.sha256 is not None}


# What may differ between a run and its continuation: not what is learned, but for how long, where
# and how it is watched. Processes may be traded for pairs per process, unless batch normalisation
# tells them apart. Data are compared by what they are, see `folder`, not by their path.
_FREE = (
    "steps",
    "max_time",
    "validation_every",
    "checkpoint_minutes",
    "log_every",
    "accelerator",
    "threads",
    "workers",
    "compile",
    "checkpoint_activations",
    "metric",
    "best_is",
    "validation",
    "data",
    "keep",
    "initial_weights",
    "batch_size",
    "devices",
    "num_nodes",
)


def changes_of_learning(before: TrainingConfig, after: TrainingConfig) -> list[str]:
    """Return in words what a continuation would learn otherwise than the run before it."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    changes = [
        f"{name} {old[name]!r} -> {value!r}"
        for name, value in new.items()
        if name not in _FREE and old[name] != value
    ]
    pairs = [c.batch_size * c.processes for c in (before, after)]
    if pairs[0] != pairs[1]:
        changes.append(f"pairs per step, of all processes, {pairs[0]} -> {pairs[1]}")
    elif before.processes != after.processes and after.has_batch_norm():
        numbers = f"{before.processes} -> {after.processes}"
        changes.append(f"processes, each of which has its own batch normalisation, {numbers}")
    return changes


def read_config(path: Path) -> dict[str, Any]:
    """Read the settings of a TOML or JSON file, unchecked."""
    values = read_json(path) if path.suffix == ".json" else parse_toml(path, read_text(path))
    if not isinstance(values, dict):
        raise TomolearnError(f"{path}: expected a table of settings, got {type(values).__name__}")
    return _renamed(values)


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings of version 0.1 by their names of today, and without what it ignored."""
    if "noise_levels" in values and values.get("optimizer") != "muon":
        values.pop("vector_learning_rate", None)
    levels = values.pop("noise_levels", None)
    if values.get("objective") == "reconstruction":
        values["objective"] = "supervised"
    if levels is not None and values.get("objective") == "denoising":
        values["objective_arguments"] = {"noise_levels": levels}
    return values


_NESTED = ("model_arguments", "objective_arguments")


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> TrainingConfig:
    """Return checked settings.

    An override is "name=value"; the value is JSON, or text if it is none. A dot reaches into the
    arguments of network or objective: "model_arguments.iterations=5".
    """
    merged, known = dict(values), tuple(TrainingConfig.model_fields)
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise TomolearnError(f"override: expected name=value, got {override!r}")
        value: Any = text
        try:
            value = parse_json(name.strip(), text)
        except TomolearnError:
            if text.lstrip()[:1] in ("[", "{"):
                raise
        name, dot, argument = name.strip().partition(".")
        check_known("override", name, known)
        if dot:
            before = merged.get(name, {})
            if name not in _NESTED or not isinstance(before, Mapping):
                expected = " or ".join(f"{nested}.NAME=value" for nested in _NESTED)
                raise TomolearnError(f"override: expected {expected}, got {override!r}")
            merged[name] = {**before, argument: value}
        else:
            merged[name] = value
    for name in merged:
        check_known("setting", name, known)
    try:
        return TrainingConfig(**merged)
    except ValidationError as error:
        raise TomolearnError("; ".join(map(_sentence, error.errors()))) from error


def _sentence(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    name = ".".join(map(str, problem["loc"]))
    return f"{name}: {message}, got {problem['input']!r:.200}" if name else message


_TIME = re.compile(
    r"(?:(?P<days>\d+)d)?(?:(?P<hours>[\d.]+)h)?(?:(?P<minutes>[\d.]+)m)?(?:(?P<seconds>[\d.]+)s?)?"
)


def _time(text: str) -> Any:
    """Return a time from "1h30m" or "90"; other text, such as ISO 8601, as it is."""
    match = _TIME.fullmatch(text.replace(" ", "").replace("min", "m").lower())
    if match is None or not any(match.groups()):
        return text
    try:
        return timedelta(**{unit: float(n) for unit, n in match.groupdict().items() if n})
    except ValueError:  # two points in a number
        return text
