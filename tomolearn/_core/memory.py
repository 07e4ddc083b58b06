"""Resident memory of this process: now and at its peak."""

from __future__ import annotations

import re
from pathlib import Path

from tomolearn._core.errors import TomolearnError

_STATUS = Path("/proc/self/status")


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
