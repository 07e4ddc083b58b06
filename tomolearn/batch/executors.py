"""Executors of chunks: the interface, and the one that works in the calling process."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from tomolearn.batch.chunks import Chunk
from tomolearn.batch.worker import Outcome, run_on_worker


class Executor(Protocol):
    """Whatever runs chunks by `run_on_worker`."""

    @property
    def capacity(self) -> int:
        """How many chunks it should have at a time, so that no worker waits: at least 1."""

    def submit(self, chunk: Chunk) -> None:
        """Take a chunk."""

    def completed(self) -> list[tuple[Chunk, Outcome]]:
        """Wait for chunks, and hand them back with their outcome; perhaps none after a while.

        Workers that died are replaced. All chunks that may have been their death have an empty
        outcome.

        Raises
        ------
        OSError
            If there are no workers any more.
        """


class InProcessExecutor:
    """Execution in this process, one chunk after the other."""

    capacity = 1

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()

    def submit(self, chunk: Chunk) -> None:
        """Take a chunk."""
        self._chunks.append(chunk)

    def completed(self) -> list[tuple[Chunk, Outcome]]:
        """Run the first chunk."""
        chunk = self._chunks.popleft()
        return [(chunk, run_on_worker(chunk))]
