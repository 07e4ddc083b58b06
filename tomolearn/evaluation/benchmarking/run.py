"""Benchmark of methods on a task: settings searched, images judged, results kept."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import DivergenceError, TomolearnError, TrainedElsewhereWarning
from tomolearn._core.tensors import check_device
from tomolearn.catalogue import FromWeights
from tomolearn.data import n_pairs
from tomolearn.evaluation.benchmarking.cache import Cache, fingerprint
from tomolearn.evaluation.benchmarking.phantom import QualityPhantom
from tomolearn.evaluation.benchmarking.search import Search, search
from tomolearn.evaluation.bootstrap import paired_bootstrap
from tomolearn.evaluation.comparison import compare
from tomolearn.evaluation.convergence import iterates, trace
from tomolearn.evaluation.kept_calls import KeptCalls
from tomolearn.evaluation.methods import Reconstruction, choose_methods
from tomolearn.evaluation.results import plain
from tomolearn.evaluation.tables import range_text
from tomolearn.evaluation.workers import LOSSES, Workers
from tomolearn.methods import Method
from tomolearn.metrics import Metric, MetricConvention, evaluate, rmse
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.tasks import CURVES, PUBLISHED, Task, data_of_others, get_task

FORMAT = 1
_SCANS = 5  # of the phantom for image quality
_POINTS = 100  # of a curve of convergence
_CLOCKS = ("seconds", "processor_seconds")
_AHEAD = 16  # images that are reconstructed before they are compared

Told = Callable[[str, str], None]
"""Called with a method's name and what is done with it next."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """What a benchmark measures, and on what.

    Parameters
    ----------
    split : str
        Part of the task's data whose images are judged.
    images : int
        Number of pairs.
    timed_images : int
        Number of those that are reconstructed alone, for times: the first.
    seed : int, optional
        Of the pairs; None: the split's own.
    search_images : int
        Number of validation images that settings are searched on; 0: settings as the task and the
        cards have them.
    physics : bool
        Whether to measure noise power, edge MTF and contrast to noise.
    device : str
        Where it is computed.
    """

    split: str = "test"
    images: int = 10
    timed_images: int = 3
    seed: int | None = None
    search_images: int = 2
    physics: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_int("images", self.images, minimum=1)
        check_int("timed_images", self.timed_images, minimum=1)
        check_int("search_images", self.search_images, minimum=0)
        if self.split == "validation" and self.search_images:
            raise TomolearnError(
                "split: expected another than validation, on which settings are searched, or "
                "search_images=0, got validation"
            )


@dataclass(frozen=True, eq=False)
class BenchmarkResults:
    """What `run_benchmark` returns.

    Parameters
    ----------
    values : dict
        All numbers, ready for JSON.
    images : mapping of str to torch.Tensor, shape (rows, columns)
        First image of each method that has one.
    truth : torch.Tensor, shape (rows, columns), or None
        What it should be.
    spacing : tuple of float
        Distances of rows and columns.
    """

    values: dict[str, Any]
    images: Mapping[str, torch.Tensor] = field(default_factory=dict)
    truth: torch.Tensor | None = None
    spacing: tuple[float, float] = (1.0, 1.0)


def run_benchmark(
    task: str | Task,
    methods: Sequence[str] | Mapping[str, str | Reconstruction],
    *,
    cache: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    settings: BenchmarkSettings | None = None,
    workers: int = 1,
    told: Told | None = None,
) -> BenchmarkResults:
    """Search settings, reconstruct and judge, with every number that a report needs.

    Settings are searched on validation images alone. The result of each method is kept in a
    folder, under a digest of task, data, settings, method and weights, and until then each image: a
    run that was stopped goes on with the next image, and a method that was added costs itself only.

    Parameters
    ----------
    task, methods, data
        As for `tomolearn.evaluation.compare`.
    cache : path-like
        Folder of the results of methods; it is made.
    settings : BenchmarkSettings, optional
        What is measured. Default: as the class has it.
    workers : int
        Number of processes, of one thread each, that reconstruct what is not timed with methods
        that take long; 1: all is done in this process. A script that has more needs the usual
        ``if __name__ == "__main__":``. Not on GPUs.
    told : callable, optional
        Told the name of a method and what is done with it.

    Raises
    ------
    OSError, TypeError, ValueError
        As for `compare`, `search` and `QualityPhantom`.
    """
    settings = settings or BenchmarkSettings()
    chosen_task = get_task(task) if isinstance(task, str) else task
    place = check_device("device", settings.device)
    chosen = choose_methods(chosen_task, methods, place)
    rows, images, truth = [], {}, None
    started = _clocks()
    with Workers(workers if place.type == "cpu" else 1) as processes:
        known = Cache(cache)
        where = None if data is None else Path(data)
        bench = _Benchmark(chosen_task, settings, where, known, processes)
        for name, method in chosen.items():
            row, image, truth = bench.row(name, method, told or _silent)
            rows.append(row)
            if image is not None:
                images[name] = image
    # what other runs have done took time as well
    took = None if bench.goes_on else [b - a for a, b in zip(started, _clocks(), strict=True)]
    if all(row["metrics"]["psnr"]["mean"] is None for row in rows):
        raise DivergenceError(next(iter(rows[0]["failures"].values())))
    values = {
        "format": FORMAT,
        "task": chosen_task.to_dict(),
        "data": None if data is None else Path(data).name,
        "settings": dataclasses.asdict(settings),
        "columns": columns(chosen_task),
        "labels": [str(n) for n in range(len(rows[0]["metrics"]["psnr"]["values"]))],
        "score": "psnr",
        "rows": with_intervals(rows, "psnr"),
        "published": [one.to_dict() for one in PUBLISHED.get(chosen_task.name, ())],
        "curves": [one.to_dict() for one in CURVES.get(chosen_task.name, ())],
        "took": None if took is None else dict(zip(_CLOCKS, took, strict=True)),
        "machine": machine(),
    }
    spacing = chosen_task.grid.spacing[-2:]
    return BenchmarkResults(values, images, truth, (float(spacing[0]), float(spacing[1])))


def _clocks() -> tuple[float, float]:
    """Return seconds that have passed, and those of processors, of ended workers as well."""
    return time.perf_counter(), sum(os.times()[:4])


def _silent(name: str, what: str) -> None:
    """Tell nobody."""


def with_intervals(rows: list[dict[str, Any]], score: str) -> list[dict[str, Any]]:
    """Return rows with intervals of all means, and of differences of the score to the best row."""
    found = [{**row, "metrics": dict(row["metrics"])} for row in rows]
    for metric in rows[0]["metrics"]:
        scores = {
            row["method"]: [float("nan") if v is None else v for v in values["values"]]
            for row in rows
            if (values := row["metrics"].get(metric)) is not None
        }
        intervals = paired_bootstrap(scores)
        for row in found:
            if metric in row["metrics"]:
                ends = intervals[row["method"]].to_dict()
                known = row["metrics"][metric]
                row["metrics"][metric] = known | {"low": ends["low"], "high": ends["high"]}
        if metric == score:
            best = max(scores, key=lambda name: _or_least(intervals[name].mean))
            to_best = paired_bootstrap(scores, reference=best)
            for row in found:
                row["to_best"] = {"best": best} | to_best[row["method"]].to_dict()
    return found


def _or_least(value: float) -> float:
    return value if value == value else float("-inf")


def columns(task: Task) -> list[dict[str, Any]]:
    """Return the metrics of a task: key, heading, unit, digits, and whether it is a main one."""
    convention = task.convention
    psnr_range, ssim_range = (
        range_text(one) for one in (convention.psnr_range, convention.ssim_range)
    )
    clipped = "" if convention.clip is None else ", clipped"

    def column(metric: str, head: str, digits: int, unit: str = "", main: bool = False) -> Any:
        return {"metric": metric, "head": head, "digits": digits, "unit": unit, "main": main}

    found = [
        column("psnr", f"PSNR (L = {psnr_range}{clipped})", 2, "dB", True),
        column("ssim", f"SSIM (L = {ssim_range}{clipped})", 3, "", True),
        column("ssim_gaussian", f"SSIM, Gaussian window (L = {ssim_range}{clipped})", 3),
        column("psnr_range_1", "PSNR (L = 1)", 2, "dB"),
        column("ssim_range_1", "SSIM (L = 1)", 3),
        column("ssim_gaussian_range_1", "SSIM, Gaussian window (L = 1)", 3),
        column("regressed_snr", "regressed SNR", 2, "dB"),
        column("rmse", "RMSE", 4),
    ]
    if task.hounsfield is not None:
        found.insert(2, column("rmse_hu", "RMSE", 1, "HU", True))
    return found


def _metrics(task: Task) -> dict[str, Metric]:
    """Return what is measured besides what `compare` always measures."""

    def gaussian(convention: str | MetricConvention) -> Metric:
        def similarity(image: torch.Tensor, truth: torch.Tensor) -> float:
            x, y = (one.reshape(-1, *one.shape[-2:]) for one in (image, truth))
            return evaluate(x, y, convention, window="gaussian").ssim.mean

        return similarity

    found: dict[str, Metric] = {
        "ssim_gaussian": gaussian(task.convention),
        "ssim_gaussian_range_1": gaussian("range-1"),
        "rmse": rmse,
    }
    if (hounsfield := task.hounsfield) is not None:
        found["rmse_hu"] = lambda image, truth: hounsfield * rmse(image, truth)
    return found


class _Benchmark:
    """A task, its data and where results are kept."""

    def __init__(
        self,
        task: Task,
        settings: BenchmarkSettings,
        data: Path | None,
        cache: Cache,
        workers: Workers,
    ) -> None:
        self._task, self._settings, self._data, self._cache = task, settings, data, cache
        self._workers = workers
        self._what = {
            "format": FORMAT,
            "task": task.to_dict(),
            "settings": dataclasses.asdict(settings),
            "data": None if data is None else fingerprint(data),
        }
        self._place = check_device("device", settings.device)
        self._operator = task.operator()
        if isinstance(self._operator, RayTransform):
            self._operator.backend_on(self._place)  # its error comes before any work
        self._validation: list[tuple[torch.Tensor, torch.Tensor]] | None = None
        self._untimed: list[torch.Tensor] | None = None
        self.goes_on = False  # where another run was stopped, or with methods that it has measured

    def row(
        self, name: str, method: Reconstruction, told: Told
    ) -> tuple[dict[str, Any], torch.Tensor | None, torch.Tensor]:
        """Return the row of a method, its first image, and the truth of that."""
        digest = self._cache.digest(self._what, name, method)
        kept = None if digest is None else self._cache.read(digest)
        if kept is None:
            calls = None if digest is None else self._cache.calls(digest)
            self.goes_on |= calls is not None and calls.begun
            with self._workers.keeping(calls):
                kept = self._measured(name, method, _Convergence(calls), told)
            if digest is not None:
                self._cache.write(digest, *kept)
        else:
            told(name, "is known")
            self.goes_on = True
        row, images = kept
        return row, images.get("image"), images["truth"]

    def _measured(
        self, name: str, method: Any, convergence: _Convergence, told: Told
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        settings, task = self._settings, self._task
        searched: Search | None = None
        if settings.search_images and isinstance(method, Method):
            told(name, "settings are searched")
            with _said_once():
                searched = search(
                    method,
                    self._validation_pairs(),
                    self._operator,
                    task.convention,
                    self._workers,
                )
            if searched is not None:
                method = dataclasses.replace(method, **searched.settings)
        told(name, "images are reconstructed")
        if self._workers.keeps:
            with torch.no_grad(), _said_once():
                self._workers.reconstruct(method, self._operator, self._untimed_sinograms())
        comparison = compare(
            task,
            {name: method},
            metrics=_metrics(task),
            split=settings.split,
            data=self._data,
            images=settings.images,
            seed=settings.seed,
            device=settings.device,
            timed=settings.timed_images,
            workers=self._workers,
            warm_up=convergence,
            memory=self._place.type == "cpu",
        )
        (found,) = comparison.rows
        row = found.to_dict() | {
            "network": _network(method),
            "settings": method.to_dict() if isinstance(method, Method) else None,
            "search": None if searched is None else searched.to_dict(),
            "skipped": {str(index): reason for index, reason in comparison.skipped.items()},
            "peak_mib": found.peak / 2**20 if found.peak else None,
            "trace": convergence.found,
        }
        images = {"truth": comparison.truth}
        if found.example is not None:
            images["image"] = found.example
        if settings.physics:
            told(name, "noise and resolution are measured")
            row["physics"] = self._physics(method, comparison.truth)
        return plain(row), images

    def _physics(self, method: Any, truth: torch.Tensor) -> dict[str, Any]:
        phantom = self._phantom(truth)
        if phantom is None:
            return {"reason": "only tasks in the plane with a scan have a phantom"}
        try:
            with _said_once():
                return phantom.measure(method, scans=_SCANS, workers=self._workers)
        except LOSSES as error:
            return {"reason": " ".join(str(error).splitlines())}

    def _phantom(self, truth: torch.Tensor) -> QualityPhantom | None:
        task = self._task
        if task.grid.ndim != 2 or task.scan is None:
            return None
        # water where images are of CT; elsewhere what the images have in the mean
        mean = float(truth[truth > 0].mean())
        return QualityPhantom(task, 1000.0 / task.hounsfield if task.hounsfield else mean)

    def _untimed_sinograms(self) -> list[torch.Tensor]:
        """Return the first images that are not timed, and the scans of the disc.

        In one queue they keep all processes busy; `compare` and the phantom find them done.
        """
        if self._untimed is None:
            settings, task = self._settings, self._task
            pairs = task.pairs(
                settings.split, data=self._data, size=settings.images, seed=settings.seed
            )
            found = (pairs[index] for index in range(n_pairs(pairs) or 0))
            usable = (pair for pair in found if task.unusable(*pair) is None)
            some = list(islice(usable, settings.timed_images + _AHEAD))
            self._untimed = [y[None].to(self._place) for y, _ in some[settings.timed_images :]]
            if settings.physics and some and (phantom := self._phantom(some[0][1])) is not None:
                self._untimed += phantom.scans(_SCANS)
        return self._untimed

    def _validation_pairs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        if self._validation is None:
            data = data_of_others(self._data)
            available = n_pairs(self._task.pairs("validation", data=data))
            size = self._settings.search_images
            size = size if available is None else min(size, available)
            pairs = self._task.pairs("validation", data=data, size=size)
            found = [pairs[index] for index in range(size)]
            self._validation = [
                (y.to(self._place), x) for y, x in found if self._task.unusable(y, x) is None
            ]
        return self._validation


class _Convergence:
    """A call before the timed ones that records how the method converges, if it iterates."""

    def __init__(self, calls: KeptCalls | None) -> None:
        self._calls = calls
        self.found: dict[str, Any] | None = None if calls is None else calls.read_numbers("trace")

    def __call__(
        self, method: Any, sinogram: torch.Tensor, operator: LinearOperator, truth: torch.Tensor
    ) -> None:
        if self.found is not None or not iterates(method):
            method(sinogram, operator)
            return
        count = getattr(method, "iterations", None) or _POINTS
        every = max(1, int(count) // _POINTS)
        self.found = plain(trace(method, sinogram, operator, truth, every=every).to_dict())
        if self._calls is not None:
            self._calls.write_numbers("trace", self.found)


@contextmanager
def _said_once() -> Iterator[None]:
    """Silence what `compare` says anyway: that weights are used elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainedElsewhereWarning)
        yield


def _network(method: Any) -> str | None:
    """Return the name by which publications' rows know a method."""
    if isinstance(method, FromWeights):
        return str(method.card["model"])
    return method.name if isinstance(method, Method) else None


def machine() -> dict[str, Any]:
    """Return the processor, its load, the number of threads, and the versions of what computes."""
    from tomolearn._core.version import versions

    model = None
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(errors="replace").splitlines()
        model = next(
            (s.split(":", 1)[1].strip() for s in lines if s.startswith("model name")), None
        )
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "versions": versions(),
    }
