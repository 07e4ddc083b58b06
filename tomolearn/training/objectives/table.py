"""The table of objectives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tables import Table
from tomolearn.training.objectives.objective import Objective


def _check(where: str, value: Any) -> type[Objective]:
    if not (isinstance(value, type) and issubclass(value, Objective)):
        raise TomolearnError(
            f"objective {where}: expected a subclass of tomolearn.training.objectives.Objective, "
            f"got {value!r}"
        )
    return value


OBJECTIVES: Table[type[Objective]] = Table(
    "objective",
    {
        "supervised": "tomolearn.training.objectives.supervised:Supervised",
        "denoising": "tomolearn.training.objectives.denoising:Denoising",
    },
    group="tomolearn.objectives",
    check=_check,
)
"""Objectives by name."""


def make_objective(spec: str, arguments: Mapping[str, Any]) -> Objective:
    """Make an objective from its name and its settings.

    Parameters
    ----------
    spec : str
        A name in `OBJECTIVES`, or where a subclass of `Objective` stands:
        ``path/to/file.py:Name`` or ``module:Name``.
    arguments : mapping
        Its settings by name.

    Raises
    ------
    TypeError, ValueError
        If there is no such objective or setting, with the nearest names, or a value will not do.
    FileNotFoundError, ImportError
        If there is no such file or module, or it cannot be imported.
    """
    kind = OBJECTIVES.find(spec)
    if not isinstance(arguments, Mapping):
        raise TomolearnTypeError(
            f"objective_arguments: expected a mapping, got {type(arguments).__name__}"
        )
    for name in arguments:
        check_known(
            f"objective_arguments of {spec}", name, tuple(inspect.signature(kind).parameters)
        )
    return kind(**arguments)
