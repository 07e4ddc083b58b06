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
from lightning.pytorch.utilities.exceptions import SIGTERMException

from tomolearn._core.checkpoints.files import write_together
from tomolearn._core.errors import TomolearnError

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


def step_of(checkpoint: Path) -> int | None:
    """Return the step whose state a checkpoint keeps; None if there is no whole one."""
    try:
        return int(CompleteFiles().load_checkpoint(checkpoint)["global_step"])
    except (OSError, TomolearnError, KeyError, TypeError):
        return None


class SaveRegularly(lightning.Callback):
    """Writes the checkpoint as time goes by, and whenever the run ends before its time.

    It does so after a step, or after its validation where there is one: a run that is continued
    does not repeat what belongs to the step of its checkpoint. A validation that is not finished
    is owed, and made as a whole by the continuation. It has to stand behind the callbacks whose
    state changes with a validation.
    """

    def __init__(self, path: Path, minutes: float, validation_every: int) -> None:
        super().__init__()
        self.path, self.validation_every = path, validation_every
        self._seconds, self._last = 60 * minutes, 0.0
        self._owes_validation = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock, and make up for a validation."""
        self._last = time.monotonic()
        if self._owes_validation:
            self._owes_validation = False
            loop = trainer.fit_loop.epoch_loop.val_loop
            loop.restarting = False
            trainer.validating = True
            loop.run()
            trainer.training = True

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

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Write the state of the last whole step."""
        told = isinstance(exception, SIGTERMException)
        # Ctrl-C a second time may come in the middle of a step; several processes would have to
        # meet for a checkpoint, which they no longer do
        if not (told or isinstance(exception, Exception)) or trainer.world_size > 1:
            return
        if trainer.state.fn != "fit" or not self._last or isinstance(exception, ArithmeticError):
            return
        self._owes_validation = trainer.validating
        if not told and not trainer.validating:
            pl_module.forget_step()
            self._forget_batch(trainer)
        if not told or trainer.validating:
            trainer.save_checkpoint(self.path)

    def _forget_batch(self, trainer: Any) -> None:
        """Let Lightning count a batch that was begun as one that was not."""
        loop = trainer.fit_loop.epoch_loop
        for count in (loop.batch_progress.total, loop.batch_progress.current):
            count.ready = count.started = count.processed = count.completed
        if trainer.global_step % self.validation_every == 0:
            # a continuation adds one, taking the checkpoint for that of the step's validation
            loop._batches_that_stepped -= 1

    def state_dict(self) -> dict[str, Any]:
        """Return whether a validation is owed."""
        return {"owes_validation": self._owes_validation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from an earlier part."""
        self._owes_validation = bool(state_dict["owes_validation"])

    def _write_if_due(self, trainer: Any) -> None:
        # Lightning ends a run that was told to end (SIGTERM) right after this
        due = trainer.received_sigterm or time.monotonic() - self._last >= self._seconds
        if trainer.world_size > 1:
            due = trainer.strategy.broadcast(due)  # the first process decides
        if due:
            trainer.save_checkpoint(self.path)
            self._last = time.monotonic()
