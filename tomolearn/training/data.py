"""The data of a task as Lightning wants them."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

from tomolearn.data import n_pairs
from tomolearn.tasks import data_of_others
from tomolearn.training.config import TrainingConfig
from tomolearn.training.stream import StreamBatches


class PairsModule(lightning.LightningDataModule):
    """Training pairs in a reproducible order, and validation pairs."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        task = config.find_task()
        self._pairs = task.pairs("train", data=config.data, size=config.train_size)
        self._size = n_pairs(self._pairs)
        data = config.validation or data_of_others(config.data)
        validation = task.pairs("validation", data=data)
        size, found = config.validation_size, n_pairs(validation)
        if found is None or found > size:
            validation = task.pairs("validation", data=data, size=size)
        self.validation = validation

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
        return self._loader(self.validation, batch_size=self.config.batch_size)

    def _loader(self, pairs: Any, **options: Any) -> DataLoader:
        workers = self.config.workers
        return DataLoader(
            pairs,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
