"""Names with arguments in parentheses behind them, ``tv(weight=0.1, iterations=50)``."""

from __future__ import annotations

from tomolearn._core.errors import TomolearnError

_OPEN, _CLOSE = "([{", ")]}"


def split_call(text: str) -> tuple[str, str]:
    """Return a name and the text within the parentheses at its end, empty if there are none."""
    if text.endswith(")"):
        depth = 0
        for position in range(len(text) - 1, 0, -1):
            depth += (text[position] in _CLOSE) - (text[position] in _OPEN)
            if depth == 0:
                return text[:position].strip(), text[position + 1 : -1]
    return text, ""


def split_list(text: str) -> list[str]:
    """Return what stands between commas that are not within parentheses or brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in _OPEN) - (character in _CLOSE)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def split_arguments(name: str, text: str) -> dict[str, str]:
    """Return arguments that stand as ``name=value`` with commas between.

    Errors begin with `name`.
    """
    found: dict[str, str] = {}
    for part in filter(None, split_list(text)):
        argument, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise TomolearnError(f"{name}: expected settings as name=value, got {part!r}")
        if argument in found:
            raise TomolearnError(f"{name}: expected {argument} once, got it again as {value!r}")
        found[argument] = value
    return found
