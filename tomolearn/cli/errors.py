"""What becomes of errors and warnings on the command line."""

from __future__ import annotations

import dis
import errno
import warnings
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

__all__ = ["CleanErrors"]

_OURS = ("tomolearn", "data_sim")
_EXIT_CODE = 2


class CleanErrors(TyperGroup):
    """Commands whose users' mistakes end in one line on stderr and exit code 2.

    A mistake is an error that a ``raise`` statement of this project made, or a file that cannot be
    read or written, or a package that is missing. Everything else is a bug and keeps its
    traceback, also a ValueError that Python or numpy raised within our code.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except (ValueError, TypeError, ArithmeticError, OSError, ImportError) as error:
                if not _is_mistake(error):
                    raise
                typer.echo(f"error: {_message(error)}", err=True)
                raise typer.Exit(_EXIT_CODE) from error


def _is_mistake(error: Exception) -> bool:
    if isinstance(error, OSError):
        # nobody reads our output any more: typer ends quietly then
        return error.errno != errno.EPIPE
    if isinstance(error, ImportError):
        return True
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    frame = traceback.tb_frame
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    instruction = dis.opname[frame.f_code.co_code[traceback.tb_lasti]]
    return package in _OURS and instruction == "RAISE_VARARGS"


def _message(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    return " ".join(text.splitlines()) or type(error).__name__


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    typer.echo(f"warning: {' '.join(str(message).splitlines())}", err=True)
