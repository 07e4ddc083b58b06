"""Search of a method's settings on validation images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tomolearn._core.errors import TomolearnError
from tomolearn.catalogue.trained_prior import TrainedPrior
from tomolearn.evaluation.workers import Workers
from tomolearn.methods import FBP, Method
from tomolearn.metrics import MetricConvention, evaluate
from tomolearn.operators import LinearOperator

_SCALINGS = (0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
_MOST = 9  # settings that are tried, before the last, finer step
_COARSE = 2.0  # factor between the settings that are tried first


@dataclass(frozen=True)
class Search:
    """Settings that were chosen, and what was tried.

    Parameters
    ----------
    settings : dict
        What was chosen.
    tried : tuple of (dict, float)
        Settings and the mean PSNR in dB of the validation images; minus infinity where the method
        failed.
    images : int
        Number of validation images.
    """

    settings: dict[str, Any]
    tried: tuple[tuple[dict[str, Any], float], ...]
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "settings": self.settings,
            "images": self.images,
            "tried": [
                {"settings": one, "psnr": psnr if math.isfinite(psnr) else None}
                for one, psnr in self.tried
            ],
        }


def search(
    method: Any,
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
    operator: LinearOperator,
    convention: MetricConvention,
    workers: Workers | None = None,
) -> Search | None:
    """Search the settings of a method with the largest mean PSNR of some pairs.

    Of filtered back-projection filter and frequency scaling, of what has a weight the weight, of
    trained priors the factor of the weight that their cards ask for, of other iterations their
    number: from where the method stands, by factors of 2 until the PSNR falls to either side, then
    by the root of that, first to the side where it fell less; where it rises there, it is taken to
    fall on the other side. `workers` reconstruct images side by side.

    Returns
    -------
    Search or None
        None if the method has no such setting: networks and functions.

    Raises
    ------
    ValueError
        If there are no pairs, or no setting gives an image.
    """
    if not pairs:
        raise TomolearnError("pairs: expected one at least to search settings with, got none")
    if not isinstance(method, Method) or not dataclasses.is_dataclass(method):
        return None
    scores = _Scores(method, pairs, operator, convention, workers or Workers())
    if isinstance(method, FBP):
        for scaling in _SCALINGS:
            scores(filter="hann", frequency_scaling=scaling)
        scores(filter="ram-lak", frequency_scaling=1.0)
    elif (found := _varied(method)) is not None:
        name, start = found
        _climb(lambda value: scores(**{name: value}), start, isinstance(start, int))
    else:
        return None
    return scores.best()


def _varied(method: Method) -> tuple[str, float | int] | None:
    """Return the setting that is searched, and where the search begins."""
    if isinstance(method, TrainedPrior):
        return ("weight", method.weight) if method.weight else ("weight_factor", 1.0)
    names = {one.name for one in method.settings()}
    weight = getattr(method, "weight", None)
    if "weight" in names and weight:
        return "weight", float(weight)
    if "iterations" in names and "weight" not in names and "prior" not in names:
        return "iterations", int(getattr(method, "iterations", 0) or 1)
    return None


def _climb(score: Callable[[Any], float], start: float, whole: bool) -> None:
    """Try values from `start` on by factors until both neighbours of the best are worse.

    Scores are taken to have one maximum: beyond a value that is worse none is better.
    """
    known: dict[float, float] = {}

    def at(exponent: float) -> float:
        if exponent not in known:
            value = start * _COARSE**exponent
            known[exponent] = score(max(1, round(value)) if whole else float(f"{value:.4g}"))
        return known[exponent]

    at(0.0)
    while True:
        best = max(known, key=lambda one: known[one])
        missing = [one for one in (best - 1, best + 1) if one not in known]
        if not missing or len(known) >= _MOST:
            break
        for one in missing:
            at(one)
    highest = known[best]
    for side in sorted((-1, 1), key=lambda one: -known.get(best + one, -math.inf)):
        if at(best + side / 2) > highest:
            break


class _Scores:
    """Mean PSNR by settings."""

    def __init__(
        self,
        method: Method,
        pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
        operator: LinearOperator,
        convention: MetricConvention,
        workers: Workers,
    ) -> None:
        self._method, self._operator, self._convention = method, operator, convention
        self._pairs, self._workers = pairs, workers
        self._tried: list[tuple[dict[str, Any], float]] = []

    def __call__(self, **settings: Any) -> float:
        for known, psnr in self._tried:
            if known == settings:
                return psnr
        method: Any = dataclasses.replace(self._method, **settings)
        with torch.no_grad():
            images = self._workers.reconstruct(
                method, self._operator, [sinogram[None] for sinogram, _ in self._pairs]
            )
        found: list[float] = []
        for image, (_, truth) in zip(images, self._pairs, strict=True):
            if isinstance(image, (ValueError, ArithmeticError)):
                found = [-math.inf]  # a weight with which it diverges is a bad one
                break
            if isinstance(image, Exception):
                raise image
            rows, columns = truth.shape[-2:]
            x, y = (one.reshape(-1, rows, columns) for one in (image[0], truth))
            found.append(evaluate(x, y, self._convention).psnr.mean)
        psnr = sum(found) / len(found)
        self._tried.append((settings, psnr))
        return psnr

    def best(self) -> Search:
        """Return the settings that had the largest PSNR."""
        settings, psnr = max(self._tried, key=lambda one: one[1])
        if psnr == -math.inf:
            raise TomolearnError(
                f"{self._method.name}: expected an image with some of the settings tried, got none "
                f"with {', '.join(str(one) for one, _ in self._tried)}"
            )
        return Search(settings, tuple(self._tried), len(self._pairs))
