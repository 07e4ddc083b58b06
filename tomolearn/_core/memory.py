"""Memory: what this process holds, and what would not fit."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tomolearn._core.errors import TomolearnError

_STATUS = Path("/proc/self/status")
_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container

# No array of measured or computed numbers is packed this tightly.
_LARGE, _MOST = 2**28, 100


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


def _installed() -> int | None:
    """Return the memory of this machine or container in bytes; None where nobody tells."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None
    if _LIMIT.is_file() and (limit := _LIMIT.read_text().strip()).isdigit():
        found.append(int(limit))
    return min(found)


def check_fits(name: str, n_bytes: int) -> None:
    """Check, before it is allocated, that something can be held in this machine's memory."""
    limit = _installed()
    if limit is not None and n_bytes > limit:
        raise TomolearnError(
            f"{name}: expected no more than the memory of this machine, {_gib(limit)}, "
            f"got {_gib(n_bytes)}"
        )


def check_unpacked(name: str, n_bytes: int, packed: int) -> None:
    """Check, before it is unpacked, that what `packed` bytes of a file stand for is believable."""
    if n_bytes > _LARGE and n_bytes > _MOST * packed:
        raise TomolearnError(
            f"{name}: expected at most {_MOST} times what is stored, {packed} bytes, got "
            f"{_gib(n_bytes)}; if that is right, store it without compression"
        )
    check_fits(name, n_bytes)


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.4g} GiB"
