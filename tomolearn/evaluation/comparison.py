"""Several methods on the same pairs of a task, judged in the same way."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import (
    DivergenceError,
    SkippedImagesWarning,
    TomolearnError,
    TomolearnTypeError,
)
from tomolearn._core.memory import peak_of
from tomolearn._core.modules import judged
from tomolearn._core.random_state import RandomStream
from tomolearn._core.tensors import check_device, now
from tomolearn.catalogue import Ensemble, FromWeights
from tomolearn.data import n_pairs
from tomolearn.evaluation.kept_calls import Call
from tomolearn.evaluation.methods import Reconstruction, choose_methods
from tomolearn.evaluation.metrics import STANDARD, choose_metrics, measure
from tomolearn.evaluation.results import Comparison, Row, listed
from tomolearn.evaluation.workers import LOSSES, Workers
from tomolearn.metrics import Metric, MetricConvention, Summary
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.tasks import Task, get_task

# Pairs without times that are in memory together.
_AT_ONCE = 16

Progress = Callable[[str, int], None]
"""Called with a method's name and the number of pairs that it has done."""

WarmUp = Callable[[Reconstruction, torch.Tensor, LinearOperator, torch.Tensor], object]
"""Called with a method, a sinogram, the operator and the truth; it calls the method."""


def compare(
    task: str | Task,
    methods: Sequence[str] | Mapping[str, str | Reconstruction],
    *,
    metrics: Sequence[str] | Mapping[str, str | Metric] = (),
    split: str = "test",
    data: str | os.PathLike[str] | None = None,
    images: int | None = None,
    seed: int | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
    timed: int | None = None,
    workers: Workers | None = None,
    warm_up: WarmUp | None = None,
    memory: bool = False,
) -> Comparison:
    """Try methods on the same pairs of a task.

    Each image is reconstructed by a call of its own, and timed; a call before the first one, which
    compiles and fills caches, does not count. Methods do not touch each other: each call gets data
    of its own, random numbers go on for each method as if it were alone, and networks are judged
    in evaluation mode and left as they were, modes and buffers included.

    A pair whose image has no metrics, since it has no contrast, does not count; nor does, for one
    method, an image that is not finite, or where it fails after its first image. Results and their
    tables say which.

    Parameters
    ----------
    task : str or Task
        A task by name, or one of your own.
    methods : sequence of str, or mapping of str to str or callable
        What to try. A string is what `tomolearn.catalogue.get_method` takes: a name with settings
        or without, weights, or ``file.py:function``; where the task has a baseline of that name,
        its settings are the defaults. In a mapping the keys are the names in tables and figures,
        and a value may also be a method, or any function or network,
        ``f(sinogram, operator) -> image``, called as it is.
    metrics : sequence of str, or mapping of str to str or callable
        What to measure besides PSNR, SSIM and regressed SNR: names of
        `tomolearn.metrics.METRICS`, ``file.py:function``, or functions
        ``f(image, truth) -> float`` of single images.
    split : str
        Part of the task's data.
    data : path-like, optional
        Where the task's data lie, see `Task.pairs`. Default: pairs are drawn.
    images : int, optional
        Number of pairs, from the first on. Default: all of the split.
    seed : int, optional
        Draw other pairs than those of the split's own seed.
    device : str or torch.device
        Where sinograms and loaded weights are put.
    progress : callable, optional
        Told the name of a method and the number of pairs that it has done, after each.
    timed : int, optional
        Number of images that are timed, from the first on. Default: all.
    workers : Workers, optional
        Who reconstructs those that are not timed, and knows calls of earlier runs.
    warm_up : callable, optional
        Makes the call before the first timed one, and may look at what the method does in it.
        Default: the method is called.
    memory : bool
        Measure the most memory that the first timed call holds.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or not of the kind named above, a name comes twice, the device
        cannot compute the scan, `images` or `data` is missing where it is needed, no pair has an
        image with metrics, or a method returns no tensor or an image of another shape, or no
        method has a finite image of any pair.
    OSError
        If a file of weights, or the data, cannot be read.

    Warns
    -----
    TrainedElsewhereWarning
        If weights were trained for another task, grid or scan.
    SkippedImagesWarning
        If a pair does not count, or an image of a method.

    Examples
    --------
    >>> comparison = compare("ellipses", ["fbp"], images=2)
    >>> [(row.method, row.metrics["psnr"].n) for row in comparison.rows]
    [('fbp', 2)]
    """
    task = _checked_task(task)
    check_choice("split", split, tuple(task.splits))
    if timed is not None:
        check_int("timed", timed, minimum=1)
    endless = data is None and not task.needs_data and task.splits[split].size is None
    if images is None and endless:
        raise TomolearnError(
            f"images: expected a number, since the {split} split has no end, got None"
        )
    place = check_device("device", device)
    pairs = task.pairs(split, data=data, size=images, seed=seed)
    operator = task.operator()
    if isinstance(operator, RayTransform):
        operator.backend_on(place)  # its error comes before any work
    workers = workers or Workers()
    chosen = choose_metrics(metrics)
    trials = [
        _Trial(name, method, task.convention, chosen, workers, warm_up or _called, memory)
        for name, method in choose_methods(task, methods, place).items()
    ]
    skipped: dict[int, str] = {}
    indices: list[int] = []
    waiting: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    first: torch.Tensor | None = None
    with ExitStack() as stack:
        for trial in trials:
            if trial.network is not None:
                stack.enter_context(judged(trial.network))
        n = n_pairs(pairs) or 0
        for index in range(n):
            sinogram, truth = pairs[index]
            reason = task.unusable(sinogram, truth)
            if reason is not None:
                skipped[index] = reason
            else:
                indices.append(index)
                first = truth[0].clone() if first is None else first
                waiting.append((index, sinogram[None].to(place), truth[None]))
            is_timed = timed is None or len(indices) <= timed
            if not (is_timed or len(waiting) == _AT_ONCE or index == n - 1):
                continue
            for trial in trials:
                if is_timed:
                    for pair in waiting:
                        trial.reconstruct(*pair, operator)
                else:
                    trial.reconstruct_untimed(waiting, operator)
                if progress is not None:
                    progress(trial.name, index + 1)
            waiting.clear()
    if first is None:
        raise TomolearnError(
            f"pairs: expected one at least whose image has metrics, got {listed(skipped)}"
        )
    failures = [reason for trial in trials for reason in trial.failures.values()]
    if len(failures) == len(indices) * len(trials):
        raise DivergenceError(failures[0])
    _warn_of_skipped(skipped, trials, len(indices))
    rows = tuple(trial.row(indices) for trial in trials)
    name = None if data is None else Path(data).name
    return Comparison(task, split, seed, str(place), rows, first, name, skipped)


class _Trial:
    """A method and what it has achieved so far."""

    def __init__(
        self,
        name: str,
        method: Reconstruction,
        convention: MetricConvention,
        metrics: Mapping[str, Metric],
        workers: Workers,
        warm_up: WarmUp,
        memory: bool,
    ) -> None:
        self.name = name
        self.network = method if isinstance(method, torch.nn.Module) else None
        self.failures: dict[int, str] = {}
        self._method, self._convention, self._metrics = method, convention, metrics
        # others that draw random numbers must not change what this one draws
        self._random = RandomStream()
        self._workers, self._warm_up, self._memory = workers, warm_up, memory
        self._warm = False
        self._peak: int | None = None
        self._example: torch.Tensor | None = None
        self._seconds: list[float] = []
        self._found: dict[int, dict[str, float]] = {}

    def reconstruct(
        self, index: int, sinogram: torch.Tensor, truth: torch.Tensor, operator: LinearOperator
    ) -> None:
        """Reconstruct and measure an image; what fails costs this image of this method only.

        A mistake that shows at once, with the first image, is told instead.
        """
        call = self._workers.known(self._method, sinogram)
        if call is None or (call.seconds is None and isinstance(call.image, torch.Tensor)):
            try:
                if not self._warm:
                    with self._ready():
                        self._warm_up(self._method, sinogram.clone(), operator, truth)
                    self._warm = True
                call = self._timed(sinogram, operator)
            except LOSSES as error:
                call = Call(error)
            self._workers.keep(self._method, sinogram, call)
        if self._judge(index, call.image, truth) and call.seconds is not None:
            self._seconds.append(call.seconds)
            self._peak = call.peak if self._peak is None else self._peak

    def reconstruct_untimed(
        self, pairs: Sequence[tuple[int, torch.Tensor, torch.Tensor]], operator: LinearOperator
    ) -> None:
        """Reconstruct and measure the images of (number, sinogram, truth) that are left."""
        with self._ready():
            found = self._workers.reconstruct(self._method, operator, [y for _, y, _ in pairs])
        for (index, _, truth), image in zip(pairs, found, strict=True):
            self._judge(index, image, truth)

    def _judge(self, index: int, image: Any, truth: torch.Tensor) -> bool:
        """Measure an image, or note its failure; return whether it has metrics."""
        try:
            if isinstance(image, Exception):
                raise image
            image = _checked_image(self.name, image, truth)
            found = measure(image, truth, self._convention, self._metrics)
        except LOSSES as error:
            if not self._found and not isinstance(error, DivergenceError):
                raise
            self.failures[index] = " ".join(str(error).splitlines()) or type(error).__name__
            return False
        if not self._found and not self.failures:  # of the others only the metrics are kept
            self._example = image[0, 0].clone()
        self._found[index] = found
        return True

    def row(self, indices: Sequence[int]) -> Row:
        """Return what was achieved on the pairs of these numbers."""
        names = list(next(iter(self._found.values()), dict.fromkeys(STANDARD)))
        metrics = {
            name: Summary(
                torch.tensor(
                    [self._found.get(index, {}).get(name, math.nan) for index in indices],
                    dtype=torch.float64,
                )
            )
            for name in names
        }
        size = _n_parameters(self._method)
        failures = dict(self.failures)
        return Row(
            self.name, metrics, tuple(self._seconds), size, self._example, failures, self._peak
        )

    def _timed(self, sinogram: torch.Tensor, operator: LinearOperator) -> Call:
        sinogram = sinogram.clone()  # what a method does to it must not reach the next one

        def timed() -> Call:
            start = now(sinogram.device)
            image = self._method(sinogram, operator)
            return Call(image, now(sinogram.device) - start)

        with self._ready():
            if not self._memory or self._seconds:
                return timed()
            call, peak = peak_of(timed)
            return dataclasses.replace(call, peak=peak)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Have the method's own random numbers drawn, and gradients for functions that need them.

        A function may need gradients, as a deep image prior does.
        """
        gradients = torch.is_grad_enabled() and self.network is None
        with self._random.drawn(), torch.set_grad_enabled(gradients):
            yield


def _called(
    method: Reconstruction, sinogram: torch.Tensor, operator: LinearOperator, truth: torch.Tensor
) -> None:
    method(sinogram, operator)


def _checked_task(task: Any) -> Task:
    if isinstance(task, Task):
        return task
    if not isinstance(task, str):
        raise TomolearnTypeError(f"task: expected a name or a Task, got {type(task).__name__}")
    return get_task(task)


def _checked_image(name: str, image: Any, truth: torch.Tensor) -> torch.Tensor:
    if not isinstance(image, torch.Tensor):
        raise TomolearnTypeError(
            f"{name}: expected an image as a torch.Tensor, got {type(image).__name__}"
        )
    if image.shape != truth.shape:
        raise TomolearnError(
            f"{name}: expected an image of shape {tuple(truth.shape)}, got {tuple(image.shape)}"
        )
    n_bad = int((~torch.isfinite(image)).sum())
    if n_bad:
        raise DivergenceError(f"{name}: expected finite image values, got {n_bad} others")
    return image.detach().cpu()


def _warn_of_skipped(skipped: Mapping[int, str], trials: Sequence[_Trial], n: int) -> None:
    texts = []
    if skipped:
        texts.append(f"{len(skipped)} of {len(skipped) + n} pairs do not count: {listed(skipped)}")
    texts += [
        f"{trial.name}: no image of {len(trial.failures)} of {n} pairs: {listed(trial.failures)}"
        for trial in trials
        if trial.failures
    ]
    if texts:
        warnings.warn("; ".join(texts), SkippedImagesWarning, stacklevel=3)


def _n_parameters(method: Reconstruction) -> int:
    if isinstance(method, FromWeights):
        return int(method.card["parameters"])
    if isinstance(method, Ensemble):
        return sum(_n_parameters(one) for one in method.methods or ())
    if not isinstance(method, torch.nn.Module):
        return 0
    return sum(weights.numel() for weights in method.parameters())
