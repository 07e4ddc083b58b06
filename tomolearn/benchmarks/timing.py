"""Contenders that take turns within one run, and what is said about each of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from tomolearn._core.tensors import now

_SHORTEST = 0.1  # seconds of one sample: fast calls are repeated within it
_LONG = 10.0  # seconds of a call that is counted the first time it is timed
_PAUSE = 0.1  # seconds in which threads that the contender before has left spinning fall asleep


@dataclass(frozen=True)
class Timing:
    """One figure of one contender: scan, batch size, operation, and who computed it.

    `value` is for times the median over the rounds; `unit` is ``ms`` per batch, ``%``, ``MiB``, or
    nothing for a plain number. `ratio` is the time of ASTRA (for total variation and training: of
    ODL; in space: of RTK) divided by this time, measured in the same run; None where there is none.
    """

    case: str
    batch: int
    what: str
    contender: str
    value: float
    unit: str
    ratio: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary ready for JSON."""
        return asdict(self)


def _sample(function: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        function()
    return (clock() - start) / calls


def turns(names: Collection[str], rounds: int) -> Iterator[str]:
    """Yield all names once per round, so that a machine that slows down meets all alike."""
    for _ in range(rounds):
        yield from names


def race(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: torch.device,
    *,
    clock: Callable[[], float] | None = None,
) -> dict[str, float]:
    """Return each contender's median time in seconds; they take `turns`, but for calls of minutes.

    `clock` tells the time; without one it is that on the wall when the device is ready.
    """
    clock = clock or partial(now, device)
    calls = {}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for name, function in contenders.items():
        _sample(function, 1, clock)  # compiles, fills caches
        found = _sample(function, 1, clock)
        calls[name] = max(1, math.ceil(_SHORTEST / found))
        if found > _LONG:
            samples[name].append(found)
    for name in turns(contenders, rounds):
        if len(samples[name]) == rounds:
            continue
        function = contenders[name]
        time.sleep(_PAUSE)
        if calls[name] > 1:
            _sample(function, 1, clock)  # our own threads and caches are cold now
        samples[name].append(_sample(function, calls[name], clock))
    return {name: float(np.median(times)) for name, times in samples.items()}


def with_ratios(
    case: str, batch: int, what: str, seconds: Mapping[str, float], reference: str
) -> Iterator[Timing]:
    """Yield one operation's times by contender, with their ratios to the contender `reference`."""
    base = seconds.get(reference)
    for name, value in seconds.items():
        ratio = None if base is None else base / value
        yield Timing(case, batch, what, name, 1e3 * value, "ms", ratio)
