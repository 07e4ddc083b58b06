"""A reconstruction network and how it is trained, as Lightning wants them."""

from __future__ import annotations

import math
import warnings
from contextlib import AbstractContextManager
from typing import Any

import lightning
import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from tomolearn._core.checkpoints.cards import is_foreign
from tomolearn._core.errors import DivergenceError, SkippedImagesWarning, TomolearnError
from tomolearn._core.tables import short_name
from tomolearn.metrics import METRICS, Summary, psnr, ssim, without_metrics
from tomolearn.models import ReconstructionModel
from tomolearn.training.config import TrainingConfig
from tomolearn.training.muon import Muon
from tomolearn.training.objectives import Batch, Network
from tomolearn.training.weights import load, read_card

_OPTIMIZERS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": Muon,
}


_MUON_VECTOR_RATE = 1e-3


class NonFiniteError(DivergenceError):
    """A loss or gradient that is not finite; the weights are those before that step."""


def cosine_factor(progress: float, step: int, warmup_steps: int, final: float = 0.0) -> float:
    """Return what the learning rate is multiplied by when a part `progress` of the run is over."""
    factor = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
    factor = final + (1.0 - final) * factor
    return factor * min(1.0, (step + 1) / (warmup_steps + 1))


class ReconstructionModule(lightning.LightningModule):
    """A network, an objective, one optimiser, averaged weights."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.task, self.objective = config.find_task(), config.make_objective()
        self.model = _network(config)
        if isinstance(self.model, ReconstructionModel):
            self.model.checkpoint_activations = config.checkpoint_activations
        self.averaged: AveragedModel | None = None
        if config.ema_decay is not None:
            self.averaged = AveragedModel(
                self.model, multi_avg_fn=_moving_average(config.ema_decay)
            ).requires_grad_(False)
        self.last_batch: Batch | None = None
        self._before: list[torch.Tensor] | None = None
        self.learning_progress = _progress_of_steps

    @property
    def result(self) -> Network:
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
        """Return the objective's loss of a batch."""
        self.last_batch = batch
        if not all(tensor.isfinite().all() for tensor in batch):
            raise NonFiniteError("batch: expected finite values, got others")
        self._before = [buffer.clone() for buffer in self.model.buffers()]
        with self._stage(self.model):
            loss = self.objective.loss(
                self.model, _copied(batch), self.task.operator(), self._rng(self.global_step)
            )
        # Of several processes one alone would leave the others waiting for its gradients: there,
        # the norm of the gradient tells all of them.
        if self.trainer.world_size == 1 and not torch.isfinite(loss.detach()):
            raise NonFiniteError(f"loss: expected a finite number, got {loss.item()}")
        self.log("loss", loss.detach(), sync_dist=True, prog_bar=True)
        return loss

    def estimate(self, batch: Batch, index: int) -> torch.Tensor:
        """Return what the network to be kept makes of a validation batch of this number."""
        with self._stage(self.result):
            return self.objective.estimate(
                self.result, _copied(batch), self.task.operator(), self._rng(index)
            ).to(batch[1].dtype)

    def _stage(self, network: Network) -> AbstractContextManager[None]:
        progress = self.learning_progress(self, self.global_step)
        return self.objective.stage(network, min(max(progress, 0.0), 1.0))

    def _rng(self, index: int) -> np.random.Generator:
        # the same numbers whether the run was interrupted or not
        return np.random.default_rng((self.config.seed, index, int(self.training)))

    def on_after_backward(self) -> None:
        """Log what the network's solvers did, in both passes."""
        if isinstance(self.model, ReconstructionModel):
            self.log_dict({f"model/{name}": x for name, x in self.model.diagnostics.items()})

    def forget_step(self) -> None:
        """Put back what a step that failed has changed already: running means, for example."""
        if self._before is not None:
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
        self._before = None
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Measure a batch in the task's convention, and by the metric of the settings."""
        image, values = batch[1], {}
        if self.config.metric == "objective":
            loss = self._loss(batch, batch_index)
            values["metric"] = loss.double()
        if not self.objective.makes_images:
            self._log_validation(values, len(image))
            return
        found = self.estimate(batch, batch_index)
        if not torch.isfinite(found).all():
            raise NonFiniteError(
                f"validation batch {batch_index}: expected finite image values, got others"
            )
        convention = self.task.convention
        # volumes may have slices of air alone
        counts = [reason is None for reason in without_metrics(image, convention)]
        x, y = (one.reshape(-1, *one.shape[-2:])[counts] for one in (found, image))
        ratios = Summary(psnr(x, y, data_range=convention.psnr_range))
        values["psnr"] = torch.tensor(ratios.mean, dtype=torch.float64, device=image.device)
        if self.config.metric == "ssim":
            values["metric"] = ssim(x, y, data_range=convention.ssim_range).mean()
        elif self.config.metric not in ("psnr", "objective"):
            values["metric"] = _measured(self.config.metric, found, image)
        self._log_validation(values, len(image))

    def _log_validation(self, values: dict[str, torch.Tensor], size: int) -> None:
        self.log_dict(
            {f"val_{name}": value for name, value in values.items()},
            prog_bar=True,
            batch_size=size,
            sync_dist=True,
        )

    def _loss(self, batch: Batch, index: int) -> torch.Tensor:
        """Return the loss of a validation batch, which may need derivatives by the image."""
        with torch.enable_grad(), self._stage(self.result):
            return self.objective.loss(
                self.result, _copied(batch), self.task.operator(), self._rng(index)
            ).detach()

    def configure_optimizers(self) -> Any:
        """Return optimiser and schedule."""
        config = self.config
        further: dict[str, Any] = {}
        parameters: Any = self.model.parameters()
        if config.optimizer == "muon":
            further["vector_lr"] = config.vector_learning_rate or _MUON_VECTOR_RATE
        elif config.vector_learning_rate is not None:
            parameters = _groups(self.model, config.vector_learning_rate)
        optimizer = _OPTIMIZERS[config.optimizer](
            parameters,
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            **further,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: cosine_factor(
                self.objective.progress_in_stage(
                    self.model, min(max(self.learning_progress(self, step), 0.0), 1.0)
                ),
                step,
                config.warmup_steps,
                config.final_learning_rate / config.learning_rate,
            ),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"},
        }


def _groups(network: Network, vector_rate: float) -> list[dict[str, Any]]:
    """Return groups of parameters: kernels and matrices, and vectors with a rate of their own."""
    parameters = list(network.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2]},
        {"params": [p for p in parameters if p.ndim < 2], "lr": vector_rate},
    ]
    return [group for group in groups if group["params"]]


def _copied(batch: Batch) -> Batch:
    """Return what an objective may write into: others look at the batch after it."""
    return tuple(tensor.clone() for tensor in batch)


def _measured(metric: str, found: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Return the mean of a metric over the images of a batch; one that has none is warned about."""
    measure = METRICS.find(metric)
    values = []
    for one, truth in zip(found.detach().cpu(), image.cpu(), strict=True):
        try:
            values.append(float(measure(one[0].clone(), truth[0].clone())))
        except (ValueError, ArithmeticError) as error:
            text = f"{short_name(metric)}: no value of a validation image: {error}"
            warnings.warn(text, SkippedImagesWarning, stacklevel=2)
    return torch.tensor(Summary(torch.tensor(values)).mean, dtype=torch.float64)


def _network(config: TrainingConfig) -> Network:
    model = _initial(config)
    if config.image_scale is not None and isinstance(model, ReconstructionModel):
        model.image_scale = config.image_scale
    return model


def _initial(config: TrainingConfig) -> Network:
    model = config.make_network()
    if config.initial_weights is None:
        return model
    card: Any = read_card(config.initial_weights)[1]
    # a class that no table has is not taken from where the card says
    own = type(model) if is_foreign(card["model"]) else None
    found: Network = load(config.initial_weights, kind=card["kind"], model=own)
    shapes = [{k: w.shape for k, w in m.state_dict().items()} for m in (found, model)]
    if type(found) is not type(model) or shapes[0] != shapes[1]:
        raise TomolearnError(
            f"initial_weights: expected those of {config.model} with {dict(model.arguments)}, "
            f"got {type(found).__name__} with {dict(found.arguments)}"
        )
    model.load_state_dict(found.state_dict())
    if isinstance(model, ReconstructionModel) and isinstance(found, ReconstructionModel):
        model.image_scale = found.image_scale
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
