"""Execution of chunks by the workers of a Dask cluster, over connections with certificates."""

from __future__ import annotations

import ipaddress
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from tomolearn._core.errors import TomolearnError
from tomolearn._core.optional import optional_import
from tomolearn.batch.chunks import Chunk
from tomolearn.batch.worker import Outcome, run_on_worker

if TYPE_CHECKING:
    from distributed import Client, Future

# Chunks for each worker: one is computed, one waits.
_CHUNKS_PER_WORKER = 2
# How long a cluster may be without a worker, in seconds.
_PATIENCE = 120.0
# How often it is looked whether workers have died, and whether a lost result is there again.
_INTERVAL, _SHORT_INTERVAL = 5.0, 0.1
# Protocols of Dask that are encrypted with certificates on both sides, or leave no process.
_SAFE = ("tls", "wss", "inproc")


@dataclass(frozen=True)
class Certificates:
    """Files by which this process and a cluster's scheduler know each other (TLS).

    Parameters
    ----------
    ca : path
        Certificate of the authority that has signed those of the cluster, PEM.
    certificate, key : path
        This side's certificate, and its private key, PEM.
    """

    ca: str | Path
    certificate: str | Path
    key: str | Path


class DaskExecutor:
    """Execution by the workers of a Dask cluster, an `Executor`."""

    def __init__(self, client: Client) -> None:
        self._client = client
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
        if outcomes or self._n_workers:
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
        "can they read the key file, and is the scheduler up?"
    )


@contextmanager
def dask_executor(scheduler: str, certificates: Certificates | None) -> Iterator[DaskExecutor]:
    """Connect to the cluster of a scheduler for as long as the block runs.

    Its workers need this package, and input and output under the same paths.
    """
    distributed = optional_import(
        "distributed", purpose="a batch on a cluster", install="pip install 'tomolearn[dicom]'"
    )
    # else Dask's own configuration, which may name certificates
    security = None
    if certificates is not None:
        security = distributed.Security(
            require_encryption=True,
            tls_ca_file=str(certificates.ca),
            tls_client_cert=str(certificates.certificate),
            tls_client_key=str(certificates.key),
        )
    try:
        client = distributed.Client(scheduler, security=security)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"scheduler: expected the address of a Dask scheduler, got {scheduler!r} ({error})"
        ) from error
    with client, closing(DaskExecutor(client)) as executor:
        yield executor


def check_scheduler(
    scheduler: str, certificates: Certificates | None, *, insecure_scheduler: bool
) -> None:
    """Check that a scheduler is spoken to over TLS, or that it is wanted without.

    Whoever reaches a scheduler without TLS can run code as the user who started its workers, and
    read the patients' images. So one of another machine is refused, and one of this machine is
    warned of.
    """
    for field in () if certificates is None else fields(certificates):
        # what cannot be read is an error that names it
        Path(getattr(certificates, field.name)).open("rb").close()
    protocol, found, place = scheduler.rpartition("://")
    if found and protocol in _SAFE:
        return
    expected = f"scheduler: expected tls://host:port with certificates, got {scheduler!r}"
    if certificates is not None:
        raise TomolearnError(expected)
    if insecure_scheduler:
        return
    if not _is_here(place):
        raise TomolearnError(
            f"{expected}: whoever reaches it, or is on the way, can run code and read the images; "
            "insecure_scheduler allows that"
        )
    warnings.warn(
        f"scheduler: {scheduler} is without TLS: every user of this machine can run code there and "
        "read the images",
        stacklevel=3,
    )


def _is_here(place: str) -> bool:
    """Return whether an address "host:port" is one of this machine alone."""
    host = place.rpartition(":")[0].strip("[]") or place
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
