"""The data of a task as Lightning wants them."""

from __future__ import annotations

import json
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from tomolearn.data import StoredPairs
from tomolearn.tasks import get_task
from tomolearn.training.config import TrainingConfig
from tomolearn.training.stream import StreamBatches

__all__ = ["PairsModule"]


class PairsModule(lightning.LightningDataModule):
    """Training pairs in a reproducible order, and validation pairs.

    Parameters
    ----------
    config : TrainingConfig
        Task, sizes and seed.

    Raises
    ------
    ValueError
        If the file of training pairs has other shapes than the task, or fewer than asked for.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.task = get_task(config.task)
        self._pairs: Any
        if config.data is None:
            self._pairs = self.task.pairs("train", size=config.train_size)
            self._size = self._pairs.size
        else:
            self._pairs = StoredPairs(config.data)
            self._size = _stored_size(self._pairs, config)

    def train_dataloader(self) -> DataLoader:
        """Return the training pairs from the trainer's step on."""
        if self.trainer is None:
            raise RuntimeError("train_dataloader: expected to be called by a trainer")
        batches = StreamBatches(
            self.config.batch_size,
            size=self._size,
            seed=self.config.seed,
            first_step=self.trainer.global_step,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return self._loader(self._pairs, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader:
        """Return the validation pairs."""
        split = self.task.splits["validation"]
        size = self.config.validation_size
        pairs = self.task.pairs("validation", size=min(size, split.size or size))
        return self._loader(pairs, batch_size=self.config.batch_size)

    def _loader(self, pairs: Any, **options: Any) -> DataLoader:
        workers = self.config.workers
        return DataLoader(
            pairs,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


def _stored_size(pairs: StoredPairs, config: TrainingConfig) -> int:
    task = get_task(config.task)
    expected = {"sinogram": task.scan.shape, "image": task.grid.shape}
    found = {"sinogram": pairs.sinogram_shape, "image": pairs.image_shape}
    if found != expected:
        raise ValueError(f"data: expected pairs of {task.name}, {expected}, got {found}")
    # what `tomolearn simulate` writes; files from elsewhere have no such attributes
    made_for = json.loads(pairs.attributes["task"])["name"] if "task" in pairs.attributes else None
    if made_for not in (None, task.name):
        raise ValueError(f"data: expected pairs of {task.name}, got those of {made_for}")
    split = pairs.attributes.get("split", "train")
    if split != "train":
        raise ValueError(f"data: expected pairs of the train split, got those of {split}")
    size = config.train_size or len(pairs)
    if size > len(pairs):
        raise ValueError(f"train_size: expected at most the {len(pairs)} stored pairs, got {size}")
    return size
