"""Packages that only readers need."""

from __future__ import annotations

from types import ModuleType

from tomolearn._core.optional import optional_import


def needed(module: str, purpose: str) -> ModuleType:
    """Import a package of the extra ``measured``; the error of a missing one names the extra."""
    return optional_import(module, purpose=purpose, install="pip install 'tomolearn[measured]'")
