"""Regularisers by what a user calls them: ``"huber-tv(delta=0.01)"``, or the name of weights."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomolearn._core.calls import split_arguments, split_call
from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.modules import built

if TYPE_CHECKING:
    from tomolearn.priors.prior import Regulariser

_WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None}
_GEOMETRY = ("ndim", "spacing")
_PLAIN = (bool, int, float, str, type(None))


def named_regulariser(text: str, **defaults: Any) -> Regulariser:
    """Return a regulariser by its name.

    Parameters
    ----------
    text : str
        A name of `PRIORS`, ``module:name`` or ``file.py:name`` of a class; arguments may stand
        behind it in parentheses. Or name or path of weights of a regulariser.
    **defaults
        Arguments that the class gets if it takes them and the text does not have them.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If there is no such regulariser, or an argument will not do.

    Examples
    --------
    >>> prior = named_regulariser("squared-differences(ndim=3)")
    """
    from tomolearn.priors.prior import Regulariser
    from tomolearn.priors.table import PRIORS

    if not isinstance(text, str):
        raise TomolearnTypeError(f"prior: expected a name, got {text!r} ({type(text).__name__})")
    name, written = split_call(text.strip())
    if name not in PRIORS and ":" not in name:
        found = _trained(name, written)
    else:
        kind = PRIORS.find(name)
        arguments = {key: _value(one) for key, one in split_arguments(name, written).items()}
        accepted = inspect.signature(kind).parameters
        defaults = {key: value for key, value in defaults.items() if key in accepted}
        found = built(name, kind, {**defaults, **arguments})
    if not isinstance(found, Regulariser):
        raise TomolearnTypeError(
            f"prior: expected a regulariser, got {text!r}, which is a {type(found).__name__}"
        )
    return found


def name_of(regulariser: Regulariser) -> str | None:
    """Return the text that `named_regulariser` makes the regulariser of; None if there is none."""
    from tomolearn.priors.table import PRIORS

    known = {kind: name for name, kind in PRIORS.items()}
    name = known.get(type(regulariser))
    if name is None or next(regulariser.parameters(), None) is not None:
        return None
    parameters = inspect.signature(type(regulariser)).parameters
    given = {
        key: value
        for key, value in regulariser.arguments.items()
        # geometry that is not written down would be taken from an operator
        if key in _GEOMETRY or value != parameters[key].default
    }
    if not all(_is_plain(value) for value in given.values()):
        return None
    written = ", ".join(f"{key}={value}" for key, value in given.items())
    return f"{name}({written})" if given else name


def _trained(name: str, written: str) -> Any:
    from tomolearn._core.checkpoints.files import shipped_files
    from tomolearn.priors.loading import load
    from tomolearn.priors.table import PRIORS

    if written:
        raise TomolearnError(f"prior: expected {name} without arguments, got ({written})")
    # as `load` reads it: with a folder, with a suffix, or the common name of two files
    if not (Path(name).name != name or Path(name).suffix or Path(f"{name}.json").exists()):
        check_known("prior", name, (*PRIORS, *shipped_files()))
    return load(name)


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(one) for one in value)
    return isinstance(value, _PLAIN)
