"""Reconstructions by several processes side by side, where nothing is timed."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any

import torch

from tomolearn._core.checks import check_int
from tomolearn._core.memory import keep_freed
from tomolearn.evaluation.convergence import iterates
from tomolearn.evaluation.kept_calls import Call, KeptCalls
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
        self._kept: KeptCalls | None = None

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

    @contextmanager
    def keeping(self, calls: KeptCalls | None) -> Iterator[None]:
        """Take what is known of calls from there, and keep there what others come to.

        A method that draws from the global generators draws other numbers after images that are
        known already; those of the package have seeds of their own.
        """
        before, self._kept = self._kept, calls
        try:
            yield
        finally:
            self._kept = before

    @property
    def keeps(self) -> bool:
        """Whether calls are kept."""
        return self._kept is not None

    def known(self, method: Any, sinogram: torch.Tensor) -> Call | None:
        """Return what is kept of a call; None if nothing is."""
        return None if self._kept is None else self._kept.read(method, sinogram)

    def keep(self, method: Any, sinogram: torch.Tensor, call: Call) -> None:
        """Keep a call that was made elsewhere."""
        if self._kept is not None:
            self._kept.write(method, sinogram, call)

    def reconstruct(
        self,
        method: Callable[[torch.Tensor, LinearOperator], torch.Tensor],
        operator: LinearOperator,
        sinograms: Sequence[torch.Tensor],
    ) -> list[torch.Tensor | Exception]:
        """Return the image of each sinogram on the CPU, or the error in place of it.

        Functions and networks, and what takes less than 0.2 s, are called in this process; once
        there are others, iterations are no longer tried here first.
        """
        known = [self.known(method, one) for one in sinograms]
        missing = [y for y, found in zip(sinograms, known, strict=True) if found is None]
        made = iter(self._reconstructed(method, operator, missing))
        return [next(made) if found is None else found.image for found in known]

    def _reconstructed(
        self, method: Any, operator: LinearOperator, sinograms: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | Exception]:
        found: list[torch.Tensor | Exception] = []
        name = method.name if isinstance(method, Method) else ""
        if name and self._pool is not None:
            self._slow.setdefault(name, iterates(method))
        for n, sinogram in enumerate(sinograms):
            if self._count > 1 and self._slow.get(name, False):
                return found + self._side_by_side(method, operator, sinograms[n:])
            start = time.monotonic()
            found.append(_image(method, operator, self._kept, sinogram))
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
                initializer=_begin,
            )
        found = []
        called = partial(_with_warnings, method, operator, self._kept)
        for image, said in self._pool.map(called, sinograms):
            found.append(image)
            for category, text in said:
                warnings.warn(text, category, stacklevel=5)
        return found


def _begin() -> None:
    torch.set_num_threads(1)
    keep_freed()


def _image(
    method: Callable[[torch.Tensor, LinearOperator], torch.Tensor],
    operator: LinearOperator,
    kept: KeptCalls | None,
    sinogram: torch.Tensor,
) -> torch.Tensor | Exception:
    found: torch.Tensor | Exception
    try:
        # what a method does to it must not reach the next one
        found = method(sinogram.clone(), operator).detach().cpu()
    except LOSSES as error:
        found = error
    if kept is not None:  # at once, whichever process it is
        kept.write(method, sinogram, Call(found))
    return found


def _with_warnings(
    method: Any, operator: LinearOperator, kept: KeptCalls | None, sinogram: torch.Tensor
) -> tuple[torch.Tensor | Exception, list[tuple[type[Warning], str]]]:
    """Return an image, and the warnings that would be lost with their process."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = _image(method, operator, kept, sinogram)
    return found, [(one.category, str(one.message)) for one in said]
