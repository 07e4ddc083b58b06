"""Runs a compiled kernel on all threads.

Kernels release the GIL and take ``(part, parts, ...)``: which share of the work they do, of how
many. Plain Python threads share it out: unlike OpenMP's they survive a fork (data loaders fork),
are safe to use from several threads at once, and do not spin while torch computes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["run"]

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _forget_pool() -> None:
    # a forked child has the parent's pool object, but none of its threads
    global _pool, _pool_size
    _pool, _pool_size = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def run(kernel: Callable[..., None], *arguments: object, pieces: int | None = None) -> None:
    """Run ``kernel(part, parts, *arguments)`` for all parts, on torch's number of threads.

    Parameters
    ----------
    kernel : callable
        Compiled without the GIL; parts must not write to the same memory.
    pieces : int, optional
        Into how many pieces the work can be cut; fewer threads are used if there are fewer.
    """
    global _pool, _pool_size
    threads = torch.get_num_threads()
    parts = threads if pieces is None else max(1, min(threads, pieces))
    if parts == 1:
        kernel(0, 1, *arguments)
        return
    pool = _pool
    if pool is None or _pool_size < parts - 1:
        # a smaller pool that is still in use elsewhere ends with its last task
        pool = ThreadPoolExecutor(parts - 1, thread_name_prefix="tomolearn-joseph")
        _pool, _pool_size = pool, parts - 1
    others = [pool.submit(kernel, part, parts, *arguments) for part in range(1, parts)]
    kernel(0, parts, *arguments)
    for other in others:
        other.result()
