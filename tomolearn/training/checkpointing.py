"""Checkpoints of a run: when they are written, and that they are complete."""

from __future__ import annotations

import io
import os
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from tomolearn._core.errors import TomolearnError
from tomolearn.training.files import write_together

_DAMAGE = (
    *(ValueError, RuntimeError, EOFError, LookupError, AttributeError, TypeError),
    *(zipfile.BadZipFile, pickle.UnpicklingError),
)


class CompleteFiles(TorchCheckpointIO):
    """Writes a checkpoint next to the last one, which it replaces when it is on the disk.

    Lightning's own goes by way of the folder for temporary files, from which a file is copied, not
    renamed, if that is another file system: the only checkpoint could be half of one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_together({Path(path): content.getvalue()})

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint: an archive, not packed, of tensors and plain values."""
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > Path(path).stat().st_size:
                raise TomolearnError(f"it unpacks to {size} bytes")
            content: dict[str, Any] = torch.load(path, map_location or "cpu", weights_only=True)
        # ValueError, RuntimeError and the others: what torch raised for bytes cut off or changed
        except _DAMAGE as error:
            raise TomolearnError(
                f"{path}: expected a complete checkpoint of a training, got {error}; the run "
                "begins anew without it"
            ) from error
        return content


class SaveRegularly(lightning.Callback):
    """Writes the checkpoint as time goes by, and when the system wants the run to end.

    It does so after a step, or after its validation where there is one: a run that is continued
    does not repeat what belongs to the step of its checkpoint. It has to stand behind the
    callbacks whose state changes with a validation.
    """

    def __init__(self, path: Path, minutes: float, validation_every: int) -> None:
        super().__init__()
        self.path, self.validation_every = path, validation_every
        self._seconds, self._last = 60 * minutes, 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock."""
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if it is time and no validation follows."""
        if trainer.global_step % self.validation_every:
            self._write_if_due(trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Write if it is time."""
        if trainer.state.fn == "fit":
            self._write_if_due(trainer)

    def _write_if_due(self, trainer: Any) -> None:
        # Lightning ends a run that was told to end (SIGTERM) right after this
        due = trainer.received_sigterm or time.monotonic() - self._last >= self._seconds
        if trainer.world_size > 1:
            due = trainer.strategy.broadcast(due)  # the first process decides
        if due:
            trainer.save_checkpoint(self.path)
            self._last = time.monotonic()
