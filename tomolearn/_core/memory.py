"""Memory: what this process holds, and what would not fit."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from tomolearn._core.errors import TomolearnError

T = TypeVar("T")
_STATUS = Path("/proc/self/status")
_PEAK_RESET = Path("/proc/self/clear_refs")
_MACHINE = Path("/proc/meminfo")
_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container

# Parameters of glibc's mallopt, and the largest number of bytes that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _NEVER = -1, -3, 2**31 - 1

# What is smaller is allocated without a look at what there is; and no array of measured or
# computed numbers is packed this tightly.
_LARGE, _MOST = 2**28, 100


class Arrays(NamedTuple):
    """How many arrays of each kind a computation holds at its peak, besides the data."""

    images: float
    sinograms: float


def resident_bytes(field: str) -> int:
    """Return what this process holds in memory (VmRSS), or has held at most (VmHWM), in bytes.

    `resource.getrusage` would not do: its maximum is inherited from the process that started this
    one, and may be that one's.
    """
    if _STATUS.exists():
        found = re.search(rf"^{field}:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    raise TomolearnError(
        f"memory: expected a system that tells {field} in {_STATUS}, as Linux does; got none"
    )


def peak_mib() -> float | None:
    """Return the most memory that this process has held, in MiB; None where nobody tells."""
    try:
        return resident_bytes("VmHWM") / 2**20
    except TomolearnError:  # only Linux tells
        return None


def peak_of(function: Callable[[], T]) -> tuple[T, int | None]:
    """Return what a function returns, and the bytes it has held at most beyond those before it.

    None where nobody tells: only Linux does, and forgets the highest mark on request.
    """
    try:
        # what earlier work has freed is given back, or this work would seem to need nothing
        ctypes.CDLL(None).malloc_trim(0)
        descriptor = os.open(_PEAK_RESET, os.O_WRONLY)
        try:
            os.write(descriptor, b"5")
        finally:
            os.close(descriptor)
        before = resident_bytes("VmRSS")
    except (TomolearnError, OSError, AttributeError, TypeError):
        return function(), None
    found = function()
    return found, max(0, resident_bytes("VmHWM") - before)


def keep_freed() -> None:
    """Have this process keep what arrays have freed for the next ones, where its C library can.

    Arrays of some MiB go back to the system by default, and clearing them anew takes as long as
    computing with them. A process that only computes need not give anything back.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # only glibc has it
        return
    for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
        mallopt(parameter, _NEVER)


def _installed() -> int | None:
    """Return the memory of this machine or container in bytes; None where nobody tells."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None
    if _LIMIT.is_file() and (limit := _LIMIT.read_text().strip()).isdigit():
        found.append(int(limit))
    return min(found)


def available_bytes() -> int | None:
    """Return what can be allocated without swapping, in bytes; None where nobody tells.

    In a container it is also what its limit leaves, files that are only cached not counted.
    """
    found = []
    if _MACHINE.exists():
        line = re.search(r"^MemAvailable:\s*(\d+) kB$", _MACHINE.read_text(), re.MULTILINE)
        found += [1024 * int(line[1])] if line else []
    used, facts = _LIMIT.with_name("memory.current"), _LIMIT.with_name("memory.stat")
    if _LIMIT.is_file() and (limit := _LIMIT.read_text().strip()).isdigit() and used.is_file():
        text = facts.read_text() if facts.is_file() else ""
        cached = re.search(r"^inactive_file (\d+)$", text, re.MULTILINE)
        found.append(max(0, int(limit) - int(used.read_text()) + (int(cached[1]) if cached else 0)))
    return min(found) if found else _installed()


def lacking(n_bytes: int) -> int | None:
    """Return what can be allocated, if it is less than this; None otherwise."""
    if n_bytes <= _LARGE:
        return None
    available = available_bytes()
    return available if available is not None and n_bytes > available else None


def check_fits(name: str, n_bytes: int) -> None:
    """Check, before it is allocated, that something can be held in this machine's memory."""
    limit = _installed()
    if limit is not None and n_bytes > limit:
        raise TomolearnError(
            f"{name}: expected no more than the memory of this machine, {gib(limit)}, "
            f"got {gib(n_bytes)}"
        )


def check_unpacked(name: str, n_bytes: int, packed: int) -> None:
    """Check, before it is unpacked, that what `packed` bytes of a file stand for is believable."""
    if n_bytes > _LARGE and n_bytes > _MOST * packed:
        raise TomolearnError(
            f"{name}: expected at most {_MOST} times what is stored, {packed} bytes, got "
            f"{gib(n_bytes)}; if that is right, store it without compression"
        )
    check_fits(name, n_bytes)


def gib(n_bytes: int) -> str:
    """Return a number of bytes in words."""
    return f"{n_bytes / 2**30:.4g} GiB"
