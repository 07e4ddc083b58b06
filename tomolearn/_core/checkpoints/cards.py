"""Model cards of weights, as JSON for programs and as Markdown for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.reading import parse_json

FORMAT = "tomolearn weights"
VERSION = 2
KINDS = ("model", "denoiser", "regulariser")

_OPTIONAL = type(None)
# Every key of a card and the types of its value. All have to be there, and no others: a key that
# a later version adds comes with another VERSION: 2 added "kind", all before are models, and
# "image_scale", which was 1 before.
_KEYS: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "version": (int,),
    "kind": (str,),
    "model": (str,),
    "arguments": (dict,),
    "parameters": (int,),
    "task": (str, _OPTIONAL),
    "grid": (dict, _OPTIONAL),
    "scan": (dict, _OPTIONAL),
    "image_scale": (int, float),
    "metrics": (dict,),
    "training": (dict,),
    "about": (dict,),
    "versions": (dict,),
    "bytes": (int,),
    "sha256": (str,),
}
_NAMES = {
    dict: "an object",
    int: "an integer",
    float: "a number",
    str: "a string",
    _OPTIONAL: "null",
}
_NOT_RECORDED = "not recorded"
# Longer lists, such as the angles of a scan, are shown by their ends.
_LONG = 12
_USE = {"use": "Intended use", "limits": "Limits", "licence": "Licence of the weights"}
_TITLES = {"model": "network", "denoiser": "denoiser", "regulariser": "regulariser"}
_CALLS = {
    "model": "image = model(sinogram, operator)",
    "denoiser": "image = denoiser(noisy, sigma)",
    "regulariser": "value = regulariser(image)",
}
_TRAINING = ("data", "steps", "seed", "hardware", "hours")


def plain_values(name: str, values: Any) -> Any:
    """Return a copy of `values` as JSON would give it back; errors begin with `name`.

    Mappings with string keys, sequences, strings, finite numbers, booleans and None will do.
    """
    if isinstance(values, Mapping):
        for key in values:
            if not isinstance(key, str):
                raise TomolearnTypeError(f"{name}: expected strings as keys, got {key!r}")
        return {key: plain_values(f"{name}.{key}", value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain_values(f"{name}[{n}]", value) for n, value in enumerate(values)]
    if values is not None and type(values) not in (str, int, float, bool):
        raise TomolearnTypeError(
            f"{name}: expected a value that JSON knows (a number of Python, a string, a boolean, "
            f"None, a list or a mapping), got {values!r} ({type(values).__name__})"
        )
    if isinstance(values, float) and values - values != 0:
        raise TomolearnError(f"{name}: expected a finite number, got {values!r}")
    return values


def parse_card(where: str, data: bytes) -> dict[str, Any]:
    """Read a card, the content of the file `where`, and check that it is complete."""
    card = parse_json(where, data, "a JSON file", constants=False)
    if not isinstance(card, dict):
        raise TomolearnError(f"{where}: expected a JSON object, got {type(card).__name__}")
    if card.get("format") != FORMAT:
        raise TomolearnError(
            f"{where}: expected a file that tomolearn.save wrote, with format {FORMAT!r}, "
            f"got {card.get('format')!r}"
        )
    version = card.get("version")
    if type(version) is not int or version < 1:
        raise TomolearnError(f"{where}: version: expected an integer >= 1, got {version!r}")
    if version > VERSION:
        raise TomolearnError(
            f"{where}: version: expected at most {VERSION}, got {version}; a newer tomolearn wrote "
            "this file and is needed to read it"
        )
    if version == 1 and "kind" not in card:
        card["kind"] = "model"
    card.setdefault("image_scale", 1.0)
    missing, unknown = (
        [key for key in _KEYS if key not in card],
        [k for k in card if k not in _KEYS],
    )
    if missing or unknown:
        wrong = [f"no {key!r}" for key in missing] + [f"unknown {key!r}" for key in unknown]
        raise TomolearnError(
            f"{where}: expected the keys {', '.join(_KEYS)}, got {', '.join(wrong)}"
        )
    for key, types in _KEYS.items():
        if type(card[key]) not in types:
            wanted = " or ".join(_NAMES[kind] for kind in types)
            raise TomolearnError(f"{where}: {key}: expected {wanted}, got {card[key]!r}")
    if not 0 < card["image_scale"] < math.inf:
        raise TomolearnError(
            f"{where}: image_scale: expected a positive number, got {card['image_scale']!r}"
        )
    if card["kind"] not in KINDS:
        raise TomolearnError(
            f"{where}: kind: expected {', '.join(KINDS)}, got {card['kind']!r}; a newer tomolearn "
            "may know it"
        )
    return card


def render_card(name: str, card: Mapping[str, Any]) -> str:
    """Return a card as Markdown.

    It has all of the card but the middle of long lists; what a card should have and does not is
    said to be not recorded. `name` is that of the weights' files without suffix.
    """
    about, training = dict(card["about"]), dict(card["training"])
    description, command = about.pop("description", ""), training.pop("command", None)
    parts = [f"# {name}"]
    if description:
        parts.append(str(description))
    parts += [
        _table(
            {
                _TITLES[card["kind"]]: card["model"],
                "arguments": _inline(card["arguments"]) or "none",
                "parameters": f"{card['parameters']:,}",
                "task": card["task"] or _NOT_RECORDED,
                **_scale(card),
                "size of the weights": f"{card['bytes'] / 1e6:.2f} MB",
                "SHA-256 of the weights": card["sha256"],
            }
        ),
        f"```python\nimport tomolearn as tl\n\n{_usage(name, card)}\n```",
        "## Use",
        _table(
            {title: _recorded(about.pop(key, None)) for key, title in _USE.items()}
            | {key: _text(value) for key, value in about.items()}
        ),
        "## Results",
        _table(_flat(card["metrics"])) if card["metrics"] else f"{_NOT_RECORDED.capitalize()}.",
        "## Training",
        _table({key: _recorded(training.pop(key, None)) for key in _TRAINING} | _flat(training)),
    ]
    parts.append("Command:" if command else f"Command: {_NOT_RECORDED}.")
    if command:
        parts.append(f"```bash\n{str(command).strip()}\n```")
    for title in ("grid", "scan"):
        parts.append(f"## {title.capitalize()}")
        geometry = card[title]
        parts.append(_table(_flat(geometry)) if geometry else f"{_NOT_RECORDED.capitalize()}.")
    parts += ["Lengths are in millimetres, angles in radians.", "## Versions"]
    parts.append(_table(_flat(card["versions"])))
    return "\n\n".join(parts) + "\n"


def _scale(card: Mapping[str, Any]) -> dict[str, str]:
    scale = card["image_scale"]
    return {} if scale == 1 else {"image values are multiplied by": f"{scale:g}"}


def _usage(name: str, card: Mapping[str, Any]) -> str:
    """Return two lines of Python."""
    kind, arguments = card["kind"], f'"{name}"'
    if kind != "model":
        arguments += f', kind="{kind}"'
    if is_foreign(card["model"]):
        arguments += f', model="{card["model"]}"'
    return f"{kind} = tl.load({arguments})\n{_CALLS[kind]}"


def is_foreign(spec: str) -> bool:
    """Return whether a class is found in a file or a module, and has no name in a table."""
    return ":" in spec


def _table(rows: Mapping[str, Any]) -> str:
    """Return a table of two columns without a head, which no one needs to read."""
    lines = [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _recorded(value: Any) -> str:
    return _NOT_RECORDED if value is None else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return _inline(value)
    if isinstance(value, list):
        shown = [*value[:3], "...", value[-1]] if len(value) > _LONG else value
        return ", ".join(map(_text, shown)) + (f" ({len(value)} values)" if shown != value else "")
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return str(value)


def _inline(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_text(value)}" for key, value in values.items())


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one, the keys of an entry joined by a space."""
    rows: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            rows |= _flat(value, f"{name}, ")
        else:
            rows[name] = _text(value)
    return rows
