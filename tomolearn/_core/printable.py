"""Text from files for terminals and logs: control characters become visible escapes."""

from __future__ import annotations

import re

# Control characters of ASCII and Latin-1, marks and overrides of the direction of writing, ends of
# lines and paragraphs, and what odd bytes in the names of files become. Line feeds stay.
_CONTROLS = re.compile(
    "[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"
    "\\ud800-\\udfff]"
)


def printable(text: str, *, json: bool = False) -> str:
    r"""Return a text that moves no cursor, sets no title and turns no line around.

    Files decide what is in them and how they are called: an escape sequence in either would be
    obeyed by the terminal of whoever looks at a message or a log. Escapes are ``\x1b``, or
    those that mean the same character in JSON.
    """
    return _CONTROLS.sub(lambda found: _escape(ord(found[0]), json), text)


def _escape(code: int, json: bool) -> str:
    return f"\\x{code:02x}" if code < 0x100 and not json else f"\\u{code:04x}"
