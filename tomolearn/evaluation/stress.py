"""Stress: methods under conditions that a task was not made for."""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import (
    ConvergenceWarning,
    DivergenceError,
    SkippedImagesWarning,
    TomolearnError,
    TrainedElsewhereWarning,
)
from tomolearn._core.tensors import check_device
from tomolearn.catalogue import Trained
from tomolearn.evaluation.comparison import compare
from tomolearn.evaluation.conditions import CONDITIONS
from tomolearn.evaluation.methods import Reconstruction, choose_methods
from tomolearn.evaluation.perturbation import worst_perturbation
from tomolearn.evaluation.workers import LOSSES
from tomolearn.methods import Method
from tomolearn.metrics import evaluate
from tomolearn.models.equilibrium.model import DeepEquilibrium
from tomolearn.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Progress = Callable[[str, int], None]
"""Called with a method's name and the number of conditions that it has done."""

FIRST = next(iter(CONDITIONS))
MORE, RANDOM, WORST = "iterations x 4", "random", "worst case"
ALL = (*CONDITIONS, MORE, RANDOM, WORST)
"""The conditions in the order of tables."""

_LONGER = 4
_EXPECTED = (TrainedElsewhereWarning, SkippedImagesWarning, ConvergenceWarning)


@dataclass(frozen=True, eq=False)
class Stress:
    """What `stress` returns.

    Parameters
    ----------
    task : Task
        What methods were tried on, and changes of it.
    n : int
        Number of images of each condition; of perturbations there is one.
    radius : float
        Norm of the perturbations as a part of the noise's.
    psnr : mapping of str to mapping of str to float
        Mean PSNR in dB under the task's convention by method and condition; not a number where
        the method has no image, as `failures` tells.
    factors : mapping of str to float
        How many times more the worst perturbation changes each method's image than random ones.
    failures : mapping of str to mapping of str to str
        Why a method has no image under a condition, or the condition has no meaning for it.
    """

    task: Task
    n: int
    radius: float
    psnr: Mapping[str, Mapping[str, float]]
    factors: Mapping[str, float]
    failures: Mapping[str, Mapping[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "task": self.task.name,
            "images": self.n,
            "radius": self.radius,
            "psnr": {
                method: {name: v if math.isfinite(v) else None for name, v in values.items()}
                for method, values in self.psnr.items()
            },
            "worst_over_random": dict(self.factors),
            "failures": {method: dict(reasons) for method, reasons in self.failures.items()},
        }

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Return the heads of a table, and for each condition the texts of its row."""
        heads = ["condition", *self.psnr]
        body = [
            [
                name,
                *(_text(values[name], self._why(method, name)) for method, values in self._all()),
            ]
            for name in ALL
        ]
        factors = [f"{self.factors.get(method, math.nan):.2f}" for method in self.psnr]
        return heads, [*body, ["worst / random", *factors]]

    def markdown(self) -> str:
        """Return the table in Markdown."""
        heads, body = self.rows()
        rule = ["---", *["---:"] * (len(heads) - 1)]
        lines = ("| " + " | ".join(line) + " |" for line in [heads, rule, *body])
        return "\n".join([*lines, "", self.note(), ""])

    def note(self) -> str:
        """Return what the numbers mean."""
        return (
            f"Mean PSNR in dB ({self.task.convention.name}) of {self.n} images of "
            f"{self.task.name}; of one image for perturbations, of {self.radius:g} times the "
            "noise's norm. Error: the method refuses or has no finite image; –: no such condition. "
            "Worst / random: change of the image by the worst perturbation that was found, as a "
            "multiple of that by random ones."
        )

    def draw(self) -> Figure:
        """Draw PSNR by condition, a line for each method.

        Returns
        -------
        matplotlib.figure.Figure
            Without a window and without pyplot's state; ``savefig`` writes it.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11.0, 4.5), layout="constrained")
        axes = figure.subplots()
        for method, values in self._all():
            axes.plot(range(len(ALL)), [values[name] for name in ALL], "o-", label=method)
        axes.set(ylabel="PSNR [dB]", xticks=range(len(ALL)))
        axes.set_xticklabels(ALL, rotation=30, ha="right")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        return figure

    def _all(self) -> list[tuple[str, Mapping[str, float]]]:
        return list(self.psnr.items())

    def _why(self, method: str, condition: str) -> str | None:
        return self.failures[method].get(condition)


def stress(
    task: Task,
    methods: Sequence[str] | Mapping[str, str | Reconstruction],
    *,
    images: int = 3,
    split: str = "test",
    radius: float = 0.5,
    steps: int = 10,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Stress:
    """Try methods under conditions that the task was not made for.

    The conditions are those of `evaluation.conditions.CONDITIONS`, which change dose, views,
    geometry and images; four times the iterations, for methods that iterate, networks with shared
    weights and deep-equilibrium networks, which are solved to a hundredth of their tolerance too;
    and perturbations of the sinogram, random ones and the worst that `worst_perturbation` finds.
    Methods are told of changed views, and neither of jitter nor of offset nor of the dose. Warnings
    that weights are used elsewhere are not given here, where that is the purpose.

    Parameters
    ----------
    task : Task
        One whose images are drawn, with a scan in the plane.
    methods : sequence of str, or mapping of str to str or callable
        As for `compare`.
    images, split
        Number of pairs of a split.
    radius : float
        Norm of perturbations as a part of the noise's in that sinogram; of 1 % of the data if the
        task has no noise.
    steps : int
        Steps of the search for the worst.
    device, progress
        As for `compare`.

    Raises
    ------
    TypeError, ValueError
        If an argument will not do, or a method fails on the task itself.
    """
    check_int("images", images, minimum=1)
    check_float("radius", radius, positive=True)
    place = check_device("device", device)
    chosen = choose_methods(task, methods, place)
    psnr: dict[str, dict[str, float]] = {}
    failures: dict[str, dict[str, str]] = {}
    factors: dict[str, float] = {}
    with warnings.catch_warnings():
        for kind in _EXPECTED:
            warnings.simplefilter("ignore", kind)
        for name, method in chosen.items():
            trial = _Trial(task, name, method, images, split, place)
            for done, condition in enumerate(CONDITIONS, 1):
                trial.under(condition)
                if progress is not None:
                    progress(name, done)
            trial.iterated()
            factors[name] = trial.perturbed(radius, steps)
            if progress is not None:
                progress(name, len(ALL))
            psnr[name], failures[name] = trial.psnr, trial.failures
    return Stress(task, images, radius, psnr, factors, failures)


class _Trial:
    """One method under one condition after another."""

    def __init__(
        self,
        task: Task,
        name: str,
        method: Reconstruction,
        images: int,
        split: str,
        place: torch.device,
    ) -> None:
        self._task, self._name, self._method = task, name, method
        self._images, self._split, self._place = images, split, place
        self.psnr = dict.fromkeys(ALL, math.nan)
        self.failures: dict[str, str] = {}

    def under(self, condition: str) -> None:
        """Reconstruct the pairs of a changed task."""
        try:
            task = CONDITIONS[condition].change(self._task)
        except TomolearnError as error:
            self.failures[condition] = f"–: {error}"
            return
        self._judge(condition, task, self._method)

    def iterated(self) -> None:
        """Iterate longer than the method was made for."""
        longer = iterated_longer(self._method, _LONGER)
        if longer is None:
            self.failures[MORE] = "–: it has no number of iterations that could be raised"
        else:
            self._judge(MORE, self._task, longer)

    def perturbed(self, radius: float, steps: int) -> float:
        """Perturb the first sinogram; return how much worse the worst is than random."""
        task = self._task
        sinogram, truth = task.pairs(self._split, size=1)[0]
        noise: Any = task.acquisition.noise
        level = getattr(noise, "level", None)
        size = float(sinogram.norm()) / 100
        if level is not None:
            size = level(sinogram[0].numpy()) * math.sqrt(sinogram.numel())
        try:
            found = worst_perturbation(
                self._method,
                sinogram[None].to(self._place),
                task.operator(),
                truth,
                radius=radius * size,
                steps=steps,
            )
        except DivergenceError as error:
            self.failures[RANDOM] = self.failures[WORST] = str(error)
            return math.nan
        self.psnr[WORST] = self._psnr(found.image, truth)
        randoms = [self._psnr(one, truth) for one in found.random_images]
        self.psnr[RANDOM] = sum(randoms) / len(randoms)
        return found.factor

    def _psnr(self, image: torch.Tensor, truth: torch.Tensor) -> float:
        shape = truth.shape[1:]
        found, wanted = (one.reshape(1, *shape).cpu().double() for one in (image, truth))
        return evaluate(found, wanted, self._task.convention).psnr.mean

    def _judge(self, condition: str, task: Task, method: Reconstruction) -> None:
        try:
            found = compare(
                task,
                {self._name: method},
                split=self._split,
                images=self._images,
                device=self._place,
            )
        except LOSSES as error:
            if condition == FIRST:
                raise
            self.failures[condition] = str(error) or type(error).__name__
            return
        row = found.rows[0]
        self.psnr[condition] = row.metrics["psnr"].mean
        if row.failures:
            number, reason = next(iter(row.failures.items()))
            self.failures[condition] = f"{len(row.failures)} images, {number}: {reason}"


def iterated_longer(method: Any, factor: int) -> Reconstruction | None:
    """Return a method with so many times the iterations; None if it has none to be raised."""
    if isinstance(method, Trained):
        network: Any = copy.deepcopy(method.network())
        scale = method.image_scale
        if isinstance(network, DeepEquilibrium):
            network.max_iterations *= factor
            network.tolerance /= 100
        elif isinstance(getattr(network, "iterations", None), int):
            network.iterations *= factor
        else:
            return None

        def longer(sinogram: torch.Tensor, operator: Any) -> torch.Tensor:
            with torch.no_grad():
                return network.apply_to(sinogram * scale, operator) / scale

        return longer
    if isinstance(method, Method) and "iterations" in [one.name for one in method.settings()]:
        changes: dict[str, Any] = {"iterations": factor * method.iterations}  # type: ignore[attr-defined]
        if "tolerance" in [one.name for one in method.settings()]:
            changes["tolerance"] = None
        return dataclasses.replace(method, **changes)
    return None


def _text(value: float, reason: str | None) -> str:
    if math.isfinite(value):
        return f"{value:.2f}"
    return "–" if reason is not None and reason.startswith("–") else "error"
