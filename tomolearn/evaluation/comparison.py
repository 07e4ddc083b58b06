"""Several methods on the same pairs of a task, judged in the same way."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tomolearn._core.checks import check_choice
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import check_device
from tomolearn.data import n_pairs
from tomolearn.evaluation.figures import detailed_region, draw_images
from tomolearn.evaluation.methods import TRUTH, Method, choose_methods
from tomolearn.metrics import Evaluation, MetricConvention, Summary, evaluate, regressed_snr
from tomolearn.operators import RayTransform
from tomolearn.tasks import Task, get_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Progress", "Row", "compare"]

Progress = Callable[[str, int], None]
"""Called with a method's name and the number of pairs that it has done."""


@dataclass(frozen=True, eq=False)
class Row:
    """What one method achieved.

    Parameters
    ----------
    method : str
        Its name.
    scores : Evaluation
        Under the task's convention, one value per pair.
    scores_range_1 : Evaluation
        With data range 1 for both metrics.
    regressed_snr : Summary
        In dB, see `metrics.regressed_snr`.
    seconds : tuple of float
        Time per image, each reconstructed by a call of its own.
    n_parameters : int
        Number of learned parameters.
    example : torch.Tensor, shape (rows, columns)
        Reconstruction of the first pair, on the CPU.
    """

    method: str
    scores: Evaluation
    scores_range_1: Evaluation
    regressed_snr: Summary
    seconds: tuple[float, ...]
    n_parameters: int
    example: torch.Tensor

    @property
    def milliseconds(self) -> float:
        """Median time per image."""
        return 1e3 * statistics.median(self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return averages and the values behind them, ready for JSON."""
        return {
            "method": self.method,
            "scores": _with_values(self.scores),
            "scores_range_1": _with_values(self.scores_range_1),
            "regressed_snr": _plain(
                {
                    "mean": self.regressed_snr.mean,
                    "std": self.regressed_snr.std,
                    "values": self.regressed_snr.values.tolist(),
                }
            ),
            "milliseconds": self.milliseconds,
            "seconds": list(self.seconds),
            "parameters": self.n_parameters,
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` returns.

    Parameters
    ----------
    task : Task
        What the methods were tried on.
    split : str
        Part of its data.
    seed : int or None
        Seed of the pairs, None: the split's own.
    device : str
        Where it was computed.
    rows : tuple of Row
        One per method, in the order in which they were asked for.
    truth : torch.Tensor, shape (rows, columns)
        Image of the first pair.
    data : str or None
        Name of the file or folder that the pairs were read from, None: they were drawn.
    """

    task: Task
    split: str
    seed: int | None
    device: str
    rows: tuple[Row, ...]
    truth: torch.Tensor
    data: str | None = None

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self.rows[0].scores.psnr.n

    def to_dict(self) -> dict[str, Any]:
        """Return all but the images, ready for JSON."""
        return {
            "task": self.task.name,
            "split": self.split,
            "seed": self.seed,
            "data": self.data,
            "pairs": self.n,
            "device": self.device,
            "rows": [row.to_dict() for row in self.rows],
        }

    def draw(
        self,
        *,
        window: tuple[float, float] | None = None,
        zoom: tuple[int, int, int, int] | None = None,
    ) -> Figure:
        """Draw ground truth and reconstructions of the first pair, and a detail of each.

        All have one grey scale. Below each reconstruction is its own PSNR under the task's
        convention, not the average.

        Parameters
        ----------
        window : (float, float), optional
            Values shown black and white. Default: the smallest and the largest of the truth.
        zoom : (int, int, int, int), optional
            First row, row after the last, and the same for the columns, of the detail. Default:
            `detailed_region` of the truth.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        TypeError, ValueError
            As for `draw_images`.
        """
        truth = self.truth.numpy()
        if window is None:
            low, high = float(truth.min()), float(truth.max())
            window = (low, high if high > low else low + 1.0)
        height, width = self.task.grid.spacing[-2:]
        images = {TRUTH: truth} | {row.method: row.example.numpy() for row in self.rows}
        return draw_images(
            images,
            window=window,
            unit="image value",
            notes={row.method: f"{row.scores.psnr.values[0].item():.2f} dB" for row in self.rows},
            zoom=detailed_region(truth) if zoom is None else zoom,
            spacing=(height, width),
        )


def compare(
    task: str | Task,
    methods: Sequence[str] | Mapping[str, str | Method],
    *,
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
        What to try. A string is "fbp" or "tv", with the settings in ``task.baselines``, or the
        name of weights that come with the package, or the path of a file of weights. In a mapping
        the keys are the names in tables and figures, and a value may also be any function, or
        network, ``f(sinogram, operator) -> image``; it is called as it is.
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

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError
        If an argument is not of the kind named above, or a method returns no tensor.
    ValueError
        If the task, the split, a method or the settings of one are unknown, there are no methods,
        a name comes twice, the device is none of this machine or cannot compute the scan, the
        split has no end and `images` is not given, data is needed and not given, or a method
        returns an image of another shape or with values that are not finite.
    OSError
        If a file of weights, or the data, cannot be read.

    Warns
    -----
    TrainedElsewhereWarning
        If weights were trained for another task, grid or scan.

    Examples
    --------
    >>> comparison = compare("ellipses", ["fbp"], images=2)
    >>> [(row.method, row.scores.psnr.n) for row in comparison.rows]
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
    trials = [_Trial(name, method) for name, method in choose_methods(task, methods, place).items()]
    for index in range(n_pairs(pairs) or 0):
        sinogram, truth = pairs[index]
        for trial in trials:
            trial.reconstruct(sinogram[None].to(place), operator, truth[None], task.convention)
            if progress is not None:
                progress(trial.name, index + 1)
    rows = tuple(trial.row() for trial in trials)
    name = None if data is None else Path(data).name
    return Comparison(task, split, seed, str(place), rows, pairs[0][1][0], name)


class _Trial:
    """A method and what it has achieved so far."""

    def __init__(self, name: str, method: Method) -> None:
        self.name = name
        self._method = method
        self._images: list[torch.Tensor] = []
        self._seconds: list[float] = []
        self._scores: list[Evaluation] = []
        self._scores_range_1: list[Evaluation] = []
        self._snr: list[torch.Tensor] = []

    def reconstruct(
        self,
        sinogram: torch.Tensor,
        operator: RayTransform,
        truth: torch.Tensor,
        convention: MetricConvention,
    ) -> None:
        if not self._seconds:
            self._timed(sinogram, operator)
        image, seconds = self._timed(sinogram, operator)
        image = _checked_image(self.name, image, truth)
        self._images = self._images or [image[0, 0]]  # of the others only the scores are kept
        self._seconds.append(seconds)
        self._scores.append(evaluate(image, truth, convention))
        self._scores_range_1.append(evaluate(image, truth, "range-1"))
        self._snr.append(regressed_snr(image, truth))

    def row(self) -> Row:
        return Row(
            self.name,
            _joined(self._scores),
            _joined(self._scores_range_1),
            Summary(torch.cat(self._snr).reshape(-1)),
            tuple(self._seconds),
            _n_parameters(self._method),
            self._images[0],
        )

    def _timed(self, sinogram: torch.Tensor, operator: RayTransform) -> tuple[torch.Tensor, float]:
        is_network = isinstance(self._method, torch.nn.Module)
        # A function may need gradients, as a deep image prior does.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not is_network):
            _synchronize(sinogram.device)
            start = time.perf_counter()
            image = self._method(sinogram, operator)
            _synchronize(sinogram.device)
            return image, time.perf_counter() - start


def _checked_task(task: Any) -> Task:
    if isinstance(task, Task):
        return task
    if not isinstance(task, str):
        raise TomolearnTypeError(f"task: expected a name or a Task, got {type(task).__name__}")
    return get_task(task)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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


def _n_parameters(method: Method) -> int:
    if not isinstance(method, torch.nn.Module):
        return 0
    return sum(weights.numel() for weights in method.parameters())


def _joined(parts: list[Evaluation]) -> Evaluation:
    psnr, ssim = (
        Summary(torch.cat([getattr(part, metric).values.reshape(-1) for part in parts]))
        for metric in ("psnr", "ssim")
    )
    return replace(parts[0], psnr=psnr, ssim=ssim)


def _with_values(scores: Evaluation) -> dict[str, Any]:
    values = {"psnr": scores.psnr.values.tolist(), "ssim": scores.ssim.values.tolist()}
    return _plain(scores.to_dict() | values)


def _plain(values: Any) -> Any:
    """Return nested values with None for infinity, the PSNR without error, which JSON lacks."""
    if isinstance(values, dict):
        return {key: _plain(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_plain(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
