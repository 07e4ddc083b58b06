"""Weights, filter and back-projection of one scan, kept for the next sinogram."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch.nn.functional import pad

from tomolearn._core.telling import warn_user
from tomolearn.geometry import CoverageWarning, Grid, Scan
from tomolearn.geometry.coverage import judge_lines
from tomolearn.methods.analytic.filters import apply_filter, apply_transposed_filter, ramp_response
from tomolearn.methods.analytic.memory import arrays_held
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.operators.autograd import apply_made, maker
from tomolearn.operators.backprojection import backprojection_of
from tomolearn.operators.memory import check_memory

_PART = 2**19  # values that are filtered at once


def filtered_backprojection(
    sinogram: torch.Tensor,
    operator: RayTransform,
    name: str,
    scaling: float,
    oversampling: int,
    truncation: str = "zero",
) -> torch.Tensor:
    """Return the image of a checked sinogram; the parameters are those of `fbp`."""
    if torch.compiler.is_compiling():
        shape = [*sinogram.shape[: -len(operator.range_shape)], *operator.domain_shape]
        text = f"{name} {scaling} {oversampling} {truncation}"
        return apply_made(sinogram, operator, "fbp", text, shape)
    warning = _judged(operator.grid, operator.scan)
    if warning is not None:
        warn_user(warning, CoverageWarning)
    settings = (name, scaling, oversampling, truncation)
    batch = sinogram.numel() // math.prod(operator.range_shape)
    check_memory("fbp", operator, arrays_held(oversampling), batch, sinogram)
    plan = _plan(operator.scan, *settings, sinogram.dtype, sinogram.device)
    filtered = _filtered(sinogram, plan, oversampling, len(operator.range_shape))
    rows, columns = parts = _square_parts(operator.grid)
    if plan.missing or oversampling > 1 or parts != (1, 1):
        operator = _refined_transform(operator, plan.missing, oversampling, parts)
    image = operator.backproject(filtered)
    if parts != (1, 1):
        image = image.unflatten(-1, (-1, columns)).mean(-1)
        image = image.unflatten(-2, (-1, rows)).mean(-2)
    return image


def _filtered(sinogram: torch.Tensor, plan: _Plan, oversampling: int, ndim: int) -> torch.Tensor:
    """Weight and filter projections, in parts of the views: the filter needs much memory."""
    n_views = sinogram.shape[-ndim]
    count = max(1, _PART * n_views // max(1, sinogram.numel()))
    if count >= n_views:
        return _filtered_views(sinogram, 0, plan, oversampling, ndim)
    parts = (
        _filtered_views(part, k * count, plan, oversampling, ndim)
        for k, part in enumerate(sinogram.split(count, -ndim))
    )
    if torch._C._functorch.is_functorch_wrapped_tensor(sinogram) or (
        torch.is_grad_enabled() and sinogram.requires_grad
    ):
        return torch.cat(list(parts), -ndim)
    part = next(parts)
    filtered = part.new_empty((*part.shape[:-ndim], n_views, *part.shape[1 - ndim :]))
    filtered.narrow(-ndim, 0, count).copy_(part)
    for k, part in enumerate(parts, 1):
        filtered.narrow(-ndim, k * count, part.shape[-ndim]).copy_(part)
    return filtered


def _filtered_views(
    views: torch.Tensor, first: int, plan: _Plan, oversampling: int, ndim: int
) -> torch.Tensor:
    """Return weighted and filtered views, from the number `first` on, with missing bins added."""
    last = first + views.shape[-ndim]
    for weights in plan.weights:
        views = views * (weights if len(weights) == 1 else weights[first:last])
    if plan.missing:
        views = pad(views, (max(plan.missing, 0), max(-plan.missing, 0)))
    filtered = apply_filter(_extended(views, plan.taper), plan.response, oversampling)
    beside = oversampling * len(plan.taper)
    return filtered[..., beside:-beside] if beside else filtered


def _square_parts(grid: Grid) -> tuple[int, int]:
    """Return into how many rows and columns pixels are divided to be about square.

    The filter rings with the period of two bins, which are as wide as the shorter side of pixels
    or narrower: points as far apart as the longer side are would all meet the same phase of it.
    """
    height, width = grid.spacing[-2:]
    return max(1, math.ceil(height / width - 0.25)), max(1, math.ceil(width / height - 0.25))


class _FilteredBackprojection(LinearOperator):
    """Filtered back-projection as an operator, for code that `torch.compile` looks into."""

    def __init__(
        self,
        transform: RayTransform,
        name: str,
        scaling: float,
        oversampling: int,
        truncation: str = "zero",
    ) -> None:
        super().__init__(transform.range_shape, transform.domain_shape)
        self.transform, self.settings = transform, (name, scaling, oversampling, truncation)

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return filtered_backprojection(x, self.transform, *self.settings)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        scan, oversampling = self.transform.scan, self.settings[2]
        plan = _plan(scan, *self.settings, y.dtype, y.device)
        rows, columns = parts = _square_parts(self.transform.grid)
        refined = _refined_transform(self.transform, plan.missing, oversampling, parts)
        if parts != (1, 1):
            y = y.repeat_interleave(rows, -2).repeat_interleave(columns, -1) / (rows * columns)
        projections = backprojection_of(refined.grid, refined.scan)._evaluate_adjoint(y)
        more = len(plan.taper)
        n_bins = scan.shape[-1] + abs(plan.missing) + 2 * more
        projections = pad(projections, (oversampling * more, oversampling * more))
        sinogram = apply_transposed_filter(projections, plan.response, n_bins, oversampling)
        sinogram = _transposed_extension(sinogram, plan.taper)
        first = max(plan.missing, 0)
        sinogram = sinogram[..., first : first + scan.shape[-1]]
        for weights in plan.weights:
            sinogram = sinogram * weights
        return sinogram


@maker("fbp")
def _as_operator(transform: RayTransform, text: str) -> LinearOperator:
    name, scaling, oversampling, truncation = text.split()
    return _FilteredBackprojection(transform, name, float(scaling), int(oversampling), truncation)


# once per scan, as the weights are computed once
_judged = lru_cache(maxsize=16)(judge_lines)


def _extended(sinogram: torch.Tensor, taper: torch.Tensor) -> torch.Tensor:
    """Continue the first and the last value of each row by themselves times the taper."""
    if not len(taper):
        return sinogram
    before, behind = sinogram[..., :1] * taper.flip(0), sinogram[..., -1:] * taper
    return torch.cat((before, sinogram, behind), -1)


def _transposed_extension(rows: torch.Tensor, taper: torch.Tensor) -> torch.Tensor:
    """Apply the transpose of `_extended`."""
    n = len(taper)
    if not n:
        return rows
    inner = rows[..., n:-n].clone()
    inner[..., 0] += rows[..., :n] @ taper.flip(0)
    inner[..., -1] += rows[..., -n:] @ taper
    return inner


class _Plan(NamedTuple):
    """Factors of the sinogram, of its spectrum, and bins to add between.

    `taper` is what values beside the detector are of its last one.
    """

    weights: tuple[torch.Tensor, ...]
    response: torch.Tensor
    missing: int
    taper: torch.Tensor


@lru_cache(maxsize=16)
def _plan(
    scan: Scan,
    name: str,
    scaling: float,
    oversampling: int,
    truncation: str,
    dtype: torch.dtype,
    device: torch.device,
) -> _Plan:
    inversion = scan.analytic_inversion()
    n_bins = scan.shape[-1] + abs(inversion.missing_bins)
    more = scan.shape[-1] // 2 if truncation == "extend" else 0
    if scan.is_curved:  # there is nothing beyond half a turn
        more = min(more, max(0, int((math.pi / inversion.filter_step - n_bins) / 2) - 1))
    response = ramp_response(
        n_bins + 2 * more,
        inversion.filter_step,
        name,
        scaling,
        equiangular=scan.is_curved,
        oversampling=oversampling,
    )
    # tensors made in inference mode could not take part in a later gradient
    with torch.inference_mode(False):
        return _Plan(
            tuple(torch.tensor(w, dtype=dtype, device=device) for w in inversion.weights),
            torch.tensor(response, dtype=dtype, device=device),
            inversion.missing_bins,
            torch.cos(torch.arange(1, more + 1, dtype=torch.float64) * (math.pi / 2 / (more + 1)))
            .square()
            .to(device, dtype),
        )


def _refined_transform(
    operator: RayTransform, missing: int, oversampling: int, parts: tuple[int, int]
) -> RayTransform:
    """Return the ray transform between the parts of pixels and the finer bins."""
    grid = operator.grid
    if parts != (1, 1):
        shape = (n * k for n, k in zip(grid.shape[-2:], parts, strict=True))
        grid = grid.refined((*grid.shape[:-2], *shape))
    # filtered projections are not zero where a detector moved aside has no bins: they are needed
    return _derived(grid, operator.scan.refined(missing, oversampling), operator.backend)


_derived = lru_cache(maxsize=4)(RayTransform.derived)
