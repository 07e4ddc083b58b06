"""Errors and warnings on the command line: one line each, in the words of its options."""

from __future__ import annotations

import errno
import traceback
import warnings
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from tomolearn._core.errors import TomolearnError
from tomolearn.cli.output import echo

_EXIT_CODE = 2
UNEXPECTED = 70
"""Exit code of errors that are nobody's mistake but ours (EX_SOFTWARE of sysexits.h)."""

# How typer ends: its own errors have messages and exit codes. Those of usage are click's, of which
# some versions of typer have a copy.
_OF_TYPER: tuple[type[Exception], ...] = (
    typer.Exit,
    typer.Abort,
    *(
        one
        for one in typer.BadParameter.__mro__
        if issubclass(one, Exception) and one.__name__ == "ClickException"
    ),
)
# What torch says where the memory does not suffice; on a CPU it has no class of its own.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
# Arguments in Python whose option has another name, where a command has no option of theirs.
_OPTION_OF = {"energy": "kev", "method": "methods", "metric": "metrics", "rows": "slice"}


class CleanErrors(TyperGroup):
    """Commands whose users' mistakes end in one line on stderr and exit code 2.

    A mistake is a `TomolearnError`, a file that cannot be read or written, a package that is
    missing, or more than the memory or the stack holds. Everything else is a bug: it keeps its
    traceback and has exit code 70.
    Where a message begins with the name of an argument, as all of ours do, it is shown as the
    option that the user types for it.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: self._show(ctx, "warning", str(message))
            try:
                return super().invoke(ctx)
            except _OF_TYPER:
                raise
            except Exception as error:
                # nobody reads our output any more: typer ends quietly then
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    raise
                if (text := _message(error)) is None:
                    traceback.print_exception(error)
                    typer.echo("unexpected error: please report it with the lines above", err=True)
                    raise typer.Exit(UNEXPECTED) from error
                self._show(ctx, "error", text)
                raise typer.Exit(_EXIT_CODE) from error

    def _show(self, ctx: Any, kind: str, message: str) -> None:
        command = self.commands.get(ctx.invoked_subcommand)
        argument, colon, rest = " ".join(message.splitlines()).partition(":")
        if command is not None and colon:
            argument = _options(command).get(argument, argument)
        echo(f"{kind}: {argument}{colon}{rest}", err=True)


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


def _message(error: Exception) -> str | None:
    """Return the line for an error that is not ours; None for one that is."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, RecursionError):
        return f"nested too deeply: {error}"
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    ):
        return f"out of memory: {error}".removesuffix(": ")
    if isinstance(error, (TomolearnError, OSError, ImportError)):
        return str(error) or type(error).__name__
    return None
