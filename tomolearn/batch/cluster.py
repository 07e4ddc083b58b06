"""The workers of a batch, by Dask."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tomolearn._core.optional import optional_import

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

__all__ = ["Workers", "connected", "n_cores"]

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


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Those who do the work.

    Parameters
    ----------
    client : distributed.Client
        Connected to them.
    cluster : distributed.LocalCluster, optional
        Where they are, if they are this run's own.
    wanted : int
        How many it is to have.
    """

    def __init__(
        self, client: Client, cluster: LocalCluster | None = None, wanted: int = 0
    ) -> None:
        self.client, self._cluster, self._wanted = client, cluster, wanted

    @property
    def count(self) -> int:
        """How many there are at this moment."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])

    def replace_lost(self) -> None:
        """Have workers started for those that died and were not replaced.

        Dask replaces a worker that dies, but gives up one that dies again while it starts.
        """
        if self._cluster is not None and self.count < self._wanted:
            self._cluster.scale(self._wanted)


@contextmanager
def connected(workers: int | None, scheduler: str | None) -> Iterator[Workers]:
    """Connect to a cluster, or have one on this machine for as long as the block runs.

    Parameters
    ----------
    workers : int, optional
        Processes on this machine, one thread each. Default: as many as there are cores.
    scheduler : str, optional
        Address of a cluster's scheduler, ``tcp://host:port``. Its workers need this package, and
        input and output under the same paths.

    Raises
    ------
    ImportError
        If Dask is not installed.
    ConnectionError
        If nobody answers at the address.
    """
    distributed = optional_import("distributed", purpose=_PURPOSE, install=_INSTALL)
    if scheduler is not None:
        try:
            client = distributed.Client(scheduler)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"scheduler: expected the address of a Dask scheduler, got {scheduler!r} ({error})"
            ) from error
        with client:
            yield Workers(client)
        return
    dask = optional_import("dask", purpose=_PURPOSE, install=_INSTALL)
    wanted = n_cores() if workers is None else workers
    with (
        dask.config.set(_CONFIGURATION),
        distributed.LocalCluster(
            n_workers=wanted,
            threads_per_worker=1,
            processes=True,
            # no shares of the machine's memory: a worker over its share would be paused or killed
            memory_limit=0,
            # its usual port may be another run's
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield Workers(client, cluster, wanted)
