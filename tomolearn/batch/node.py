"""DICOM node: receives series, runs a batch on each that is complete, sends the results on.

Everything that is still to be done lies on the disk: a node that was killed goes on where it was.

- ``received/<study>/<series>/``: images as they came.
- ``todo/<name>.json``: a series of which images came since its last batch; written before the
  first of them is acknowledged, removed when a batch has had them all.
- ``results/``: what the batches wrote, with ledger and summary.
- ``outbox/<series UID>.json``: a result that has not been sent; written before its series leaves
  ``todo``, removed when the other side has acknowledged each image.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import locked, write_bytes
from tomolearn._core.reading import read_json
from tomolearn.batch.run import run_batch
from tomolearn.batch.settings import BatchSettings
from tomolearn.dicom import Deidentification, Peer, Receiver, send_files

_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 600.0  # s between tries of what failed


@dataclass
class _Waiting:
    """A series of which images have come, or a result that is to be sent."""

    path: Path
    """Its folder, relative to the node's."""
    arrivals: int = 0
    last: float = 0.0
    failures: int = 0
    not_before: float = 0.0

    def failed(self, now: float) -> float:
        """Return, and wait for, the pause before the next try."""
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self.failures)
        self.failures += 1
        self.not_before = now + pause
        return pause


class Node:
    """A DICOM node: a receiver of CT series whose reconstructions it sends on.

    As a context manager it listens within the block; `step` does what there is to do.

    Parameters
    ----------
    folder : path
        Where everything lies; made if missing. One node at a time works in it.
    settings : BatchSettings
        What is done to each slice.
    aet : str
        Title of this application entity.
    port, host
        Where it listens, see `Receiver`.
    accept : sequence of str
        Titles that may call; empty for all.
    target : Peer, optional
        To whom results are sent. Default: they stay in ``results/``.
    quiet_period : float
        Seconds without a new image, and without an open association that has sent some, after
        which a series counts as complete.
    workers : int, optional
        As for `run_batch`.
    deidentification : Deidentification, optional
        As for `run_batch`. What was received keeps its identity.
    tell : callable
        Called with a line about each event.
    clock : callable
        Seconds of a clock that never goes back.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above.
    ImportError
        If pynetdicom is not installed.
    OSError
        If the port is taken, or another node is at work in the folder.
    """

    def __init__(
        self,
        folder: Path,
        settings: BatchSettings,
        *,
        aet: str = "TOMOLEARN",
        port: int = 11112,
        host: str = "127.0.0.1",
        accept: Sequence[str] = (),
        target: Peer | None = None,
        quiet_period: float = 10.0,
        workers: int | None = None,
        deidentification: Deidentification | None = None,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = Path(folder).absolute()
        self._settings, self._aet, self._target = settings, aet, target
        self._quiet = check_float("quiet_period", quiet_period, nonnegative=True)
        self._workers, self._deidentification = workers, deidentification
        self._tell, self._clock = tell, clock
        self._series: dict[str, _Waiting] = {}
        self._results: dict[str, _Waiting] = {}
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._receiver = Receiver(
            self._folder / "received",
            aet=aet,
            port=port,
            host=host,
            accept=accept,
            arriving=self._arriving,
            arrived=self._arrived,
            tell=tell,
        )

    @property
    def port(self) -> int:
        """Port that it listens at."""
        return self._receiver.port

    @property
    def is_idle(self) -> bool:
        """Whether nothing is waiting: no series, and no result."""
        with self._lock:
            return not self._series and not self._results

    def __enter__(self) -> Self:
        for name in ("todo", "outbox"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(locked(self._folder / ".lock", self._folder))
            self._take_over()
            stack.enter_context(self._receiver)
            self._held = stack.pop_all()
        self._tell(
            f"{self._aet} listens at port {self.port}; {len(self._series)} series and "
            f"{len(self._results)} results are waiting"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _take_over(self) -> None:
        """Find what an earlier node has left to do."""
        for name, waiting in (("todo", self._series), ("outbox", self._results)):
            for path in sorted((self._folder / name).glob("*.json")):
                waiting[path.stem] = _Waiting(_read_down(path), last=self._clock())

    def _arriving(self, folder: Path) -> None:
        """Write down that a series has something to do, before its image is acknowledged."""
        place = folder.relative_to(self._folder)
        key = hashlib.sha256(place.as_posix().encode()).hexdigest()[:32]
        with self._lock:
            if key not in self._series:
                _write_down(self._folder / "todo" / f"{key}.json", place)
                self._series[key] = _Waiting(place)
            one = self._series[key]
            one.arrivals += 1
            one.last = self._clock()

    def _arrived(self, folder: Path) -> None:
        place = folder.relative_to(self._folder)
        with self._lock:
            for one in self._series.values():
                if one.path == place:
                    one.last = self._clock()

    def step(self) -> bool:
        """Run batches on complete series and send results; return whether something was done."""
        done = False
        for key in self._complete():
            done |= self._reconstruct(key)
        for key in [*self._results]:
            done |= self._send(key)
        return done

    def _complete(self) -> list[str]:
        now = self._clock()
        with self._lock:
            return [
                key
                for key, one in self._series.items()
                if now >= one.last + self._quiet
                and now >= one.not_before
                and not self._receiver.is_receiving(self._folder / one.path)
            ]

    def _reconstruct(self, key: str) -> bool:
        """Run the batch of one series; what it cannot finish stays to be done."""
        with self._lock:
            one = self._series[key]
            arrivals = one.arrivals
        try:
            report = run_batch(
                self._folder / one.path,
                self._folder / "results",
                self._settings,
                workers=self._workers,
                deidentification=self._deidentification,
                prune=True,
            )
        except (OSError, TomolearnError) as error:
            pause = one.failed(self._clock())
            self._tell(f"{one.path.name}: not reconstructed, again in {pause:.0f} s: {error}")
            return False
        for lost in report.series_index.lost:
            self._tell(f"{one.path.name}: lost {lost.path.name}: {lost.detail}")
        if not report.records:
            self._tell(f"{one.path.name}: no CT series: {report.series_index.counts}")
        for record in report.records:
            self._tell(
                f"{one.path.name}: {record['status']}, {record['written']} of {record['slices']} "
                f"slices, {record['output'] or 'no result'}"
            )
            # a result that was there may not have been sent before the node was stopped
            if record["output"] and self._target is not None:
                self._queue(record["derived"], Path("results") / record["output"])
        with self._lock:
            if one.arrivals == arrivals:
                (self._folder / "todo" / f"{key}.json").unlink()
                del self._series[key]
        return True

    def _queue(self, uid: str, place: Path) -> None:
        _write_down(self._folder / "outbox" / f"{uid}.json", place)
        self._results[uid] = _Waiting(place)

    def _send(self, uid: str) -> bool:
        """Send one result; what the other side has not acknowledged stays in the outbox."""
        one = self._results[uid]
        if self._target is None or self._clock() < one.not_before:
            return False
        files = sorted((self._folder / one.path).glob("*.dcm"))
        if not files:
            self._tell(f"{one.path.name}: not sent, another result has taken its place")
            self._forget_result(uid)
            return True
        try:
            send_files(files, self._target, aet=self._aet)
        except (OSError, TomolearnError) as error:
            pause = one.failed(self._clock())
            self._tell(f"{one.path.name}: not sent, again in {pause:.0f} s: {error}")
            return False
        self._tell(f"{one.path.name}: {len(files)} slices sent to {self._target}")
        self._forget_result(uid)
        return True

    def _forget_result(self, uid: str) -> None:
        (self._folder / "outbox" / f"{uid}.json").unlink()
        del self._results[uid]

    def run(self, pause: float = 1.0) -> None:
        """Work until something ends it: Ctrl-C, SIGTERM, or an unexpected error."""
        while True:
            if not self.step():
                time.sleep(pause)


def _read_down(path: Path) -> Path:
    """Return the folder that is written down in a file of ours."""
    said = read_json(path)
    place = said.get("path") if isinstance(said, dict) else None
    if not isinstance(place, str) or Path(place).is_absolute() or ".." in Path(place).parts:
        raise TomolearnError(f"{path}: expected the path of a folder of the node, got {said!r}")
    return Path(place)


def _write_down(path: Path, place: Path) -> None:
    text = json.dumps({"path": place.as_posix()})
    write_bytes(path, text.encode())
