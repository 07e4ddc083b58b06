"""The driver of iterative methods: counts, stops, reports, and notices divergence."""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch

from tomolearn._core.checks import check_flag, check_int
from tomolearn._core.errors import (
    ConvergenceWarning,
    DivergenceError,
    TomolearnError,
    TomolearnTypeError,
)
from tomolearn._core.memory import Arrays
from tomolearn._core.progress import progress_bar
from tomolearn._core.tensors import norm
from tomolearn.geometry import Grid, Scan
from tomolearn.methods.checks import check_ray_transform, prepare
from tomolearn.methods.state import IterationState, Merit
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.operators.memory import check_memory

if TYPE_CHECKING:
    from tomolearn.methods.stopping import Callback, Iterate, IterativeMethod

# Iterations between two looks for divergence: each makes a GPU wait.
_LOOK_EVERY = 25
# In units of rounding of what is subtracted: a misfit that has risen by less has not risen. On
# small scans one unit is not reached; sums over larger ones round by more.
_ROUNDING = 100
# Sinograms that weights ask for: themselves, their roots, and the data without dead bins.
_WEIGHTS = 3


def run(
    method: IterativeMethod,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    x0: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
    padding: int = 0,
    progress: bool = False,
    callback: Callback | None = None,
    **stopping: Any,
) -> torch.Tensor:
    """Iterate until a stopping rule holds; see `IterativeMethod.__call__` and `Control`.

    `stopping` are settings that replace those of the method.
    """
    if stopping:
        method = dataclasses.replace(method, **stopping)
    check_flag("progress", progress)
    if callback is not None and not callable(callback):
        raise TomolearnTypeError(f"callback: expected a callable, got {type(callback).__name__}")
    padding = check_int("padding", padding, minimum=0)
    _check_memory(method, sinogram, operator, weights, padding)
    given, whole = weights, operator
    y, image, leading, weights = prepare(sinogram, operator, x0, weights)
    shape = operator.domain_shape
    if padding:
        operator, image = (
            _with_margin(check_ray_transform(operator), padding),
            _padded(image, padding),
        )
    roots = None if weights is None else weights.sqrt()
    weighting = {} if weights is None else {"weights": weights}
    if weighting and "weights" not in inspect.signature(method.iterate).parameters:
        raise TomolearnError(
            f"weights: expected none, since {type(method).__name__}.iterate does not take any"
        )
    if math.prod(leading) == 0:
        return _cropped(image, padding).reshape(*leading, *shape)

    def misfits() -> tuple[torch.Tensor, torch.Tensor]:
        """Return the size of the data, which is the misfit of no image, and that of the start."""
        start = _padded(prepare(sinogram, whole, x0, given)[1], padding)
        return _weighted_norm(y, roots), _weighted_norm(operator(start).sub_(y), roots)

    watch = _Watch(method, leading, misfits, callback, y, roots, padding)
    previous = image
    with (
        torch.no_grad(),
        progress_bar(method.name, method.iterations, unit="iterations", shown=progress) as advance,
    ):
        for iterate in method.iterate(y, operator, image, **weighting):
            watch.check(iterate, previous)
            previous = iterate.image
            advance()
            if watch.stopped or watch.settled or watch.iteration == method.iterations:
                break
    watch.warn()
    return _cropped(previous, padding).reshape(*leading, *shape)


def _check_memory(
    method: IterativeMethod, sinogram: Any, operator: Any, weights: Any, padding: int
) -> None:
    """Check that there is enough of it; what has the wrong type is refused by `prepare`."""
    held = method.memory
    if held is None or not isinstance(sinogram, torch.Tensor):
        return
    if not isinstance(operator, LinearOperator):
        return
    grown = [(n + 2 * padding) / n for n in operator.domain_shape]
    arrays = Arrays(
        held.images * math.prod(grown), held.sinograms + (0 if weights is None else _WEIGHTS)
    )
    batch = sinogram.numel() // max(1, math.prod(operator.range_shape))
    check_memory(method.name, operator, arrays, batch, sinogram)


class _Watch:
    """What is looked at after each iteration of one run."""

    def __init__(
        self,
        method: IterativeMethod,
        leading: tuple[int, ...],
        misfits: Callable[[], tuple[torch.Tensor, torch.Tensor]],
        callback: Callback | None,
        data: torch.Tensor,
        roots: torch.Tensor | None,
        padding: int,
    ) -> None:
        self.method, self.leading, self.callback = method, leading, callback
        self._misfits, self._roots, self._padding = misfits, roots, padding
        self._lowest: torch.Tensor | None = None
        self.callback_every = check_int("callback.every", getattr(callback, "every", 1), minimum=1)
        self.target: torch.Tensor | None = None
        if method.noise_level is not None:
            counted = torch.ones_like(data[:1]) if roots is None else roots > 0
            n_bins = counted.flatten(1).sum(1, dtype=torch.float64)
            self.target = method.tau * method.noise_level * n_bins.sqrt()
        self.iteration = 0
        self.stopped = self.settled = False
        self._unmet: list[str] = []

    def check(self, iterate: Iterate, previous: torch.Tensor) -> None:
        """Report an iteration, and decide whether it is the last one."""
        self.iteration += 1
        image, residual, certificate = iterate.image, iterate.residual, iterate.certificate
        has_gap = self.method.has_gap
        last = self.iteration == self.method.iterations
        # with bounds, steps that are too long make every other image zero, as good as none
        looks = self.iteration + 1 >= self.method.iterations or self.iteration % _LOOK_EVERY == 0
        if looks and iterate.settled is not None and bool(iterate.settled.all()):
            last = self.settled = True
        reports = self.callback is not None and (self.iteration % self.callback_every == 0 or last)
        due = self.iteration % self.method.check_every == 0 or last
        tests = due and self.method.tolerance is not None
        compares = due and self.target is not None
        if looks:
            self._look(iterate, last)
        objective = gap = change = misfit = None
        if certificate is not None and (reports or (tests and has_gap)):
            objective, gap = certificate()
        if not has_gap and (reports or tests):
            change = _ratio(norm(image - previous), norm(image))
        if reports or compares:
            misfit = _weighted_norm(residual(), self._roots)
        if due:
            self._unmet = []
        if tests and has_gap and objective is not None and gap is not None:
            self._compare("relative duality gap", _ratio(gap, objective), self.method.tolerance)
        elif tests:
            self._compare("relative change", change, self.method.tolerance)
        if compares:
            self._compare("residual", misfit, self.target)
        if reports:
            self._report(image, misfit, change, objective, gap)
        if self.stopped and not looks:
            self._look(iterate, True)

    def warn(self) -> None:
        """Warn if a stopping rule was asked for and not met."""
        if not self._unmet or self.stopped:
            return
        text = (
            f"{self.method.name}: {'; '.join(self._unmet)} after {self.iteration} iterations; "
            "allow more iterations or ask for less"
        )
        if sys.version_info >= (3, 12):
            package = str(Path(__file__).parents[1])
            warnings.warn(text, ConvergenceWarning, skip_file_prefixes=(package,))
        else:
            # who called the method's function
            warnings.warn(text, ConvergenceWarning, stacklevel=5)

    def _compare(self, name: str, value: Any, limit: Any) -> None:
        limits = torch.as_tensor(limit, dtype=value.dtype, device=value.device).expand_as(value)
        if bool(value.isnan().any()):
            self._diverged()
        if bool((value <= limits).all()):
            self.stopped = True
        else:
            worst = int((value - limits).argmax())
            self._unmet.append(f"{name} {value[worst]:.3g}, asked for {limits[worst]:.3g},")

    def _report(self, image: torch.Tensor, misfit: Any, *values: torch.Tensor | None) -> None:
        if self.callback is None:
            return
        numbers = [
            None if v is None else v.to(image.dtype).reshape(self.leading)
            for v in (misfit, *values)
        ]
        copy = _cropped(image, self._padding).clone()
        copy = copy.reshape(*self.leading, *copy.shape[1:])
        if self.callback(IterationState(self.iteration, copy, *numbers)) is True:  # type: ignore[arg-type]
            self.stopped = True

    def _look(self, iterate: Iterate, last: bool) -> None:
        """See whether the image is finite and its merit not above what it has been."""
        if not bool(torch.isfinite(iterate.image).all()):
            self._diverged()
        merit = iterate.merit or (self._misfit(iterate) if last else None)
        if merit is None:
            return
        now, before = merit.now(), merit.start if self._lowest is None else self._lowest
        rounding = _ROUNDING * torch.finfo(iterate.image.dtype).eps
        allowed = before + rounding * merit.size()
        risen = ~(now <= allowed)  # also what is not a number
        if bool(risen.any()):
            self._risen(merit.name, before, now, risen)
        if merit.falls:
            self._lowest = torch.minimum(before, now)

    def _misfit(self, iterate: Iterate) -> Merit:
        """Return the misfit, which is to end below that of the start or that of no image."""
        data, start = self._misfits()
        now = _weighted_norm(iterate.residual(), self._roots)
        return Merit("misfit", lambda: now, torch.maximum(data, start), lambda: data + start)

    def _risen(
        self, name: str, old: torch.Tensor, new: torch.Tensor, risen: torch.Tensor
    ) -> NoReturn:
        first = int(risen.nonzero()[0])
        where = ""
        if len(risen) > 1:
            index = np.unravel_index(first, self.leading)
            where = f" of image {', '.join(map(str, index))}"
        raise DivergenceError(
            f"{self.method.name}: the {name}{where} has risen from {float(old[first]):.3g} to "
            f"{float(new[first]):.3g} after {self.iteration} iterations; {self.method.remedy}"
        )

    def _diverged(self) -> NoReturn:
        raise DivergenceError(
            f"{self.method.name}: the image is not finite after {self.iteration} iterations; "
            f"{self.method.remedy}"
        )


def _with_margin(operator: RayTransform, padding: int) -> RayTransform:
    """Return the ray transform of a grid with more pixels at each end of every axis."""
    return _of_padded_grid(
        operator.grid, operator.scan, operator.backend, operator.rays_per_bin, padding
    )


@lru_cache(maxsize=4)
def _of_padded_grid(
    grid: Grid, scan: Scan, backend: str, rays_per_bin: int, padding: int
) -> RayTransform:
    return RayTransform.derived(grid.padded(padding), scan, backend, rays_per_bin)


def _padded(images: torch.Tensor, padding: int) -> torch.Tensor:
    """Return images (batch, ...) with so many zeros at each end of every axis."""
    if not padding:
        return images
    return torch.nn.functional.pad(images, (padding,) * (2 * (images.ndim - 1)))


def _cropped(images: torch.Tensor, padding: int) -> torch.Tensor:
    """Return images (batch, ...) without so many pixels at each end of every axis."""
    if not padding:
        return images
    inner = slice(padding, -padding)
    return images[(slice(None), *(inner,) * (images.ndim - 1))].contiguous()


def _weighted_norm(values: torch.Tensor, roots: torch.Tensor | None) -> torch.Tensor:
    """Return the norm of each image's values, times the roots of their weights."""
    return norm(values if roots is None else values * roots)


def per_image(numbers: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return numbers (batch,) so that they multiply the images of `like` (batch, ...)."""
    return numbers.to(like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


def misfit_merit(
    measure: Callable[[torch.Tensor], torch.Tensor],
    data: torch.Tensor,
    residual: torch.Tensor,
    bounded: torch.Tensor | None,
) -> Callable[[torch.Tensor], Merit]:
    """Return the merit of a method whose misfit falls in each iteration, for its residual.

    `measure` is its norm (batch,), `residual` that of the start. `bounded` is the start of a method
    without negative values: one that has some may fit better than what is allowed.
    """
    start = measure(residual)
    size = measure(data) + start
    if bounded is not None:
        start = start.masked_fill((bounded < 0).flatten(1).any(1), torch.inf)
    return lambda r: Merit("misfit", lambda: measure(r), start, lambda: size)


def quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Divide; a direction of zero length, at the solution, has step zero."""
    return torch.where(b > 0, a / b, 0)


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Divide; nothing of nothing is zero."""
    return torch.where(part == 0, torch.zeros_like(part), part / whole)
