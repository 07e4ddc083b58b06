"""The data of a task as Lightning wants them."""

from __future__ import annotations

import warnings
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from tomolearn._core.errors import SkippedImagesWarning, TomolearnError
from tomolearn.data import Pair, n_pairs
from tomolearn.tasks import Task, data_of_others
from tomolearn.training.config import TrainingConfig
from tomolearn.training.stream import StreamBatches


class PairsModule(lightning.LightningDataModule):
    """Training pairs in a reproducible order, and validation pairs."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        task, labels = config.find_task(), config.make_objective().needs_labels
        self._pairs = task.pairs("train", data=config.data, size=config.train_size, labels=labels)
        self._size = n_pairs(self._pairs)
        data = config.validation or data_of_others(config.data)
        validation = task.pairs("validation", data=data, labels=labels)
        size, found = config.validation_size, n_pairs(validation)
        if found is None or found > size:
            validation = task.pairs("validation", data=data, size=size, labels=labels)
        self.validation = _usable(task, validation)

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


def _usable(task: Task, pairs: Dataset[Pair]) -> Dataset[Pair]:
    """Return the pairs that a network can be judged by; not in the middle of a training."""
    numbers = range(n_pairs(pairs) or 0)
    reasons = {index: task.unusable(*pairs[index][:2]) for index in numbers}
    skipped = {index: reason for index, reason in reasons.items() if reason is not None}
    if not skipped:
        return pairs
    index, reason = next(iter(skipped.items()))
    text = f"{len(skipped)} of {len(numbers)} that cannot be used, the first of them {index}: "
    if len(skipped) == len(numbers):
        raise TomolearnError(f"validation: expected pairs with contrast, got {text}{reason}")
    warnings.warn(f"validation pairs: skipped {text}{reason}", SkippedImagesWarning, stacklevel=3)
    return Subset(pairs, [index for index in numbers if index not in skipped])
