"""Several methods on the same pairs of a task, judged in the same way."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tomolearn._core.checks import check_choice
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import check_device, now
from tomolearn.catalogue import Trained
from tomolearn.data import n_pairs
from tomolearn.evaluation.methods import Reconstruction, choose_methods
from tomolearn.evaluation.metrics import choose_metrics, measure
from tomolearn.evaluation.results import Comparison, Row
from tomolearn.metrics import Metric, MetricConvention, Summary
from tomolearn.operators import RayTransform
from tomolearn.tasks import Task, get_task

Progress = Callable[[str, int], None]
"""Called with a method's name and the number of pairs that it has done."""


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
) -> Comparison:
    """Try methods on the same pairs of a task.

    Each image is reconstructed by a call of its own, and timed; a call before the first one, which
    compiles and fills caches, does not count.

    Parameters
    ----------
    task : str or Task
        A task by name, or one of your own.
    methods : sequence of str, or mapping of str to str or callable
        What to try. A string is what `tomolearn.catalogue.get_method` takes: a name with settings
        or without, weights, or ``file.py:function``; where the task has a baseline of that name,
        its settings are the defaults. In a mapping the keys are the names in tables and figures,
        and a value may also be a method, or any function or network,
        ``f(sinogram, operator) -> image``; it is called as it is.
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

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or not of the kind named above, a name comes twice, the device
        cannot compute the scan, `images` or `data` is missing where it is needed, or a method
        returns no tensor, or an image of another shape or with values that are not finite.
    OSError
        If a file of weights, or the data, cannot be read.

    Warns
    -----
    TrainedElsewhereWarning
        If weights were trained for another task, grid or scan.

    Examples
    --------
    >>> comparison = compare("ellipses", ["fbp"], images=2)
    >>> [(row.method, row.metrics["psnr"].n) for row in comparison.rows]
    [('fbp', 2)]
    """
    task = _checked_task(task)
    check_choice("split", split, tuple(task.splits))
    endless = data is None and not task.needs_data and task.splits[split].size is None
    if images is None and endless:
        raise TomolearnError(
            f"images: expected a number, since the {split} split has no end, got None"
        )
    place = check_device("device", device)
    pairs = task.pairs(split, data=data, size=images, seed=seed)
    operator = task.operator()
    operator.backend_on(place)  # its error comes before any work
    chosen = choose_metrics(metrics)
    trials = [
        _Trial(name, method, task.convention, chosen)
        for name, method in choose_methods(task, methods, place).items()
    ]
    for index in range(n_pairs(pairs) or 0):
        sinogram, truth = pairs[index]
        for trial in trials:
            trial.reconstruct(sinogram[None].to(place), operator, truth[None])
            if progress is not None:
                progress(trial.name, index + 1)
    rows = tuple(trial.row() for trial in trials)
    name = None if data is None else Path(data).name
    return Comparison(task, split, seed, str(place), rows, pairs[0][1][0], name)


class _Trial:
    """A method and what it has achieved so far."""

    def __init__(
        self,
        name: str,
        method: Reconstruction,
        convention: MetricConvention,
        metrics: Mapping[str, Metric],
    ) -> None:
        self.name = name
        self._method, self._convention, self._metrics = method, convention, metrics
        self._example: torch.Tensor | None = None
        self._seconds: list[float] = []
        self._found: list[dict[str, float]] = []

    def reconstruct(
        self, sinogram: torch.Tensor, operator: RayTransform, truth: torch.Tensor
    ) -> None:
        if not self._seconds:
            self._timed(sinogram, operator)
        image, seconds = self._timed(sinogram, operator)
        image = _checked_image(self.name, image, truth)
        if self._example is None:  # of the other images only the metrics are kept
            self._example = image[0, 0]
        self._seconds.append(seconds)
        self._found.append(measure(image, truth, self._convention, self._metrics))

    def row(self) -> Row:
        if self._example is None:
            raise RuntimeError(f"{self.name}: no image yet")
        metrics = {
            name: Summary(torch.tensor([found[name] for found in self._found], dtype=torch.float64))
            for name in self._found[0]
        }
        size = _n_parameters(self._method)
        return Row(self.name, metrics, tuple(self._seconds), size, self._example)

    def _timed(self, sinogram: torch.Tensor, operator: RayTransform) -> tuple[torch.Tensor, float]:
        is_network = isinstance(self._method, torch.nn.Module)
        sinogram = sinogram.clone()  # what a method does to it must not reach the next one
        # A function may need gradients, as a deep image prior does.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not is_network):
            start = now(sinogram.device)
            image = self._method(sinogram, operator)
            return image, now(sinogram.device) - start


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
        raise TomolearnError(f"{name}: expected finite image values, got {n_bad} others")
    return image.detach().cpu()


def _n_parameters(method: Reconstruction) -> int:
    if isinstance(method, Trained):
        return int(method.card["parameters"])
    if not isinstance(method, torch.nn.Module):
        return 0
    return sum(weights.numel() for weights in method.parameters())
