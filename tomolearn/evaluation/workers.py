"""Reconstructions by several processes side by side, where nothing is timed."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any

import torch

from tomolearn._core.checks import check_int
from tomolearn.methods import Method
from tomolearn.operators import LinearOperator

LOSSES = (OSError, ValueError, ArithmeticError, MemoryError, RuntimeError)
"""What costs a method one image, unless it comes with its first one."""
# Seconds of an image from which on a process that has to be started pays.
_SLOW = 0.2


class Workers:
    """Processes of one thread each; they are started for the first method that takes long.

    Iterations on small images have hardly any use for a second thread, but two images have.
    Use it in a ``with`` statement, at whose end the processes end.

    Parameters
    ----------
    count : int
        Number of processes; with 1 all is computed in this process.
    """

    def __init__(self, count: int = 1) -> None:
        self._count = check_int("workers", count, minimum=1)
        self._pool: ProcessPoolExecutor | None = None
        self._slow: dict[str, bool] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def reconstruct(
        self,
        method: Callable[[torch.Tensor, LinearOperator], torch.Tensor],
        operator: LinearOperator,
        sinograms: Sequence[torch.Tensor],
    ) -> list[torch.Tensor | Exception]:
        """Return the image of each sinogram on the CPU, or the error in place of it.

        Functions and networks, and what takes less than 0.2 s, are called in this process.
        """
        found: list[torch.Tensor | Exception] = []
        name = method.name if isinstance(method, Method) else ""
        for n, sinogram in enumerate(sinograms):
            if self._count > 1 and self._slow.get(name, False):
                return found + self._side_by_side(method, operator, sinograms[n:])
            start = time.monotonic()
            found.append(_image(method, operator, sinogram))
            # once is not enough: the first call compiles, and loads weights
            self._slow[name] = bool(name) and time.monotonic() - start > _SLOW
        return found

    def _side_by_side(
        self, method: Any, operator: LinearOperator, sinograms: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | Exception]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=torch.set_num_threads,
                initargs=(1,),
            )
        found = []
        for image, said in self._pool.map(partial(_with_warnings, method, operator), sinograms):
            found.append(image)
            for category, text in said:
                warnings.warn(text, category, stacklevel=4)
        return found


def _image(
    method: Callable[[torch.Tensor, LinearOperator], torch.Tensor],
    operator: LinearOperator,
    sinogram: torch.Tensor,
) -> torch.Tensor | Exception:
    try:
        # what a method does to it must not reach the next one
        return method(sinogram.clone(), operator).detach().cpu()
    except LOSSES as error:
        return error


def _with_warnings(
    method: Any, operator: LinearOperator, sinogram: torch.Tensor
) -> tuple[torch.Tensor | Exception, list[tuple[type[Warning], str]]]:
    """Return an image, and the warnings that would be lost with their process."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = _image(method, operator, sinogram)
    return found, [(one.category, str(one.message)) for one in said]
