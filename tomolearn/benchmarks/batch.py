"""How fast whole batches are, as a user would start them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from tomolearn._core.checks import check_int
from tomolearn._core.optional import optional_import
from tomolearn.batch.process_executor import n_cores
from tomolearn.benchmarks.timing import Timing
from tomolearn.dicom import find_series

_METHODS = {
    "FBP": ("--method", "fbp"),
    "TV, 100 iterations": ("--method", "tv", "--iterations", "100", "--photons", "10000"),
}
# To ask for the memory takes time from those who work.
_INTERVAL = 1.0


def measure_batch(source: Path, *, rounds: int = 1, tv: bool = True) -> Iterator[Timing]:
    """Measure ``tomolearn dicom`` with 1000 views on a folder, each time as a process of its own.

    Slices per second count from the start of the process to its end; with one worker pinned to one
    core, and with one on each core, whose ratio is to the former. Then the most memory that all its
    processes have together, in MiB. Of FBP the median of `rounds` runs counts (of the memory the
    maximum); total variation takes minutes for a series, and runs once.
    """
    check_int("rounds", rounds, minimum=1)
    slices = sum(len(series) for series in find_series(source).series)
    case, cores = f"{slices} slices", n_cores()
    alone: dict[str, float] = {}
    for what, options in _METHODS.items():
        if what != "FBP" and not tv:
            continue
        crews = (1, cores) if what == "FBP" and cores > 1 else (cores,)
        for workers in crews:
            # a run of minutes is a mean by itself
            repeats = rounds if what == "FBP" else 1
            found = [_run(source, workers, options) for _ in range(repeats)]
            rate = slices / statistics.median(seconds for seconds, _ in found)
            who = f"{workers} worker{'s' if workers > 1 else ''}"
            ratio = rate / alone[what] if what in alone else None
            alone.setdefault(what, rate)
            yield Timing(case, 1, f"batch, {what}", who, rate, "slices / s", ratio)
            memory = max(memory for _, memory in found)
            yield Timing(case, 1, f"batch, {what}, memory", who, memory, "MiB", None)


def _run(source: Path, workers: int, options: Sequence[str]) -> tuple[float, float]:
    """Return the seconds that a run takes and the MiB that it has at most."""
    psutil = optional_import(
        "psutil", purpose="measuring batches", install="pip install 'tomolearn[dicom]'"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tomolearn", "dicom", str(source), f"{folder}/out"]
        with Path(folder, "said").open("w+") as said:
            start = time.perf_counter()
            run = subprocess.Popen(
                [*command, *options, "--workers", str(workers)],
                stdout=said,
                stderr=subprocess.STDOUT,
                # children inherit it
                preexec_fn=_pin if workers == 1 else None,
            )
            largest = 0.0
            while run.poll() is None:
                largest = max(largest, _memory(psutil, run.pid))
                time.sleep(_INTERVAL)
            seconds = time.perf_counter() - start
            said.seek(0)
            if run.returncode != 0:
                raise OSError(f"tomolearn dicom: exit code {run.returncode}: {said.read()[-500:]}")
    return seconds, largest


def _pin() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _memory(psutil: ModuleType, pid: int) -> float:
    total = 0
    # a process may end at any moment
    with suppress(psutil.Error):
        main = psutil.Process(pid)
        for one in (main, *main.children(recursive=True)):
            info = one.memory_full_info()
            # pages that several processes share count once, where the system tells
            total += getattr(info, "pss", info.rss)
    return total / 2**20
