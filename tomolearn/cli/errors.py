"""Errors and warnings on the command line: one line each, in the words of its options."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from tomolearn._core.errors import TomolearnError

_EXIT_CODE = 2
# Arguments in Python whose option has another name, where a command has no option of theirs.
_OPTION_OF = {"energy": "kev", "method": "methods", "metric": "metrics"}


class CleanErrors(TyperGroup):
    """Commands whose users' mistakes end in one line on stderr and exit code 2.

    A mistake is a `TomolearnError`, a file that cannot be read or written, a package that is
    missing, or more than the memory holds. Everything else is a bug and keeps its traceback.
    Where a message begins with the name of an argument, as all of ours do, it is shown as the
    option that the user types for it.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: self._show(ctx, "warning", str(message))
            try:
                return super().invoke(ctx)
            except (TomolearnError, OSError, ImportError, MemoryError) as error:
                # nobody reads our output any more: typer ends quietly then
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    raise
                self._show(ctx, "error", _message(error))
                raise typer.Exit(_EXIT_CODE) from error

    def _show(self, ctx: Any, kind: str, message: str) -> None:
        command = self.commands.get(ctx.invoked_subcommand)
        argument, colon, rest = " ".join(message.splitlines()).partition(":")
        if command is not None and colon:
            argument = _options(command).get(argument, argument)
        typer.echo(f"{kind}: {argument}{colon}{rest}", err=True)


def _options(command: Any) -> Mapping[str, str]:
    """Return what the user types, by the names of the arguments in Python."""
    found = {}
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            found[parameter.name] = parameter.name.upper()
            continue
        flag = next(name for name in parameter.opts if name.startswith("--"))
        found[parameter.name] = found[flag[2:].replace("-", "_")] = flag
    for argument, option in _OPTION_OF.items():
        if option in found:
            found.setdefault(argument, found[option])
    return found


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"out of memory: {error}".removesuffix(": ")
    return str(error) or type(error).__name__
