"""Kaczmarz' method over ordered subsets of views."""

from __future__ import annotations

import math

import numpy as np
import torch

from tomolearn._core.checks import check_choice, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.methods.analytic.derived_scans import quiet_transform, subset
from tomolearn.methods.checks import check_flag, check_ray_transform, start
from tomolearn.methods.iteration import Callback, Loop
from tomolearn.methods.iterative.sirt import check_relaxation, inverse_sums
from tomolearn.operators import RayTransform

__all__ = ["kaczmarz"]


@torch.no_grad()
def kaczmarz(
    sinogram: torch.Tensor,
    operator: RayTransform,
    *,
    iterations: int = 10,
    subsets: int | None = None,
    order: str = "golden",
    relaxation: float = 1.0,
    x0: torch.Tensor | None = None,
    tolerance: float | None = None,
    noise_level: float | None = None,
    tau: float = 1.0,
    nonnegative: bool = False,
    progress: bool = False,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Reconstruct by Kaczmarz' method with blocks of views.

    One iteration goes once over all views, one subset after the other; each makes a step of
    `sirt` with its own rays. Subset ``b`` of ``n`` holds the views ``b, b + n, b + 2 n, ...``.
    With one view in a subset this is SART [1]_, with one subset it is SIRT. The first iterations
    are worth many of SIRT; with inconsistent data and a fixed relaxation it ends in a cycle near
    the solution, the closer the smaller the relaxation. It runs without gradients; the result does
    not depend differentiably on `sinogram`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : RayTransform
        The scanner. Its subsets of views are ray transforms of the same backend.
    iterations : int
        Largest number of passes over all views.
    subsets : int, optional
        Number of subsets, at most the number of views. Default: 10, or the number of views.
    order : {"golden", "sequential"}
        Sequence of the subsets: by steps of the golden ratio, so that consecutive ones differ
        much in direction [2]_, or as they are numbered.
    relaxation : float
        Factor of the steps, in (0, 2).
    x0, tolerance, noise_level, tau, nonnegative, progress, callback
        As for `landweber`. `noise_level` and `callback` cost one more projection per iteration.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)
        In 1/mm for line integrals.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As for `landweber`, and TypeError if `operator` is not a RayTransform.

    Warns
    -----
    ConvergenceWarning
        If a stopping rule was asked for and not met within `iterations`.

    References
    ----------
    .. [1] A. H. Andersen, A. C. Kak, Simultaneous algebraic reconstruction technique (SART),
       Ultrason. Imaging 6 (1984), doi 10.1177/016173468400600107.
    .. [2] T. Köhler, A projection access scheme for iterative reconstruction based on the golden
       section, IEEE Nucl. Sci. Symp. (2004), doi 10.1109/NSSMIC.2004.1466745.
    """
    check_ray_transform(operator)
    check_flag("nonnegative", nonnegative)
    check_choice("order", order, ("golden", "sequential"))
    relaxation = check_relaxation(relaxation)
    n_angles = operator.scan.n_angles
    count = min(10, n_angles) if subsets is None else check_int("subsets", subsets, minimum=1)
    if count > n_angles:
        raise TomolearnError(f"subsets: expected at most the {n_angles} views, got {count}")
    y, x, leading = start(sinogram, operator, x0)
    loop = Loop(
        "kaczmarz",
        "choose a smaller relaxation or fewer subsets",
        leading,
        math.prod(operator.range_shape),
        iterations=iterations,
        tolerance=tolerance,
        noise_level=noise_level,
        tau=tau,
        progress=progress,
        callback=callback,
    )
    blocks = []
    for first in subset_order(count, order):
        views = subset(operator.scan, slice(int(first), None, count))
        part = quiet_transform(operator.grid, views, operator.backend)
        rows, columns = inverse_sums(part, y)
        blocks.append((part, y[:, first::count].contiguous(), rows, columns.mul_(relaxation)))
    for _ in loop:
        previous = x.clone()
        for part, data, rows, columns in blocks:
            x.addcmul_(columns, part.adjoint(part(x).sub_(data).mul_(rows)), value=-1)
            if nonnegative:
                x.clamp_(min=0)
        loop.check(x, previous, lambda: operator(x) - y)
    return x.reshape(*leading, *operator.domain_shape)


def subset_order(count: int, order: str) -> np.ndarray:
    """Return the sequence in which `count` subsets are visited.

    The golden one visits at time ``k`` the subset whose rank is that of the fractional part of
    ``k`` times the golden ratio.
    """
    times = np.arange(count)
    if order == "sequential":
        return times
    fractions = np.mod(times * (math.sqrt(5) - 1) / 2, 1.0)
    return np.argsort(np.argsort(fractions))
