"""Results of a comparison: values per method, as numbers, as JSON and drawn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from tomolearn.evaluation.figures import detailed_region, draw_images
from tomolearn.evaluation.methods import TRUTH
from tomolearn.metrics import Summary
from tomolearn.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FEW = 3


@dataclass(frozen=True, eq=False)
class Row:
    """What one method achieved.

    Parameters
    ----------
    method : str
        Its name.
    metrics : mapping of str to Summary
        One value per pair, not a number where the method has no image: "psnr" and "ssim" under the
        task's convention, "psnr_range_1" and "ssim_range_1" with data range 1, "regressed_snr" (all
        in dB but SSIM), and whatever else was asked for.
    seconds : tuple of float
        Time per image, each reconstructed by a call of its own.
    n_parameters : int
        Number of learned parameters.
    example : torch.Tensor, shape (rows, columns), or None
        Reconstruction of the first pair, on the CPU, if there is one.
    failures : mapping of int to str
        Why the method has no image of some pairs, by their numbers.
    peak : int or None
        Bytes that the first timed call held at most, if they were measured.
    """

    method: str
    metrics: Mapping[str, Summary]
    seconds: tuple[float, ...]
    n_parameters: int
    example: torch.Tensor | None
    failures: Mapping[int, str] = field(default_factory=dict)
    peak: int | None = None

    @property
    def n(self) -> int:
        """Number of images."""
        return max((one.n for one in self.metrics.values()), default=0)

    @property
    def milliseconds(self) -> float:
        """Median time per image."""
        return 1e3 * statistics.median(self.seconds) if self.seconds else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return averages and the values behind them, ready for JSON."""
        return {
            "method": self.method,
            "metrics": {name: summary_dict(one) for name, one in self.metrics.items()},
            "milliseconds": plain(self.milliseconds),
            "seconds": list(self.seconds),
            "parameters": self.n_parameters,
            "failures": {str(index): reason for index, reason in self.failures.items()},
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
        Image of the first pair that counts.
    data : str or None
        Name of the file or folder that the pairs were read from, None: they were drawn.
    skipped : mapping of int to str
        Why some pairs do not count, by their numbers.
    """

    task: Task
    split: str
    seed: int | None
    device: str
    rows: tuple[Row, ...]
    truth: torch.Tensor
    data: str | None = None
    skipped: Mapping[int, str] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of pairs that count."""
        return self.rows[0].n + len(self.rows[0].failures)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the images, ready for JSON."""
        return {
            "task": self.task.name,
            "split": self.split,
            "seed": self.seed,
            "data": self.data,
            "pairs": self.n,
            "skipped": {str(index): reason for index, reason in self.skipped.items()},
            "convention": self.task.convention.name,
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

        All have one grey scale; a method without an image of this pair is left out. Below each
        reconstruction is its own PSNR under the task's convention, not the average.

        Parameters
        ----------
        window : (float, float), optional
            Values shown black and white. Default: the smallest and the largest of the truth.
        zoom : (int, int, int, int), optional
            First row, row after the last, and the same for the columns, of the detail. Default:
            `detailed_region` of the truth.

        Raises
        ------
        TypeError, ValueError
            As for `draw_images`.
        """
        truth = self.truth.numpy()
        height, width = self.task.grid.spacing[-2:]
        images = {TRUTH: truth} | {
            row.method: row.example.numpy() for row in self.rows if row.example is not None
        }
        return draw_images(
            images,
            window=window,
            unit="image value",
            notes={
                row.method: f"{row.metrics['psnr'].values[0].item():.2f} dB"
                for row in self.rows
                if row.example is not None
            },
            zoom=detailed_region(truth) if zoom is None else zoom,
            spacing=(height, width),
        )


def listed(reasons: Mapping[int, str]) -> str:
    """Return the numbers of pairs and what is said of them, the first few of many."""
    shown = [f"{index} ({reason})" for index, reason in list(reasons.items())[:_FEW]]
    rest = len(reasons) - _FEW
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def summary_dict(summary: Summary) -> dict[str, Any]:
    """Return averages of a metric and the values behind them, ready for JSON."""
    found = {"mean": summary.mean, "std": summary.std, "values": summary.values.tolist()}
    return {**plain(found), "n": summary.n, "exact": summary.n_exact}


def plain(values: Any) -> Any:
    """Return nested values with None for numbers that JSON lacks: no value, or no error."""
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if isinstance(values, list):
        return [plain(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
