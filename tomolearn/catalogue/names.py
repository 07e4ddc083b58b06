"""Methods by what a user calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tomolearn._core.calls import split_arguments, split_call, split_list
from tomolearn._core.checkpoints.files import find_files, read_card_file, shipped_files
from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tables import Table, subclass_of
from tomolearn.catalogue.from_weights import FromWeights
from tomolearn.catalogue.trained import Trained, TrainedHeteroscedastic
from tomolearn.catalogue.trained_prior import TrainedPrior
from tomolearn.methods import METHODS, Method, Setting, Stopping
from tomolearn.methods.method import REQUIRED, make_method

COMPOSED: Table[type[Method]] = Table(
    "method",
    {"ensemble": "tomolearn.catalogue.ensemble:Ensemble"},
    group="tomolearn.composed",
    check=subclass_of("method", Method),
)
"""Classes of `Method` that are made of other methods or weights, by name."""


def method_names() -> tuple[str, ...]:
    """Return the names of all methods: table, weights of the package, and what they compose."""
    return (*METHODS, *shipped_files(), *COMPOSED)


def method_kind(name: str) -> type[Method]:
    """Return the class of a method; of weights the one that suits their card.

    Parameters
    ----------
    name : str
        As for `get_method`; settings in parentheses do not matter.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, ImportError
        As for `get_method`.
    """
    name, _ = divided(name)
    if name in COMPOSED:
        return COMPOSED[name]
    if name in METHODS or ":" in name:
        return METHODS.find(name)
    # as `load` reads it: with a folder, with a suffix, or the common name of two files
    is_path = Path(name).name != name or Path(name).suffix or Path(f"{name}.json").exists()
    if not is_path:
        check_known("method", name, method_names())
    card = read_card_file(find_files(name))
    if card["kind"] in TrainedPrior.kinds:
        return TrainedPrior
    return TrainedHeteroscedastic if card["arguments"].get("heteroscedastic") else Trained


def get_method(name: str, **settings: Any) -> Method:
    """Return a method by its name.

    Parameters
    ----------
    name : str
        One of `method_names`; the path of a file of weights; ``file.py:name`` or ``module:name``
        of a function ``f(sinogram, operator) -> image`` or of a class of methods. Settings may
        stand behind it in parentheses: ``"tv(weight=0.1, iterations=50)"``.
    **settings
        The method's settings; those in parentheses win.

    Raises
    ------
    TypeError, ValueError
        If there is no such method or setting, the message has the nearest names, or a value will
        not do.
    FileNotFoundError, ImportError
        If a file is missing, or cannot be imported.

    Examples
    --------
    >>> get_method("fbp", filter="hann")(sinogram, operator)
    >>> get_method(**method.to_dict()) == method
    """
    bare, written = divided(name)
    kind = method_kind(bare)
    settings |= parsed_settings(kind, bare, written)
    if issubclass(kind, FromWeights):
        digest = settings.pop("sha256", None)
        for setting in settings:
            check_known(f"settings of {bare}", setting, [one.name for one in kind.settings()])
        return kind(weights=bare, sha256=digest, **settings)
    return make_method(kind, settings)


def get_clinical_method(name: str, **settings: Any) -> Method:
    """Return a method for images of attenuation in 1/mm.

    As `get_method`, but that weights whose `image_scale` is not given have the one of their card,
    if it knows what attenuation was in the images that they were trained on.
    """
    bare = divided(name)[0]
    if "image_scale" not in settings and issubclass(method_kind(bare), FromWeights):
        known = read_card_file(find_files(bare))["training"].get("value_per_attenuation")
        settings |= {} if known is None else {"image_scale": known}
    return get_method(name, **settings)


def split_names(argument: str, text: str) -> list[str]:
    """Return the names in the text of an argument, with commas between them."""
    names = split_list(text)
    if not all(names):
        raise TomolearnError(f"{argument}: expected names with commas between them, got {text!r}")
    return names


def methods_table() -> str:
    """Return the methods of the table in Markdown, with the settings that are their own."""
    shared = {one.name for one in Stopping.settings()} - {"iterations"}
    lines = ["| method | is | settings and defaults |", "|---|---|---|"]
    for name, kind in {**METHODS, **COMPOSED}.items():
        about = (kind.__doc__ or "").partition("\n")[0].partition("; see")[0].rstrip(".")
        settings = (_with_default(one) for one in kind.settings() if one.name not in shared)
        lines.append(f"| `{name}` | {about} | {', '.join(settings)} |")
    return "\n".join(lines) + "\n"


def divided(name: str) -> tuple[str, str]:
    """Return a name and the text of the settings in parentheses behind it."""
    if not isinstance(name, str):
        raise TomolearnTypeError(f"method: expected a name, got {name!r} ({type(name).__name__})")
    return split_call(name)


def _with_default(setting: Setting) -> str:
    if setting.default is REQUIRED:
        return f"`{setting.name}` (required)"
    return f"`{setting.name}`" if setting.default is None else f"`{setting.name}={setting.default}`"


def parsed_settings(kind: type[Method], spec: str, text: str) -> dict[str, Any]:
    """Return settings of a class of methods that stand as ``name=value`` with commas between."""
    known = {one.name: one for one in kind.settings()}
    return {
        name: known[check_known(f"settings of {spec}", name, tuple(known))].parse(value)
        for name, value in split_arguments(spec, text).items()
    }
