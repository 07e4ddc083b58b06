"""Scheduling of chunks: bounded work in flight, and the search for what kills workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tomolearn.batch.chunks import Chunk
from tomolearn.batch.executors import Executor

_KILLED = "killed its worker again and again: a crash, or out of memory"


def run_chunks(
    executor: Executor, chunks: Iterator[Chunk]
) -> Iterator[tuple[Chunk, dict[str, Any]]]:
    """Run chunks, and return each with its record when it is complete.

    The executor has as many chunks as its capacity, and no more: memory is bounded by what is in
    flight. A worker's death is blamed on all chunks that the executor had. So their slices are then
    run one by one, while nothing else is: alone, it is known who it was.
    """
    suspects: deque[Chunk] = deque()
    in_flight, alone = 0, False
    while True:
        if not in_flight:
            alone = bool(suspects)
            if alone:
                executor.submit(suspects.popleft())
                in_flight = 1
        if not alone and not suspects:
            for chunk in islice(chunks, max(0, executor.capacity - in_flight)):
                executor.submit(chunk)
                in_flight += 1
        if not in_flight:
            return
        for chunk, outcome in executor.completed():
            in_flight -= 1
            if outcome.fatal is not None:
                raise outcome.fatal
            if outcome.record is not None:
                yield chunk, outcome.record
            elif alone:
                yield chunk, chunk.lost(_KILLED, _KILLED)
            else:
                suspects.extend(chunk.split())
