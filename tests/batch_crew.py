"""Batches without a cluster: the same runs, whose workers are this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import tomolearn.batch.run
from tomolearn.batch.work import Chunk, Outcome


class Done:
    """A future that has its result."""

    status = "finished"

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def result(self) -> Outcome:
        return self.outcome


class Here:
    """Workers that are this process; counts how many chunks they were given at a time."""

    count = 1

    def __init__(self) -> None:
        self.client = self
        self.most = self.now = 0

    def submit(self, function: Callable[[Chunk], Outcome], chunk: Chunk, pure: bool) -> Done:
        self.now += 1
        self.most = max(self.most, self.now)
        return Done(function(chunk))

    def cancel(self, *_: object, **__: object) -> None:
        pass

    def replace_lost(self) -> None:
        pass


def work_here(monkeypatch: pytest.MonkeyPatch) -> Here:
    """Have batches run without a cluster for the rest of the test."""
    crew = Here()

    @contextmanager
    def connected(*_: object) -> Iterator[Here]:
        yield crew

    def first(running: dict[Done, Chunk]) -> list[Done]:
        crew.now -= 1
        return [next(iter(running))]

    monkeypatch.setattr(tomolearn.batch.run, "connected", connected)
    monkeypatch.setattr(tomolearn.batch.run, "prepare_workers", lambda: None)
    monkeypatch.setattr(tomolearn.batch.run, "_first_finished", first)
    return crew
