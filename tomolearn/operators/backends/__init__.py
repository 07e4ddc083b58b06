"""Who computes the rays. Backends are imported when they are first used."""

from __future__ import annotations

import importlib
import threading

import torch

from tomolearn._core.errors import TomolearnError
from tomolearn._core.fork import hold_at_fork
from tomolearn.geometry import Grid, Scan
from tomolearn.operators.backends.base import Backend, Capabilities

__all__ = ["BACKENDS", "Backend", "Capabilities", "choose_backend", "load_backend"]

# name -> (module, class); the order is that of preference
BACKENDS: dict[str, tuple[str, str]] = {
    "joseph": ("tomolearn.operators.backends.joseph", "JosephBackend"),
    "astra": ("tomolearn.operators.backends.astra", "AstraBackend"),
    "tomosipo": ("tomolearn.operators.backends.tomosipo", "TomosipoBackend"),
    "odl": ("tomolearn.operators.backends.odl", "OdlBackend"),
}

# Python does not free the lock of a module that another thread imports at the moment of a fork.
_loading = threading.RLock()
hold_at_fork(_loading)


def load_backend(name: str) -> type[Backend]:
    """Import the backend `name`."""
    if name not in BACKENDS:
        raise TomolearnError(
            f"backend: expected auto or one of {', '.join(BACKENDS)}, got {name!r}"
        )
    module, cls = BACKENDS[name]
    with _loading:
        backend: type[Backend] = getattr(importlib.import_module(module), cls)
    return backend


def choose_backend(name: str, grid: Grid, scan: Scan, device: torch.device) -> type[Backend]:
    """Return the backend `name`, or for "auto" the preferred one that can do it on `device`."""
    if name != "auto":
        backend = load_backend(name)
        reason = backend.unsupported(grid, scan, device)
        if reason is None:
            return backend
        able = [repr(other) for other in BACKENDS if _refusal(other, grid, scan, device) is None]
        remedy = f"backend={' or '.join(able)} can" if able else "no backend here can"
        raise TomolearnError(f"backend {name!r}: {reason}; {remedy}")
    reasons = []
    for candidate in BACKENDS:
        reason = _refusal(candidate, grid, scan, device)
        if reason is None:
            return load_backend(candidate)
        reasons.append(f"{candidate}: {reason}")
    raise TomolearnError(
        f"backend: none can project {type(scan).__name__} on {device.type}; " + "; ".join(reasons)
    )


def _refusal(name: str, grid: Grid, scan: Scan, device: torch.device) -> str | None:
    try:
        return load_backend(name).unsupported(grid, scan, device)
    except ImportError as error:
        return str(error)
