"""Executors for tests of batches: workers that are this process, and die when told."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from tomolearn.batch.chunks import Chunk
from tomolearn.batch.worker import Outcome, run_on_worker


class FakeWorkers:
    """Workers that are this process; counts how many chunks they were given at a time.

    A chunk with a slice of which `deadly` holds kills its worker: all that is with the workers when
    its turn comes is blamed, and their results are lost, as Dask does it.
    """

    def __init__(self, count: int = 1, deadly: Callable[[Path], bool] | None = None) -> None:
        self.capacity = 2 * count
        self.most = 0
        self._deadly = deadly or (lambda path: False)
        self._given: deque[tuple[Chunk, Outcome]] = deque()

    def submit(self, chunk: Chunk) -> None:
        paths = [one.source.path for one in chunk.slices.values()]
        outcome = Outcome() if any(map(self._deadly, paths)) else run_on_worker(chunk)
        self._given.append((chunk, outcome))
        self.most = max(self.most, len(self._given))

    def completed(self) -> list[tuple[Chunk, Outcome]]:
        if self._given[0][1] != Outcome():
            return [self._given.popleft()]
        blamed = [(chunk, Outcome()) for chunk, _ in self._given]
        self._given.clear()
        return blamed
