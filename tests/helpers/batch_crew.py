"""Batches without a cluster: the same runs, whose workers are this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed.scheduler import KilledWorker

import tomolearn.batch.execution
import tomolearn.batch.run
from tomolearn.batch.chunks import Chunk
from tomolearn.batch.worker import Outcome


class Done:
    """A future that has its result."""

    status = "finished"

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def result(self) -> Outcome:
        return self.outcome


class Blamed:
    """A future of a task that is blamed for the death of its worker."""

    status = "error"

    def exception(self) -> KilledWorker:
        return KilledWorker("task", None, 1)


class Here:
    """Workers that are this process; counts how many chunks they were given at a time.

    A chunk with a slice of which `deadly` holds "kills" its worker: all that is with the workers
    when its turn comes is blamed, as Dask does it.
    """

    def __init__(self, count: int = 1, deadly: Callable[[Path], bool] | None = None) -> None:
        self.client = self
        self.count = count
        self.most = self.now = 0
        self._deadly = deadly or (lambda path: False)

    def submit(
        self, function: Callable[[Chunk], Outcome], chunk: Chunk, pure: bool
    ) -> Done | Blamed:
        self.now += 1
        self.most = max(self.most, self.now)
        paths = [one.source.path for one in chunk.slices.values()]
        return Blamed() if any(map(self._deadly, paths)) else Done(function(chunk))

    def first_finished(self, running: dict[Done | Blamed, Chunk]) -> list[Done | Blamed]:
        first = next(iter(running))
        if isinstance(first, Done):
            self.now -= 1
            return [first]
        # the others' results are lost with the worker, those on the disk are found again
        blamed: list[Done | Blamed] = [Blamed() for _ in running]
        chunks = list(running.values())
        running.clear()
        running.update(zip(blamed, chunks, strict=True))
        self.now = 0
        return blamed

    def cancel(self, *_: object, **__: object) -> None:
        pass

    def replace_lost(self) -> None:
        pass


def work_here(monkeypatch: pytest.MonkeyPatch, crew: Here | None = None) -> Here:
    """Have batches run without a cluster for the rest of the test."""
    crew = crew or Here()

    @contextmanager
    def connected(*_: object) -> Iterator[Here]:
        yield crew

    monkeypatch.setattr(tomolearn.batch.run, "connected", connected)
    monkeypatch.setattr(tomolearn.batch.run, "prepare_workers", lambda: None)
    monkeypatch.setattr(tomolearn.batch.execution, "first_finished", crew.first_finished)
    return crew
