"""Methods by name, and what is called for each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.geometry.serialization import geometry_from_dict
from tomolearn.methods import fbp, total_variation
from tomolearn.operators import RayTransform
from tomolearn.tasks import Task
from tomolearn.training import load, shipped

__all__ = ["CLASSICAL", "TRUTH", "Method", "TrainedElsewhereWarning", "choose_methods"]

Method = Callable[[torch.Tensor, RayTransform], torch.Tensor]
"""``f(sinogram, operator) -> image``, both with leading dimensions (1, 1)."""

CLASSICAL: Mapping[str, Callable[..., torch.Tensor]] = MappingProxyType(
    {"fbp": fbp, "tv": total_variation}
)
"""Methods whose settings a task has in its `baselines`."""

TRUTH = "ground truth"
"""What the truth is called in figures, and therefore no method."""


class TrainedElsewhereWarning(UserWarning):
    """Weights are judged on another task, grid or scan than they were trained for."""


def choose_methods(task: Task, methods: Any, place: torch.device) -> dict[str, Method]:
    """Return what is called for each of the methods that `evaluation.compare` is given.

    Raises
    ------
    TypeError, ValueError, OSError
        As for `evaluation.compare`.

    Warns
    -----
    TrainedElsewhereWarning
        If weights were trained for another task, grid or scan.
    """
    if isinstance(methods, str) or not isinstance(methods, (Sequence, Mapping)):
        raise TomolearnTypeError(
            "methods: expected a list of names or a mapping of names to methods, "
            f"got {methods!r} ({type(methods).__name__})"
        )
    named = list(methods.items()) if isinstance(methods, Mapping) else [(m, m) for m in methods]
    if not named:
        raise TomolearnError("methods: expected at least one, got none")
    chosen: dict[str, Method] = {}
    for name, value in named:
        if not isinstance(name, str):
            raise TomolearnTypeError(
                f"methods: expected names as strings, got {name!r}; a function goes into a "
                "mapping, with a name as its key"
            )
        if name in chosen:
            raise TomolearnError(f"methods: expected each once, got {name!r} again")
        if name == TRUTH:
            raise TomolearnError(f"methods: expected a name other than {TRUTH!r}")
        if not isinstance(value, str) and not callable(value):
            raise TomolearnTypeError(
                f"methods: expected a name, a path or a function as {name!r}, "
                f"got {value!r} ({type(value).__name__})"
            )
        chosen[name] = _resolved(task, value, place) if isinstance(value, str) else value
    return chosen


def _resolved(task: Task, name: str, place: torch.device) -> Method:
    known = (*CLASSICAL, *shipped())
    # as `load` reads it: with a folder, with a suffix, or the common name of two files
    is_path = Path(name).name != name or Path(name).suffix or Path(f"{name}.json").exists()
    if name in CLASSICAL:
        if name not in task.baselines:
            raise TomolearnError(
                f"methods: expected one of the baselines that {task.name} has settings for, "
                f"{', '.join(task.baselines) or 'none'}, got {name!r}"
            )
        return task.baselines[name]
    if not is_path:
        check_known("methods", name, known)
    model = load(name, device=place)
    _warn_if_trained_elsewhere(name, task, vars(model)["card"])
    return model


def _warn_if_trained_elsewhere(name: str, task: Task, card: Mapping[str, Any]) -> None:
    """Compare task, grid and scan, as far as the card has them."""
    if card["task"] not in (None, task.name):
        difference = f"the task {card['task']}, not {task.name}"
    elif card["grid"] not in (None, task.grid.to_dict()):
        difference = f"{geometry_from_dict(card['grid'])}, not {task.grid}"
    elif card["scan"] not in (None, task.scan.to_dict()):
        difference = f"{geometry_from_dict(card['scan'])}, not {task.scan}"
    else:
        return
    # the caller of `compare`
    warnings.warn(f"{name}: trained for {difference}", TrainedElsewhereWarning, stacklevel=5)
