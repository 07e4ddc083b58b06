"""A reconstruction network and how it is trained, as Lightning wants them."""

from __future__ import annotations

import math
from typing import Any

import lightning
import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from tomolearn._core.errors import DivergenceError, TomolearnError
from tomolearn.metrics import psnr
from tomolearn.models import ReconstructionModel, build_model
from tomolearn.tasks import get_task
from tomolearn.training.config import TrainingConfig
from tomolearn.training.muon import Muon
from tomolearn.training.weights import load

__all__ = ["NonFiniteError", "ReconstructionModule", "cosine_factor"]

Batch = tuple[torch.Tensor, torch.Tensor]

_OPTIMIZERS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": Muon,
}


class NonFiniteError(DivergenceError):
    """A loss or gradient that is not finite; the weights are those before that step."""


def cosine_factor(progress: float, step: int, warmup_steps: int) -> float:
    """Return what the learning rate is multiplied by.

    Parameters
    ----------
    progress : float
        Part of the run that is over, in [0, 1].
    step : int
        Number of steps that are over.
    warmup_steps : int
        Steps of linear increase.
    """
    factor = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
    return factor * min(1.0, (step + 1) / (warmup_steps + 1))


class ReconstructionModule(lightning.LightningModule):
    """Mean squared error of the image, one optimiser, averaged weights.

    Parameters
    ----------
    config : TrainingConfig
        The run's settings.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.task = get_task(config.task)
        self.model = _network(config)
        self.model.checkpoint_activations = config.checkpoint_activations
        self.averaged: AveragedModel | None = None
        if config.ema_decay is not None:
            self.averaged = AveragedModel(
                self.model, multi_avg_fn=_moving_average(config.ema_decay)
            ).requires_grad_(False)
        self.last_batch: Batch | None = None
        self._before = [buffer.clone() for buffer in self.model.buffers()]
        self.learning_progress = _progress_of_steps

    @property
    def result(self) -> ReconstructionModel:
        """The network whose weights are validated and kept."""
        if self.averaged is None:
            return self.model
        averaged: Any = self.averaged.module  # a copy of the network, which torch calls a Module
        return averaged

    def configure_model(self) -> None:
        """Compile, on every process for itself."""
        if self.config.compile:
            self.model.compile_blocks()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Return the mean squared error of a batch."""
        self.last_batch = batch
        sinogram, image = batch
        if not (sinogram.isfinite().all() and image.isfinite().all()):
            raise NonFiniteError("batch: expected finite values, got others")
        self._before = [buffer.clone() for buffer in self.model.buffers()]
        loss = (self._estimate(self.model, batch, self.global_step) - image).square().mean()
        # Of several processes one alone would leave the others waiting for its gradients: there,
        # the norm of the gradient tells all of them.
        if self.trainer.world_size == 1 and not torch.isfinite(loss.detach()):
            raise NonFiniteError(f"loss: expected a finite number, got {loss.item()}")
        self.log("loss", loss.detach(), sync_dist=True, prog_bar=True)
        return loss

    def _estimate(self, model: ReconstructionModel, batch: Batch, index: int) -> torch.Tensor:
        """Return what the model makes of a batch, `index` being the number of the batch."""
        sinogram, image = batch
        if self.config.objective == "reconstruction":
            return model(sinogram, self.task.operator())
        # the same noise whether the run was interrupted or not
        rng = np.random.default_rng((self.config.seed, index, int(self.training)))
        levels = rng.uniform(*self.config.noise_levels, (len(image), 1, 1, 1))
        noise = torch.from_numpy(levels * rng.standard_normal(image.shape)).to(image)
        sigma = torch.from_numpy(levels[..., 0, 0]).to(image)
        cleaned: torch.Tensor = model.denoiser()(image + noise, sigma)
        return cleaned

    def on_after_backward(self) -> None:
        """Log what the network's solvers did, in both passes."""
        self.log_dict({f"model/{name}": x for name, x in self.model.diagnostics.items()})

    def forget_step(self) -> None:
        """Put back what a step that failed has changed already: running means, for example."""
        for buffer, before in zip(self.model.buffers(), self._before, strict=True):
            buffer.copy_(before)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients, and stop if it is not finite."""
        limit = math.inf if self.config.gradient_clip is None else self.config.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        # a scaler of half-precision gradients skips such steps itself, and carries on
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if not scaled and not torch.isfinite(norm):
            raise NonFiniteError(f"gradient: expected a finite norm, got {norm.item()}")
        self.log("gradient_norm", norm)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Take a step, and average the weights before anyone writes a checkpoint."""
        super().optimizer_step(*arguments, **options)
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Measure a batch in the task's convention."""
        image = batch[1]
        found = self._estimate(self.result, batch, batch_index).to(image.dtype)
        values = psnr(found, image, data_range=self.task.convention.psnr_range)
        self.log("val_psnr", values.mean(), prog_bar=True, batch_size=len(image), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return optimiser and schedule."""
        config = self.config
        further: dict[str, Any] = {}
        if config.optimizer == "muon":
            further["vector_lr"] = config.vector_learning_rate
        optimizer = _OPTIMIZERS[config.optimizer](
            self.model.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            **further,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: cosine_factor(
                self.learning_progress(self, step), step, config.warmup_steps
            ),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"},
        }


def _network(config: TrainingConfig) -> ReconstructionModel:
    model = build_model(config.model, config.model_arguments)
    if config.initial_weights is not None:
        found = load(config.initial_weights)
        shapes = [{k: w.shape for k, w in m.state_dict().items()} for m in (found, model)]
        if type(found) is not type(model) or shapes[0] != shapes[1]:
            raise TomolearnError(
                f"initial_weights: expected those of {config.model} with {dict(model.arguments)}, "
                f"got {type(found).__name__} with {dict(found.arguments)}"
            )
        model.load_state_dict(found.state_dict())
    return model


def _progress_of_steps(module: ReconstructionModule, step: int) -> float:
    return 0.0 if module.config.steps is None else step / module.config.steps


def _moving_average(decay: float) -> Any:
    @torch.no_grad()
    def average(averaged: Any, current: Any, n_averaged: Any) -> None:
        # the first steps' weights are far from good: they are forgotten sooner
        n = int(n_averaged)
        torch._foreach_lerp_(averaged, current, 1.0 - min(decay, (1 + n) / (10 + n)))

    return average
