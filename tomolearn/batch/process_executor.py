"""Execution of chunks by processes of this machine, through pipes that nobody else can open."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import cast

from tomolearn.batch.chunks import Chunk
from tomolearn.batch.forkserver import prepare_workers
from tomolearn.batch.worker import Outcome, run_on_worker
from tomolearn.dicom import Deidentification

# Chunks for each worker: one is computed, one waits.
_CHUNKS_PER_WORKER = 2
# Two deaths are enough: its slices are then tried one by one, and again by the next run.
_ALLOWED_DEATHS = 1
# So many workers in a row that die before they have taken a chunk: the machine is to blame.
_ALLOWED_FALSE_STARTS = 5


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ProcessExecutor:
    """Execution by processes of one thread each on this machine, an `Executor`.

    They are copies of one process that has loaded all they need (see `forkserver`), and are spoken
    to through pipes: nothing listens, so no other user can reach them. One that dies is replaced; a
    chunk that was with two that died has the empty outcome.

    Parameters
    ----------
    workers : int
        How many, at least 1.
    deidentification : Deidentification, optional
        What the chunks are to be de-identified with. Workers have its key from the beginning, since
        chunks do not carry it.
    """

    def __init__(self, workers: int, deidentification: Deidentification | None = None) -> None:
        self._key = None if deidentification is None else deidentification.key
        self._waiting: deque[_Task] = deque()
        self._false_starts = 0
        self.capacity = _CHUNKS_PER_WORKER * workers
        prepare_workers()
        self._workers: dict[Connection, _Worker] = {}
        try:
            for _ in range(workers):
                self._start()
        except BaseException:
            self.close()
            raise

    def submit(self, chunk: Chunk) -> None:
        """Take a chunk."""
        self._waiting.append(_Task(chunk))

    def completed(self) -> list[tuple[Chunk, Outcome]]:
        """Wait for chunks, see `Executor`."""
        self._hand_out()
        outcomes = []
        for connection in wait(list(self._workers)):
            worker = self._workers[cast(Connection, connection)]
            task = worker.task
            try:
                outcome = worker.receive()
                self._false_starts = 0
            except (EOFError, OSError):
                outcome = self._replace(worker)
            if task is not None and outcome is not None:
                outcomes.append((task.chunk, outcome))
        # workers need not wait for what becomes of the outcomes
        self._hand_out()
        return outcomes

    def close(self) -> None:
        """End the workers, whatever they are at."""
        for worker in self._workers.values():
            worker.end()

    def _start(self) -> None:
        worker = _Worker(self._key)
        self._workers[worker.connection] = worker

    def _hand_out(self) -> None:
        for worker in self._workers.values():
            if self._waiting and worker.is_idle:
                worker.send(self._waiting.popleft())

    def _replace(self, dead: _Worker) -> Outcome | None:
        """Replace a dead worker; return the outcome of its task, if that is not tried again."""
        del self._workers[dead.connection]
        dead.end()
        self._false_starts += not dead.has_started
        if self._false_starts > _ALLOWED_FALSE_STARTS:
            raise ConnectionError(
                f"{self._false_starts} workers in a row died when they started: is there enough "
                "memory for them, and may this user have more processes?"
            )
        self._start()
        if dead.task is None:
            return None
        dead.task.deaths += 1
        if dead.task.deaths > _ALLOWED_DEATHS:
            return Outcome()
        self._waiting.appendleft(dead.task)
        return None


@dataclass
class _Task:
    chunk: Chunk
    deaths: int = 0


class _Worker:
    """A process, this end of its pipe, and the task that it is at."""

    def __init__(self, key: str | None) -> None:
        context = multiprocessing.get_context("forkserver")
        self.connection, theirs = context.Pipe()
        self.task: _Task | None = None
        self.has_started = False
        self._process = context.Process(target=_serve, args=(theirs, key), daemon=True)
        try:
            self._process.start()
        except EOFError as error:
            raise ConnectionError(
                "the process that workers are copies of has died: is there enough memory for it?"
            ) from error
        finally:
            theirs.close()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a task."""
        return self.has_started and self.task is None

    def send(self, task: _Task) -> None:
        """Give it a task; that it has died is for `receive` to find."""
        self.task = task
        data = pickle.dumps(task.chunk)
        with suppress(OSError):
            self.connection.send_bytes(data)

    def receive(self) -> Outcome | None:
        """Return the outcome of its task; None when it has started."""
        outcome: Outcome | None = self.connection.recv()
        self.has_started, self.task = True, None
        return outcome

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, key: str | None) -> None:
    """Run the chunks that come until the other end is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if key is not None:
        Deidentification(key)  # that of the chunks is known by this
    with suppress(EOFError, OSError):
        connection.send(None)
        while True:
            connection.send(_outcome(connection.recv_bytes()))


def _outcome(data: bytes) -> Outcome:
    try:
        chunk = pickle.loads(data)
    # whatever a class of the user's may end with
    except Exception as error:
        return Outcome(
            fatal=ConnectionError(
                f"a worker could not load its task ({type(error).__name__}: {error}): can what "
                "the method needs be imported there?"
            )
        )
    return run_on_worker(chunk)


def _end_with_parent() -> None:
    """End this process at once when the run is dead: its results could not count any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def process_executor(
    workers: int | None, deidentification: Deidentification | None
) -> Iterator[ProcessExecutor]:
    """Start workers, by default as many as there are cores, for as long as the block runs."""
    executor = ProcessExecutor(n_cores() if workers is None else workers, deidentification)
    try:
        yield executor
    finally:
        executor.close()
