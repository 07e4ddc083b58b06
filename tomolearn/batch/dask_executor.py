"""Execution of chunks by Dask: processes on this machine, or the workers of a cluster."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from tomolearn._core.optional import optional_import
from tomolearn.batch.chunks import Chunk
from tomolearn.batch.worker import Outcome, run_on_worker

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

_PURPOSE = "a batch of series"
_INSTALL = "pip install 'tomolearn[dicom]'"
_CONFIGURATION = {
    # Left alone, Dask takes a worker that is just being replaced for one that will never be.
    "distributed.deploy.lost-worker-timeout": "1 day",
    # Two deaths are enough: its slices are then tried one by one, and again by the next run.
    "distributed.scheduler.allowed-failures": 1,
    # Workers are copies of one process that has loaded all they need.
    "distributed.worker.multiprocessing-method": "forkserver",
}
# Chunks for each worker: one is computed, one waits.
_CHUNKS_PER_WORKER = 2
# How long a cluster may be without a worker, in seconds.
_PATIENCE = 120.0
# How often it is looked whether workers have died, and whether a lost result is there again.
_INTERVAL, _SHORT_INTERVAL = 5.0, 0.1


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class DaskExecutor:
    """Execution by the workers of a Dask cluster, an `Executor`.

    Given its `cluster` too, it replaces workers that are lost.
    """

    def __init__(self, client: Client, cluster: LocalCluster | None = None) -> None:
        self._client, self._cluster = client, cluster
        self._wanted = self._n_workers
        self._running: dict[Future, Chunk] = {}
        self._last_seen = time.monotonic()

    @property
    def _n_workers(self) -> int:
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    @property
    def capacity(self) -> int:
        """A chunk for each worker, and one that waits."""
        return _CHUNKS_PER_WORKER * max(self._n_workers, 1)

    def submit(self, chunk: Chunk) -> None:
        """Take a chunk."""
        self._running[self._client.submit(run_on_worker, chunk, pure=False)] = chunk

    def completed(self) -> list[tuple[Chunk, Outcome]]:
        """Wait for chunks, see `Executor`."""
        outcomes = [(self._running.pop(one), _outcome(one)) for one in self._finished()]
        n_workers = self._n_workers
        if self._cluster is not None and n_workers < self._wanted:
            # Dask replaces a worker that dies, but gives up one that dies again while it starts.
            self._cluster.scale(self._wanted)
        if outcomes or n_workers:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > _PATIENCE:
            raise ConnectionError(f"the cluster has had no worker for {_PATIENCE:g} seconds")
        return outcomes

    def close(self) -> None:
        """Cancel the chunks that are not completed."""
        self._client.cancel(list(self._running), force=True)

    def _finished(self) -> list[Future]:
        from distributed import TimeoutError as Timeout, wait

        try:
            done = wait(list(self._running), timeout=_INTERVAL, return_when="FIRST_COMPLETED").done
        except Timeout:
            return []
        except CancelledError as error:
            raise ConnectionError(f"the cluster's scheduler is lost: {error}") from error
        # A worker that dies takes along results that were not fetched yet: they are "lost" for a
        # moment, and are computed again.
        finished = [one for one in done if one.status in ("finished", "error", "cancelled")]
        if not finished:
            time.sleep(_SHORT_INTERVAL)
        return finished


def _outcome(future: Future) -> Outcome:
    from distributed.scheduler import KilledWorker

    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    error = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        return Outcome()
    raise ConnectionError(
        f"a task could not be run ({error or future.status}): do the workers have this package, "
        "and is the scheduler up?"
    )


@contextmanager
def dask_executor(workers: int | None, scheduler: str | None) -> Iterator[DaskExecutor]:
    """Connect to the cluster of a scheduler, or have one here for as long as the block runs.

    Its workers need this package, and input and output under the same paths; here they are
    processes of one thread each, by default as many as there are cores.
    """
    distributed = optional_import("distributed", purpose=_PURPOSE, install=_INSTALL)
    if scheduler is not None:
        try:
            client = distributed.Client(scheduler)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"scheduler: expected the address of a Dask scheduler, got {scheduler!r} ({error})"
            ) from error
        with client, closing(DaskExecutor(client)) as executor:
            yield executor
        return
    dask = optional_import("dask", purpose=_PURPOSE, install=_INSTALL)
    with (
        dask.config.set(_CONFIGURATION),
        distributed.LocalCluster(
            n_workers=n_cores() if workers is None else workers,
            threads_per_worker=1,
            processes=True,
            # no shares of the machine's memory: a worker over its share would be paused or killed
            memory_limit=0,
            # its usual port may be another run's
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
        closing(DaskExecutor(client, cluster)) as executor,
    ):
        yield executor
