"""Import of packages that are needed only by a part of the toolkit."""

from __future__ import annotations

import importlib
from types import ModuleType


def optional_import(module: str, *, purpose: str, install: str) -> ModuleType:
    """Import `module`, or say what for, and how to `install` what has it: ``pip install h5py``."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the package '{module}' ({error}); remedy: {install}"
        ) from error
