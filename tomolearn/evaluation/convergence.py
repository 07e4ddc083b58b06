"""Objective and error over the iterations of a method."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.methods.state import IterationState
from tomolearn.operators import LinearOperator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# a logarithmic axis has no place for what is smaller than rounding
_LEAST = 1e-7


@dataclass(frozen=True)
class Trace:
    """How an iteration went, of all images of a batch together.

    Parameters
    ----------
    iterations : tuple of int
        Numbers of the iterations that were recorded.
    objective : tuple of float or None
        What the method minimises, None where it has no objective.
    residual : tuple of float
        ``||A x - y||``.
    error : tuple of float or None
        ``||x - truth|| / ||truth||``, None without a truth.
    """

    iterations: tuple[int, ...]
    objective: tuple[float, ...] | None
    residual: tuple[float, ...]
    error: tuple[float, ...] | None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {name: None if v is None else list(v) for name, v in vars(self).items()}


class _Recorder:
    """Callback that keeps numbers and no images."""

    def __init__(self, truth: torch.Tensor | None, every: int) -> None:
        self.every = every
        self._truth = truth
        self.rows: list[tuple[int, float | None, float, float | None]] = []

    def __call__(self, state: IterationState) -> None:
        error = None
        if self._truth is not None:
            truth = self._truth.to(state.image)
            error = float((state.image - truth).norm() / truth.norm())
        objective = None if state.objective is None else float(state.objective.sum())
        self.rows.append((state.iteration, objective, float(state.residual.norm()), error))


def trace(
    method: Callable[..., torch.Tensor],
    sinogram: torch.Tensor,
    operator: LinearOperator,
    truth: torch.Tensor | None = None,
    *,
    every: int = 1,
    **control: Any,
) -> Trace:
    """Reconstruct, and record objective, residual and error on the way.

    Parameters
    ----------
    method : callable
        A method that iterates, or a function such as `tomolearn.total_variation`.
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : LinearOperator
        The scanner.
    truth : torch.Tensor, shape (..., *operator.domain_shape), optional
        The true image.
    every : int
        Record every so many iterations, and the last.
    **control
        What else the method is called with, see `tomolearn.methods.Control`.

    Raises
    ------
    TypeError, ValueError
        If the method does not iterate, or the truth is zero or of another shape.

    Examples
    --------
    >>> curve = trace(tl.get_method("tv(weight=0.1)"), y, A, truth)
    >>> curve.objective[-1] <= curve.objective[0]
    True
    """
    check_int("every", every, minimum=1)
    if truth is not None:
        expected = (*sinogram.shape[: -len(operator.range_shape)], *operator.domain_shape)
        if tuple(truth.shape) != expected:
            raise TomolearnError(f"truth: expected shape {expected}, got {tuple(truth.shape)}")
        if not bool(truth.any()):
            raise TomolearnError("truth: expected an image that is not zero")
    if not iterates(method):
        raise TomolearnError(
            "method: expected one that iterates and takes a callback, got "
            f"{getattr(method, 'name', None) or method!r}"
        )
    recorder = _Recorder(truth, every)
    method(sinogram, operator, callback=recorder, **control)
    numbers, objectives, residuals, errors = zip(*recorder.rows, strict=True)
    return Trace(
        numbers,
        None if None in objectives else objectives,
        residuals,
        None if truth is None else errors,
    )


def iterates(method: Any) -> bool:
    """Return whether a method tells of its iterations, to a `callback`."""
    called = method if inspect.isfunction(method) else type(method).__call__
    parameters = inspect.signature(called).parameters.values()
    # networks and user's functions have keywords of their own, if any
    return any(
        one.name == "callback" or (one.kind is one.VAR_KEYWORD and one.name == "control")
        for one in parameters
    )


def draw_traces(traces: Mapping[str, Trace]) -> Figure:
    """Draw how iterations went: objectives above their smallest value, and errors.

    Parameters
    ----------
    traces : mapping of str to Trace
        By the names of methods. Each objective is drawn as its distance from its own smallest
        value, relative to what it was at first; methods minimise different things.

    Returns
    -------
    matplotlib.figure.Figure
        Without a window and without pyplot's state; ``savefig`` writes it.
    """
    if not traces:
        raise TomolearnError("traces: expected at least one, got none")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.0), layout="constrained")
    objective, error = figure.subplots(1, 2)
    for name, one in traces.items():
        if one.objective is not None:
            objective.loglog(one.iterations, _above_least(one.objective), label=name)
        values, what = (one.residual, "residual") if one.error is None else (one.error, "error")
        label = name if what == "error" else f"{name} ({what})"
        error.loglog(one.iterations, values, label=label)
    objective.set(xlabel="iteration", ylabel="objective above its smallest value, relative")
    error.set(xlabel="iteration", ylabel="‖x − truth‖ / ‖truth‖")
    for axes in (objective, error):
        axes.grid(which="both", alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    return figure


def _above_least(values: tuple[float, ...]) -> list[float]:
    least = min(values)
    size = max(values) - least or 1.0
    return [v if (v := (value - least) / size) > _LEAST else math.nan for value in values]
