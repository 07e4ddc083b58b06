"""Scheduling of chunks on executors that misbehave; nothing is computed."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dicom_series import write_series

import tomolearn as tl
from tomolearn.batch import BatchSettings
from tomolearn.batch.chunks import Chunk, chunks_of
from tomolearn.batch.derivation_text import derivation_of
from tomolearn.batch.scheduling import run_chunks
from tomolearn.batch.worker import Outcome, run_on_worker
from tomolearn.catalogue import WeightsChangedError, get_method
from tomolearn.dicom import DerivedSeries, find_series
from tomolearn.models import FBPUNet


class Executor:
    """Completes one chunk at a time, every second time that it is asked."""

    def __init__(self, capacity: int, deadly: set[int], events: list[str]) -> None:
        self.capacity = capacity
        self._deadly, self._events = deadly, events
        self._given: deque[Chunk] = deque()
        self._asked = 0

    def submit(self, chunk: Chunk) -> None:
        self._given.append(chunk)
        self._events.append(" ".join(str(i) for one in self._given for i in one.slices))

    def completed(self) -> list[tuple[Chunk, Outcome]]:
        self._asked += 1
        if self._asked % 2:
            return []
        if self._deadly & set(self._given[0].slices):
            blamed = [(chunk, Outcome()) for chunk in self._given]
            self._given.clear()
            return blamed
        chunk = self._given.popleft()
        return [(chunk, Outcome({"slices": list(chunk.slices), "lost": []}))]


@pytest.fixture
def chunks(tmp_path: Path) -> Callable[[], Iterator[Chunk]]:
    write_series(tmp_path, [(0.0, 0.0, float(z)) for z in range(10)])
    (series,) = find_series(tmp_path).series
    settings = BatchSettings()
    derived = DerivedSeries(series, derivation_of(settings, series))
    return lambda: iter(chunks_of(derived, settings, tmp_path))


def test_every_slice_has_one_record_whoever_dies(chunks: Callable[[], Iterator[Chunk]]) -> None:
    for capacity in (1, 2, 5):
        for deadly in (set(), {0}, {9}, {3, 4}, set(range(10))):
            executor = Executor(capacity, deadly, [])
            records = [record for _, record in run_chunks(executor, chunks())]
            lost = [one["index"] for record in records for one in record["lost"]]
            done = [index for record in records for index in record["slices"]]
            assert sorted(lost) == sorted(deadly)
            assert sorted(done) == sorted(set(range(10)) - deadly)
            assert all(one["transient"] for record in records for one in record["lost"])


def test_a_suspect_is_alone_also_while_it_takes_its_time(
    chunks: Callable[[], Iterator[Chunk]],
) -> None:
    events: list[str] = []
    list(run_chunks(Executor(2, {1}, events), chunks()))
    # two chunks are blamed, their four slices run one by one, and then the others together again
    assert events[:8] == ["0 1", "0 1 2 3", "0", "1", "2", "3", "4 5", "4 5 6 7"]


def test_chunks_are_asked_for_when_they_can_be_run(chunks: Callable[[], Iterator[Chunk]]) -> None:
    asked: list[Chunk] = []

    def watched() -> Iterator[Chunk]:
        for chunk in chunks():
            asked.append(chunk)
            yield chunk

    for done, _ in enumerate(run_chunks(Executor(2, set(), []), watched()), start=1):
        assert len(asked) <= done + 1


def test_an_error_of_the_run_ends_it(chunks: Callable[[], Iterator[Chunk]]) -> None:
    class Full(Executor):
        def completed(self) -> list[tuple[Chunk, Outcome]]:
            return [(self._given.popleft(), Outcome(fatal=OSError(28, "No space left")))]

    with pytest.raises(OSError, match="No space left"):
        list(run_chunks(Full(2, set(), []), chunks()))


def test_a_worker_with_other_weights_ends_the_run(
    tmp_path: Path, chunks: Callable[[], Iterator[Chunk]]
) -> None:
    tl.save(FBPUNet.small(), tmp_path / "net")
    settings = BatchSettings(get_method(str(tmp_path / "net")))
    tl.save(FBPUNet.small(), tmp_path / "net", overwrite=True)
    outcome = run_on_worker(replace(next(chunks()), settings=settings))
    assert isinstance(outcome.fatal, WeightsChangedError)
    assert "have changed since the method was made" in str(outcome.fatal)
