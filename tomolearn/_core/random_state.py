"""State of the global random generators, to be taken up again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class RandomStream:
    """A stream of random numbers of Python, NumPy and torch that nobody else draws from.

    It begins where the global generators are when it is made. Within `drawn` they are at its
    state; afterwards they are where they were, and the stream goes on at the next time.
    """

    def __init__(self) -> None:
        self._state = _states()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Let the global generators draw from this stream."""
        before = _states()
        _restore(self._state)
        try:
            yield
        finally:
            self._state = _states()
            _restore(before)


def _states() -> tuple[Any, ...]:
    # asking a GPU that nobody uses would take memory there
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return (
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002 (what other people's code draws from)
        torch.get_rng_state(),
        cuda,
    )


def _restore(states: tuple[Any, ...]) -> None:
    of_python, of_numpy, of_torch, of_cuda = states
    random.setstate(of_python)
    np.random.set_state(of_numpy)  # noqa: NPY002
    torch.set_rng_state(of_torch)
    if of_cuda is not None:
        torch.cuda.set_rng_state_all(of_cuda)
