"""Signals that ask a process to end: at once, in order, or a little later."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TERMINATED = 128 + signal.SIGTERM
"""Exit code of what was told to end."""

INTERRUPTED = 128 + signal.SIGINT
"""Exit code of what Ctrl-C has ended."""


def _is_main() -> bool:
    """Return whether this thread is the one that Python's handlers run in."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def terminable() -> Iterator[None]:
    """Let what is told to end (SIGTERM) close its files and remove what is half done."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(TERMINATED)

    with _handled(signal.SIGTERM, stop):
        yield


@contextmanager
def terminated_by_others() -> Iterator[None]:
    """Leave SIGTERM to a library while it has a handler of its own, which runs ours as well."""

    def stop(number: int, frame: object) -> None:
        if signal.getsignal(signal.SIGTERM) is stop:
            raise SystemExit(TERMINATED)

    with _handled(signal.SIGTERM, stop):
        yield


@contextmanager
def interrupts_as_termination(*, forwarded: bool = False) -> Iterator[list[int]]:
    """Pass the first Ctrl-C on to whoever handles SIGTERM, to end in order; the second one is one.

    What is yielded has an entry as soon as that has happened. Where another process forwards it
    as a SIGTERM, it is left to that.
    """
    came: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        if forwarded:
            return
        if came or not callable(signal.getsignal(signal.SIGTERM)):
            raise KeyboardInterrupt
        came.append(number)
        signal.raise_signal(signal.SIGTERM)

    with _handled(signal.SIGINT, pass_on):
        yield came


@contextmanager
def _handled(number: int, handler: signal._HANDLER) -> Iterator[None]:
    if not _is_main():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block ends.

    What their handlers raise must not pass through a library in C that called us back.
    """
    if not _is_main():
        yield
        return
    came: list[int] = []
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if callable(handler := signal.getsignal(number))
    }
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for signalled in came:
            signal.raise_signal(signalled)
