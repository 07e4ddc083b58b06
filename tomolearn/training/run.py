"""One training run, from its settings to weights that can be loaded."""

from __future__ import annotations

import errno
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import safetensors.torch
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.seed import isolate_rng

from tomolearn._core.errors import DivergenceError, TomolearnError
from tomolearn._core.files import write_bytes
from tomolearn._core.signals import (
    TERMINATED,
    interrupts_as_termination,
    terminated_by_others,
)
from tomolearn._core.tables import short_name
from tomolearn.training.callbacks import KeepBest, SampleImages, TimeBudget
from tomolearn.training.checkpointing import CompleteFiles, SaveRegularly
from tomolearn.training.config import TrainingConfig
from tomolearn.training.data import PairsModule
from tomolearn.training.folder import CHECKPOINT, check_folder, enter_run, only_run, record
from tomolearn.training.hardware import precision_here
from tomolearn.training.image_values import values_of_images, warn_of_initial_weights
from tomolearn.training.module import NonFiniteError, ReconstructionModule
from tomolearn.training.objectives import Network
from tomolearn.training.weights import save

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class TrainingResult:
    """What a training left.

    The network with its final weights, the JSON file that `tomolearn.load` takes, the number of
    optimiser steps, the time over all parts of a resumed run, the metric of the settings on the
    validation pairs (PSNR in dB, if they name no other), and whether this process of a distributed
    run is the one that writes its results.
    """

    model: Network
    weights: Path
    steps: int
    hours: float
    validation: float
    is_first: bool


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
        yet, or one that is damaged, which is warned of. What is learned from what must be
        unchanged; the length may differ.
    progress : bool
        Show a progress bar.
    command : str, optional
        How to repeat the run; for the model card.

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        If `directory` has a run that is not to be resumed, none, or one with other settings.
    BlockingIOError
        If another run is at work there.
    NonFiniteError
        If batch, loss or gradient are not finite. The weights before that step are kept in
        ``weights-before-failure``, the batch in ``failed-batch.safetensors``.
    SystemExit
        With code 143 if the process was told to end (SIGTERM), after a checkpoint was written.
    KeyboardInterrupt
        After Ctrl-C, likewise; a second one does not wait for the checkpoint.
    """
    directory, given = Path(directory), config
    if config.accelerator == "auto":
        found = "gpu" if torch.cuda.is_available() else "cpu"
        config = config.model_copy(update={"accelerator": found})
    if config.processes > 1 and config.accelerator == "cpu" and config.has_batch_norm():
        warnings.warn(
            f"devices: {config.processes} processes have a batch normalisation each, of "
            f"{config.batch_size} pairs; one process would take them together",
            UserWarning,
            stacklevel=2,
        )
    # a further process of a distributed run finds what the first one has made
    if os.environ.get("LOCAL_RANK", "0") == "0":
        check_folder(config, directory, resume=resume)
    checkpoint = directory / CHECKPOINT
    continues = resume and checkpoint.exists() and _is_whole(checkpoint)
    threads = torch.get_num_threads()
    try:
        if config.accelerator == "cpu":
            torch.set_num_threads(config.threads or max(1, threads // config.devices))
        with _quiet(), _own_generators(config.seed), ExitStack() as held:
            begin = config.model_copy(update={"initial_weights": None}) if continues else config
            module = ReconstructionModule(begin)
            data = PairsModule(config)
            warn_of_initial_weights(begin, module.task, data.validation)
            name = "val_psnr" if config.metric == "psnr" else "val_metric"
            best = KeepBest(name, smallest=config.smallest_is_best)
            budget = TimeBudget(config.max_time)
            trainer = _trainer(config, directory, [budget, best], progress)
            # all that can be wrong with the settings has been found by now
            if trainer.is_global_zero:
                held.enter_context(only_run(directory))
                if not resume:
                    check_folder(config, directory, resume=False)
                # what another machine may continue: not what was found on this one
                enter_run(given, directory, command)
            forwarded = not trainer.is_global_zero
            with (
                terminated_by_others(),
                interrupts_as_termination(forwarded=forwarded) as interrupts,
            ):
                try:
                    trainer.fit(
                        module, data, ckpt_path=checkpoint if continues else None, weights_only=True
                    )
                    trainer.save_checkpoint(checkpoint)
                    return _finish(config, module, trainer, budget, best, directory, data)
                except (NonFiniteError, DivergenceError) as error:
                    raise _failure(error, config, module, trainer, directory) from error
                except OSError as error:
                    # those who write the logs name no file
                    if error.filename is None and error.errno in _FULL:
                        raise OSError(error.errno, error.strerror, str(directory)) from error
                    raise
                except (SIGTERMException, SystemExit) as error:
                    # Lightning makes an exit of a second Ctrl-C
                    raise (KeyboardInterrupt if interrupts else SystemExit(TERMINATED)) from error
    finally:
        torch.set_num_threads(threads)


def _is_whole(checkpoint: Path) -> bool:
    """Return whether a checkpoint can be read; say it, and set the file aside, where it cannot."""
    try:
        CompleteFiles().load_checkpoint(checkpoint)
    except (TomolearnError, OSError) as error:
        warnings.warn(str(error), stacklevel=3)
        # another process of a distributed run may have been first
        with suppress(FileNotFoundError):
            checkpoint.replace(checkpoint.with_name(f"{checkpoint.name}.damaged"))
        return False
    return True


@contextmanager
def _own_generators(seed: int) -> Iterator[None]:
    """Seed the random numbers of a run, and leave the caller's as they were."""
    names = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")
    before = {name: os.environ.get(name) for name in names}
    with isolate_rng():
        lightning.seed_everything(seed, workers=True, verbose=False)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


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


class _ProgressBar(RichProgressBar):
    """Steps, loss and PSNR."""

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def _get_train_description(self, current_epoch: int) -> str:
        return "training"


def _trainer(
    config: TrainingConfig, directory: Path, callbacks: list[Any], progress: bool
) -> lightning.Trainer:
    processes = config.processes
    precision: Any = precision_here(config.precision, config.accelerator)
    # a continued run gets a log of its own: the file of the part before is not touched
    part = len(list((directory / "csv").glob("part-*")))
    try:
        return lightning.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy="ddp" if processes > 1 else "auto",
            sync_batchnorm=config.accelerator == "gpu" and processes > 1,
            precision=precision,
            plugins=[CompleteFiles(), *([LightningEnvironment()] if processes == 1 else [])],
            # one epoch without end: steps and time are what is counted
            max_epochs=-1,
            max_steps=-1 if config.steps is None else config.steps,
            val_check_interval=config.validation_every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            # regularisers are differentiated in validations, too
            inference_mode=False,
            # short runs have a log, too
            log_every_n_steps=min(config.log_every, config.steps or config.log_every),
            use_distributed_sampler=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=[
                CSVLogger(
                    directory, name="csv", version=f"part-{part}", flush_logs_every_n_steps=1
                ),
                TensorBoardLogger(directory, name="tensorboard", version=""),
            ],
            callbacks=[
                *callbacks,
                *([SampleImages()] if config.make_objective().makes_images else []),
                LearningRateMonitor(logging_interval="step"),
                SaveRegularly(
                    directory / CHECKPOINT, config.checkpoint_minutes, config.validation_every
                ),
                *([_ProgressBar()] if progress else []),
            ],
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise TomolearnError(f"accelerator, devices, num_nodes, precision: {error}") from error


def _failure(
    error: ArithmeticError,
    config: TrainingConfig,
    module: ReconstructionModule,
    trainer: lightning.Trainer,
    directory: Path,
) -> NonFiniteError:
    """Keep what is needed to find the cause, and name it."""
    rank = f"-{trainer.global_rank}" if trainer.world_size > 1 else ""
    batch = directory / f"failed-batch{rank}.safetensors"
    if module.last_batch is not None:
        names = ("sinogram", "image", "labels")
        kept = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in zip(names, module.last_batch, strict=False)
        }
        write_bytes(batch, safetensors.torch.save(kept))
    module.forget_step()
    weights = save(
        module.result,
        directory / f"weights-before-failure{rank}",
        task=module.task.name,
        training={"steps": trainer.global_step},
        overwrite=True,
    )
    return NonFiniteError(
        f"step {trainer.global_step}: {error}. The batch is kept in {batch}, the weights before "
        f"this step in {weights}. A new run may begin with them (initial_weights), with a smaller "
        "learning_rate or gradient_clip, or precision 32-true"
    )


def _finish(
    config: TrainingConfig,
    module: ReconstructionModule,
    trainer: lightning.Trainer,
    budget: TimeBudget,
    best: KeepBest,
    directory: Path,
    data: PairsModule,
) -> TrainingResult:
    # the weights at the end, whether or not a validation fell on the last step
    if best.last != trainer.global_step:
        trainer.validate(module, data, verbose=False)
    found, step = float(trainer.callback_metrics[best.name]), trainer.global_step
    model = module.result.eval().requires_grad_(True).cpu()
    if config.keep == "best" and best.beats(found):
        model.load_state_dict(best.weights)
        found, step = best.best, best.step
    hours = budget.seconds / 3600
    if trainer.is_global_zero:
        training = {
            **record(config, directory, trainer.world_size),
            **values_of_images(module.task, data.validation, getattr(model, "image_scale", 1.0)),
            **module.objective.trained_on(),
            "precision": str(trainer.precision),
            "steps": trainer.global_step,
            "weights_of_step": step,
            "hours": round(hours, 3),
        }
        save(
            model,
            directory / "weights",
            task=module.task.name,
            grid=module.task.grid,
            scan=module.task.scan,
            metrics={f"validation_{short_name(config.metric)}": round(found, 3)},
            training=training,
            about={
                "description": f"{short_name(config.model)}, trained on {module.task.description}"
            },
            overwrite=True,
        )
    return TrainingResult(
        model, directory / "weights.json", trainer.global_step, hours, found, trainer.is_global_zero
    )
