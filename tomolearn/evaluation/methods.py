"""The methods of a comparison, with the settings that the task has for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.catalogue import Ensemble, FromWeights, get_method
from tomolearn.catalogue.names import divided, parsed_settings
from tomolearn.evaluation.metrics import named
from tomolearn.operators import LinearOperator
from tomolearn.tasks import Task

Reconstruction = Callable[[torch.Tensor, LinearOperator], torch.Tensor]
"""``f(sinogram, operator) -> image``, both with leading dimensions (1, 1)."""

TRUTH = "ground truth"
"""What the truth is called in figures, and therefore no method."""


def default_methods(task: Task, *, priors: bool = False) -> list[str]:
    """Return the names of a task's baselines and of the weights of the package trained for it.

    With `priors` also of those that were trained on images of the same law without its scanner.
    """
    from tomolearn.tasks import TASKS
    from tomolearn.training import shipped

    def suits(card: dict[str, Any]) -> bool:
        if card["task"] == task.name:
            return True
        other = TASKS.get(card["task"])
        if not priors or card["kind"] == "model" or other is None:
            return False
        source = task.splits["train"].source
        return source is not None and other.splits["train"].source == source

    return [*task.baselines, *(name for name, card in shipped().items() if suits(card))]


def choose_methods(task: Task, methods: Any, place: torch.device) -> dict[str, Reconstruction]:
    """Return what is called for each of the methods that `evaluation.compare` is given."""
    pairs = named("methods", methods, "methods")
    if not pairs:
        raise TomolearnError("methods: expected at least one, got none")
    chosen: dict[str, Reconstruction] = {}
    for name, value in pairs:
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


def _resolved(task: Task, spec: str, place: torch.device) -> Reconstruction:
    name, text = divided(spec)
    try:
        if name in task.baselines:
            baseline = task.baselines[name]
            method = dataclasses.replace(baseline, **parsed_settings(type(baseline), name, text))
        else:
            method = get_method(spec)
    except TomolearnError as error:
        if not text:
            raise
        raise type(error)(f"methods: {spec}: {error}") from error
    if isinstance(method, FromWeights):
        method = method.used_on(task=task.name)
        method.prepare(place)  # a damaged file is told before any work
    elif isinstance(method, Ensemble):
        method = method.used_on(task=task.name)
        method.prepare()
    return method.informed(task.acquisition.noise)
