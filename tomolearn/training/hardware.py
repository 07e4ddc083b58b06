"""What the machine of a training can do, and its name."""

from __future__ import annotations

import platform
import sys
import warnings
from pathlib import Path

import torch


class SlowPrecisionWarning(UserWarning):
    """A precision that the processor has no instructions for, and so computes in software."""


def precision_here(precision: str, accelerator: str) -> str:
    """Return the precision that a setting means on this machine; a slow one is warned of.

    "auto" is bfloat16 where processor or GPU compute with it, and float32 elsewhere: without its
    instructions a step takes 8 to 10 times as long.
    """
    if precision == "auto":
        return "bf16-mixed" if has_bfloat16(accelerator) else "32-true"
    if precision == "bf16-mixed" and not has_bfloat16(accelerator):
        warnings.warn(
            "precision bf16-mixed: this processor has no instructions for bfloat16 "
            "(avx512_bf16, amx_bf16), and takes 8 to 10 times as long as it would without; "
            'precision "auto" or "32-true" does not',
            SlowPrecisionWarning,
            stacklevel=3,
        )
    return precision


def has_bfloat16(accelerator: str) -> bool:
    """Return whether a GPU, or else the processor, computes with bfloat16 in hardware."""
    if accelerator == "gpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = " ".join(value for name, value in _cpuinfo() if name in ("flags", "Features")).split()
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def hardware_name(accelerator: str, processes: int) -> str:
    """Return what a card says about the machine."""
    if accelerator == "gpu":
        return f"{processes} x {torch.cuda.get_device_name()}"
    names = [value for name, value in _cpuinfo() if name == "model name"]
    cpu = names[0] if names else platform.processor() or platform.machine()
    return f"{processes} process(es) of {torch.get_num_threads()} thread(s), {cpu}"


def _cpuinfo() -> list[tuple[str, str]]:
    """Return names and values that the system states about its first processor."""
    if sys.platform != "linux":
        return []
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return [(name.strip(), value.strip()) for name, _, value in pairs]
