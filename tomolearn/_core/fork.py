"""Locks that are not locked for ever in a process that was forked."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any


class ForkSafeLock:
    """A lock that nobody holds in a process that was forked, whoever held it in the old one.

    The thread that held it is not there to give it back. So what it guards has to be whole at any
    moment: done last, by one assignment, or one call of a method of a built-in container.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    def free(self) -> None:
        """Forget who holds it."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()
_held: list[AbstractContextManager[Any]] = []


def hold_at_fork(*locks: AbstractContextManager[Any]) -> None:
    """Let a fork wait for reentrant locks, so that what they guard is whole in the new process.

    They are taken in the order of these calls, which has to be that in which threads take them.
    """
    _held.extend(locks)


def _take() -> None:
    for lock in _held:
        lock.__enter__()


def _give_back() -> None:
    for lock in reversed(_held):
        lock.__exit__(None, None, None)


def _give_back_and_free() -> None:
    _give_back()
    for lock in _locks:
        lock.free()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_take, after_in_parent=_give_back, after_in_child=_give_back_and_free
    )
