"""What happens at the side of a training: time, best weights, sample images."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import lightning
import torch

if TYPE_CHECKING:
    from tomolearn.training.config import TrainingConfig


class TimeBudget(lightning.Callback):
    """Ends a training after a time, fits the schedule to it, and counts the time over resumptions.

    The limit is for all parts of the run together, the validation at its end included: that takes
    as long as the last one did, or else as the steps on as many pairs. With None the time is only
    counted.
    """

    def __init__(self, limit: timedelta | None) -> None:
        super().__init__()
        self.limit = None if limit is None else limit.total_seconds()
        self._before = 0.0
        self._start: float | None = None
        # seconds so far, of a step and of a validation, as the first process has them
        self._agreed = (0.0, 0.0, 0.0)
        self._step = self._validation = self._validation_start = 0.0

    @property
    def seconds(self) -> float:
        """Training time so far, that of earlier parts included."""
        return self._before + (0.0 if self._start is None else time.monotonic() - self._start)

    def _for_steps(self, limit: float, config: TrainingConfig) -> float:
        """Return the seconds that the validation at the end leaves."""
        _, step, validation = self._agreed
        batches = math.ceil(config.validation_size / config.batch_size)
        return limit - min(validation or batches * step, limit / 2)

    def _agree(self, trainer: Any) -> None:
        """Look at the first process's clock, so that all take steps of one size."""
        self._agreed = (self.seconds, self._step, self._validation)
        if self.limit is not None and trainer.world_size > 1:
            self._agreed = trainer.strategy.broadcast(self._agreed)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock, and let the schedule follow it."""
        self._start = time.monotonic()
        if self.limit is not None:
            limit, by_steps = self.limit, pl_module.learning_progress
            pl_module.learning_progress = lambda module, step: max(
                by_steps(module, step), self._agreed[0] / self._for_steps(limit, module.config)
            )

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the clock."""
        self._agree(trainer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if there is no time for another step."""
        begin, step, _ = self._agreed
        self._step = self.seconds - begin
        self._stop_if_over(begin + step, trainer, pl_module)

    def _stop_if_over(self, seconds: float, trainer: Any, pl_module: Any) -> None:
        limit, step = self.limit, self._agreed[1]
        if limit is not None and seconds + step >= self._for_steps(limit, pl_module.config):
            trainer.should_stop = True

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to measure a validation."""
        self._validation_start = time.monotonic()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure it, and stop if there is no time for another step and validation."""
        self._validation = time.monotonic() - self._validation_start
        if trainer.state.fn == "fit":
            self._agree(trainer)
            self._stop_if_over(self._agreed[0], trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the time so far."""
        return {"seconds": self.seconds, "validation": self._validation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from an earlier part's time."""
        self._before = float(state_dict["seconds"])
        self._validation = float(state_dict.get("validation", 0.0))
        self._agreed = (self._before, 0.0, self._validation)


class KeepBest(lightning.Callback):
    """Keeps the weights of the best validation, by the logged value `name`, in the checkpoints."""

    def __init__(self, name: str = "val_psnr", *, smallest: bool = False) -> None:
        super().__init__()
        self.name, self.sign = name, -1.0 if smallest else 1.0
        self.best = -self.sign * float("inf")
        self.step = 0
        self.last = -1
        self.weights: dict[str, torch.Tensor] = {}

    def beats(self, value: float) -> bool:
        """Return whether the best validation is better than a value."""
        return bool(self.weights) and self.sign * self.best > self.sign * value

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Copy the weights if they are the best so far."""
        if trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[self.name])
        self.last = trainer.global_step
        if self.sign * value > self.sign * self.best:
            self.best, self.step = value, trainer.global_step
            self.weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in pl_module.result.state_dict().items()
            }

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and how good they are."""
        return {"name": self.name, "best": self.best, "step": self.step, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from an earlier part's best, unless that was measured otherwise."""
        # version 0.1 had PSNR only
        if state_dict.get("name", "val_psnr") == self.name:
            self.best = state_dict["best" if "best" in state_dict else "psnr"]
            self.step, self.weights = state_dict["step"], state_dict["weights"]


def _pictures(images: torch.Tensor) -> torch.Tensor:
    """Return what is shown of images (batch, 1, *spatial): of volumes, their middle slices."""
    flat = images[:, 0].float()
    return flat if flat.ndim == 3 else flat[:, flat.shape[1] // 2]


class SampleImages(lightning.Callback):
    """Writes the first validation images, of volumes the middle slices, beside the truth."""

    def __init__(self, n_images: int = 4) -> None:
        super().__init__()
        self.n_images = n_images

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Reconstruct and write."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        boards = [
            logger.experiment
            for logger in trainer.loggers
            if isinstance(logger, lightning.pytorch.loggers.TensorBoardLogger)
        ]
        if not boards:
            return
        batch = next(iter(trainer.val_dataloaders))
        sinograms, images = (part[: self.n_images].to(pl_module.device) for part in batch[:2])
        with torch.no_grad():
            found = _pictures(pl_module.estimate((sinograms, images), 0))
        truth = _pictures(images)
        # one grey scale for both rows, that of the images as they should be
        low, high = truth.min(), truth.max()
        rows = torch.cat([torch.cat(list(block), dim=1) for block in (truth, found)])
        picture = ((rows - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
        for board in boards:
            board.add_image("truth and reconstruction", picture[None].cpu(), trainer.global_step)
