"""The driver of iterative methods: counts, stops, reports, and notices divergence."""

from __future__ import annotations

import dataclasses
import math
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tomolearn._core.checks import check_flag, check_int
from tomolearn._core.errors import ConvergenceWarning, DivergenceError, TomolearnTypeError
from tomolearn._core.progress import progress_bar
from tomolearn.methods.checks import prepare
from tomolearn.methods.state import IterationState

if TYPE_CHECKING:
    from tomolearn.methods.stopping import Callback, Iterate, IterativeMethod
    from tomolearn.operators import LinearOperator

# Iterations between two looks for values that are not finite: each makes a GPU wait.
_FINITE_EVERY = 25


def run(
    method: IterativeMethod,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    x0: torch.Tensor | None = None,
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
    y, image, leading = prepare(sinogram, operator, x0)
    if math.prod(leading) == 0:
        return image.reshape(*leading, *operator.domain_shape)
    watch = _Watch(method, leading, math.prod(operator.range_shape), callback)
    previous = image
    with (
        torch.no_grad(),
        progress_bar(method.name, method.iterations, unit="iterations", shown=progress) as advance,
    ):
        for iterate in method.iterate(y, operator, image):
            watch.check(iterate, previous)
            previous = iterate.image
            advance()
            if watch.stopped or watch.iteration == method.iterations:
                break
    watch.warn()
    return previous.reshape(*leading, *operator.domain_shape)


class _Watch:
    """What is looked at after each iteration of one run."""

    def __init__(
        self,
        method: IterativeMethod,
        leading: tuple[int, ...],
        n_bins: int,
        callback: Callback | None,
    ) -> None:
        self.method, self.leading, self.callback = method, leading, callback
        self.callback_every = check_int("callback.every", getattr(callback, "every", 1), minimum=1)
        self.target: float | None = None
        if method.noise_level is not None:
            self.target = method.tau * method.noise_level * math.sqrt(n_bins)
        self.iteration = 0
        self.stopped = False
        self._unmet: list[str] = []

    def check(self, iterate: Iterate, previous: torch.Tensor) -> None:
        """Report an iteration, and decide whether it is the last one."""
        self.iteration += 1
        image, residual, certificate = iterate
        has_gap = self.method.has_gap
        last = self.iteration == self.method.iterations
        reports = self.callback is not None and (self.iteration % self.callback_every == 0 or last)
        due = self.iteration % self.method.check_every == 0 or last
        tests = due and self.method.tolerance is not None
        compares = due and self.target is not None
        if (self.iteration % _FINITE_EVERY == 0 or last) and not bool(torch.isfinite(image).all()):
            self._diverged()
        objective = gap = change = misfit = None
        if certificate is not None and (reports or (tests and has_gap)):
            objective, gap = certificate()
        if not has_gap and (reports or tests):
            change = _ratio(_norm(image - previous), _norm(image))
        if reports or compares:
            misfit = _norm(residual())
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
        worst = float(value.max())
        if math.isnan(worst):
            self._diverged()
        if worst <= limit:
            self.stopped = True
        else:
            self._unmet.append(f"{name} {worst:.3g}, asked for {limit:.3g},")

    def _report(self, image: torch.Tensor, misfit: Any, *values: torch.Tensor | None) -> None:
        if self.callback is None:
            return
        numbers = [None if v is None else v.reshape(self.leading) for v in (misfit, *values)]
        copy = image.clone().reshape(*self.leading, *image.shape[1:])
        if self.callback(IterationState(self.iteration, copy, *numbers)) is True:  # type: ignore[arg-type]
            self.stopped = True

    def _diverged(self) -> None:
        raise DivergenceError(
            f"{self.method.name}: the image is not finite after {self.iteration} iterations; "
            f"{self.method.remedy}"
        )


def per_image(numbers: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return numbers (batch,) in a shape that multiplies the images of `like` (batch, ...)."""
    return numbers.reshape(-1, *(1,) * (like.ndim - 1))


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the inner product of each image of the batch."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1), dim=1)


def quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Divide; a direction of zero length, at the solution, has step zero."""
    return torch.where(b > 0, a / b, 0)


def _norm(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Divide; nothing of nothing is zero."""
    return torch.where(part == 0, torch.zeros_like(part), part / whole)
