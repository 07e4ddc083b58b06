"""Runs compiled kernels on several threads.

Kernels release the GIL and take ``(part, parts, ...)``: which share of the work they do, of how
many. Plain Python threads share it out: unlike OpenMP's they survive a fork (data loaders fork),
are safe to use from several threads at once, and do not spin while torch computes. Starting a
share costs about 0.1 ms, so small work is better done by one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _forget_pool() -> None:
    # a forked child has the parent's pool object, but none of its threads
    global _pool, _pool_size
    _pool, _pool_size = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _executor(workers: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < workers:
        # a smaller pool that is still in use elsewhere ends with its last task
        _pool, _pool_size = ThreadPoolExecutor(workers, thread_name_prefix="joseph"), workers
    return _pool


def run(kernel: Callable[..., None], parts: int, *arguments: object) -> None:
    """Run ``kernel(part, parts, *arguments)`` for every part, each on a thread of its own.

    The kernel is compiled and without the GIL; parts must not write to the same memory.
    """
    if parts == 1:
        kernel(0, 1, *arguments)
        return
    pool = _executor(parts - 1)
    others = [pool.submit(kernel, part, parts, *arguments) for part in range(1, parts)]
    try:
        kernel(0, parts, *arguments)
    finally:
        wait(others)  # also when interrupted: they write to memory that is lent again
    for other in others:
        other.result()


def share_out(work: Callable[[Any], None], items: Sequence[Any], parts: int) -> None:
    """Call ``work(item)`` for all items, on `parts` threads."""

    def some(part: int, parts: int) -> None:
        for item in items[part::parts]:
            work(item)

    run(some, parts)
