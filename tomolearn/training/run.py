"""One training run, from its settings to weights that can be loaded."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from safetensors.torch import save_file

from tomolearn.models import ReconstructionModel
from tomolearn.tasks import get_task
from tomolearn.training.callbacks import KeepBest, SampleImages, TimeBudget
from tomolearn.training.config import RESUMABLE, TrainingConfig
from tomolearn.training.data import PairsModule
from tomolearn.training.module import NonFiniteError, ReconstructionModule
from tomolearn.training.weights import save

__all__ = ["TrainingResult", "is_first_process", "train"]

CHECKPOINT = "last.ckpt"
CONFIG = "config.json"
COMMANDS = "commands.txt"


@dataclass(frozen=True)
class TrainingResult:
    """What a training left.

    Parameters
    ----------
    model : ReconstructionModel
        The network with its final weights.
    weights : Path
        JSON file that `tomolearn.load` takes.
    steps : int
        Number of optimiser steps.
    hours : float
        Training time, over all parts of a resumed run.
    val_psnr : float
        PSNR of the weights in dB, on the validation pairs.
    """

    model: ReconstructionModel
    weights: Path
    steps: int
    hours: float
    val_psnr: float


def train(
    config: TrainingConfig,
    directory: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = False,
    command: str | None = None,
) -> TrainingResult:
    """Train a network.

    Parameters
    ----------
    config : TrainingConfig
        The run's settings.
    directory : path-like
        Folder for settings (``config.json``, ``commands.txt``), logs (``csv/``, ``tensorboard/``),
        the checkpoint ``last.ckpt``, and in the end ``weights.safetensors`` and ``weights.json``.
    resume : bool
        Continue the run in `directory` from its last checkpoint, or from the start if it has none
        yet. What is learned from what must be unchanged; the length may differ.
    progress : bool
        Show a progress bar.
    command : str, optional
        How to repeat the run; for the model card.

    Returns
    -------
    TrainingResult

    Raises
    ------
    FileExistsError
        If `directory` has a run and `resume` is not set.
    FileNotFoundError
        If `resume` is set and `directory` has no run.
    ValueError
        If the run to be resumed has other settings.
    NonFiniteError
        If loss or gradient are not finite. The weights before that step are kept in
        ``weights-before-failure``, the batch in ``failed-batch.safetensors``.
    """
    directory = Path(directory)
    # a further process of a distributed run finds what the first one has made
    if is_first_process():
        _prepare(config, directory, resume, command)
    if config.accelerator != "gpu":
        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // config.devices))
    checkpoint = directory / CHECKPOINT
    with _quiet():
        lightning.seed_everything(config.seed, workers=True, verbose=False)
        module, data = ReconstructionModule(config), PairsModule(config)
        budget, best = TimeBudget(config.max_time), KeepBest()
        trainer = _trainer(config, directory, [budget, best], progress)
        try:
            trainer.fit(
                module,
                data,
                ckpt_path=str(checkpoint) if resume and checkpoint.exists() else None,
                weights_only=True,
            )
        except NonFiniteError as error:
            raise _failure(error, config, module, trainer, directory) from error
        trainer.save_checkpoint(checkpoint)
        return _finish(config, module, trainer, budget, best, directory)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says about choices made on purpose, and about its own code."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for about in ("does not have many workers", "Checkpoint directory", "LeafSpec"):
                warnings.filterwarnings("ignore", message=f".*{about}.*")
            yield
    finally:
        logger.setLevel(level)


def _prepare(config: TrainingConfig, directory: Path, resume: bool, command: str | None) -> None:
    path = directory / CONFIG
    if not resume:
        if path.exists():
            raise FileExistsError(
                f"{directory}: there is a run already; --resume continues it, or choose another"
            )
        directory.mkdir(parents=True, exist_ok=True)
    else:
        if not path.exists():
            raise FileNotFoundError(f"{directory}: there is no run to resume, {CONFIG} is missing")
        before = json.loads(path.read_text(encoding="utf-8"))
        after = config.model_dump(mode="json")
        changed = [
            f"{name} {before.get(name)!r} -> {value!r}"
            for name, value in after.items()
            if name not in RESUMABLE and before.get(name) != value
        ]
        if changed:
            raise ValueError(
                f"{directory}: expected the settings of the run that is resumed, "
                f"got {', '.join(changed)}"
            )
    path.write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    with (directory / COMMANDS).open("a", encoding="utf-8") as stream:
        stream.write(f"{command or 'tomolearn.training.run.train(...)'}\n")


def _trainer(
    config: TrainingConfig, directory: Path, callbacks: list[Any], progress: bool
) -> lightning.Trainer:
    processes = config.devices * config.num_nodes
    # a continued run gets a log of its own: the file of the part before is not touched
    part = len(list((directory / "csv").glob("part-*")))
    checkpoints = ModelCheckpoint(
        dirpath=directory,
        filename=Path(CHECKPOINT).stem,
        train_time_interval=timedelta(minutes=config.checkpoint_minutes),
        enable_version_counter=False,
    )
    return lightning.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy="ddp" if processes > 1 else "auto",
        precision=config.precision,
        # one epoch without end: steps and time are what is counted
        max_epochs=-1,
        max_steps=-1 if config.steps is None else config.steps,
        val_check_interval=config.validation_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=config.log_every,
        use_distributed_sampler=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        logger=[
            CSVLogger(directory, name="csv", version=f"part-{part}", flush_logs_every_n_steps=1),
            TensorBoardLogger(directory, name="tensorboard", version=""),
        ],
        callbacks=[
            *callbacks,
            SampleImages(),
            LearningRateMonitor(logging_interval="step"),
            checkpoints,
            *([RichProgressBar()] if progress else []),
        ],
    )


def _failure(
    error: NonFiniteError,
    config: TrainingConfig,
    module: ReconstructionModule,
    trainer: lightning.Trainer,
    directory: Path,
) -> NonFiniteError:
    """Keep what is needed to find the cause, and name it."""
    rank = f"-{trainer.global_rank}" if trainer.world_size > 1 else ""
    batch = directory / f"failed-batch{rank}.safetensors"
    if module.last_batch is not None:
        sinogram, image = (tensor.detach().cpu().contiguous() for tensor in module.last_batch)
        save_file({"sinogram": sinogram, "image": image}, batch)
    weights = save(
        module.result,
        directory / f"weights-before-failure{rank}",
        task=config.task,
        training={"steps": trainer.global_step},
        overwrite=True,
    )
    return NonFiniteError(
        f"step {trainer.global_step}: {error}. The batch is kept in {batch}, the weights before "
        f"this step in {weights}; a smaller learning_rate or gradient_clip, or precision 32-true, "
        "may help"
    )


def _finish(
    config: TrainingConfig,
    module: ReconstructionModule,
    trainer: lightning.Trainer,
    budget: TimeBudget,
    best: KeepBest,
    directory: Path,
) -> TrainingResult:
    model = module.result.eval().requires_grad_(True).cpu()
    # the weights at the end, whether or not a validation fell on the last step
    found = trainer.validate(module, trainer.datamodule, verbose=False)[0]["val_psnr"]  # type: ignore[attr-defined]
    model.cpu()
    step = trainer.global_step
    if config.keep == "best" and best.weights and best.psnr > found:
        model.load_state_dict(best.weights)
        found, step = best.psnr, best.step
    hours = budget.seconds / 3600
    training = {
        "command": (directory / COMMANDS).read_text(encoding="utf-8").strip(),
        "data": _data(config),
        "steps": trainer.global_step,
        "weights_of_step": step,
        "pairs_per_step": config.batch_size * trainer.world_size,
        "seed": config.seed,
        "hours": round(hours, 3),
        "hardware": _hardware(trainer),
        "settings": config.model_dump(mode="json"),
    }
    path = directory / "weights.json"
    if trainer.is_global_zero:
        save(
            model,
            directory / "weights",
            task=config.task,
            grid=module.task.grid,
            scan=module.task.scan,
            metrics={"validation_psnr": round(found, 3)},
            training=training,
            about={"description": f"{config.model}, trained on {module.task.description}"},
            overwrite=True,
        )
    return TrainingResult(model, path, trainer.global_step, hours, found)


def _data(config: TrainingConfig) -> str:
    task = get_task(config.task)
    split = task.splits["train"]
    if config.data is not None:
        return f"pairs from {config.data.name}"
    size = config.train_size or split.size
    number = "new ones at each step" if size is None else f"{size} of them"
    noise = "no noise" if task.noise is None else f"noise {task.noise}"
    return f"{split.source}, {number}; {noise}; data seed {split.seed}"


def is_first_process() -> bool:
    """Return whether this is the process of a distributed run that writes its results."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))


def _hardware(trainer: lightning.Trainer) -> str:
    if trainer.strategy.root_device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name()}"
    cpu = platform.processor() or platform.machine()
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    threads = torch.get_num_threads()
    return f"{trainer.world_size} process(es) of {threads} thread(s), {cpu}"
