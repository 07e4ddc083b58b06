"""Equilibria by the weight of their regulariser: stability and convergence as the noise falls."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from tomolearn._core.checks import check_float, check_floats, check_int
from tomolearn._core.errors import ConvergenceWarning, TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import check_real_tensor, plain
from tomolearn.models import DEGradient
from tomolearn.operators import LinearOperator

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class EquilibriumPath:
    """Equilibria by weight.

    Parameters
    ----------
    alphas : tuple of float
        Weights, as they were given.
    images : torch.Tensor, shape (alphas, batch, 1, rows, columns)
        The equilibrium of each.
    residuals : tuple of float
        ``||A x - y||`` of each, over the batch.
    converged : tuple of bool
        Whether the solver reached its tolerance for all images.
    """

    alphas: tuple[float, ...]
    images: torch.Tensor
    residuals: tuple[float, ...]
    converged: tuple[bool, ...]


def equilibrium_path(
    model: DEGradient,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    alphas: Sequence[float],
    *,
    tolerance: float | None = None,
    max_iterations: int | None = None,
) -> EquilibriumPath:
    """Return the equilibria of a network for several weights of its regulariser.

    Of a deep-equilibrium gradient descent the image is a zero of [1]_ ::

        A^T (A x - y) + alpha R(x) = 0,    R = Id + N,

    with A and y divided by the norm of A, and N the trained network; the training's alpha is
    ``model.weight``. Weights are solved for from the largest to the smallest, each from the image
    of the one before. For N of Lipschitz constant below one the image depends continuously on the
    data at fixed alpha, and converges to a solution of A x = y as the noise delta falls, if alpha
    goes to zero and delta^2 / alpha too; above one nothing is proven, and this shows what happens.

    Parameters
    ----------
    model : DEGradient
        The network.
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        The data.
    operator : LinearOperator
        The scanner.
    alphas : sequence of float
        Positive weights.
    tolerance, max_iterations : optional
        Of the solver. Default: the model's.

    Raises
    ------
    TypeError, ValueError
        If an argument will not do.
    DivergenceError
        If a value is not finite.

    Warns
    -----
    ConvergenceWarning
        If the solver does not reach its tolerance for some weight.

    References
    ----------
    .. [1] D. Obmann, M. Haltmeier, "Convergence analysis of equilibrium methods for inverse
       problems", arXiv:2306.01421
    """
    if not isinstance(model, DEGradient):
        raise TomolearnTypeError(f"model: expected a DEGradient, got {type(model).__name__}")
    weights = check_floats("alphas", tuple(alphas))
    if min(weights) <= 0:
        raise TomolearnError(f"alphas: expected positive numbers, got {min(weights):g}")
    changed = copy.deepcopy(model)
    found: dict[float, tuple[torch.Tensor, float, bool]] = {}
    image: torch.Tensor | None = None
    for alpha in sorted(set(weights), reverse=True):
        with torch.no_grad():
            changed.log_weight.fill_(math.log(alpha))
        solved = changed.solve(
            sinogram, operator, start=image, tolerance=tolerance, max_iterations=max_iterations
        )
        image = solved.state
        residual = operator(image) - sinogram.to(image).reshape(-1, 1, *operator.range_shape)
        found[alpha] = image, float(residual.norm()), bool(plain(solved.converged).all())
    unsolved = [f"{alpha:g}" for alpha, (_, _, converged) in found.items() if not converged]
    if unsolved:
        warnings.warn(
            f"equilibrium_path: not solved to the tolerance for alpha = {', '.join(unsolved)}; "
            "more iterations, or what is drawn is their early end",
            ConvergenceWarning,
            stacklevel=2,
        )
    images, residuals, converged = zip(*(found[alpha] for alpha in weights), strict=True)
    return EquilibriumPath(weights, torch.stack(images), residuals, converged)


@dataclass(frozen=True)
class EquilibriumStudy:
    """Distances of equilibria as the noise falls, all relative to the norm of the limit.

    Parameters
    ----------
    deltas : tuple of float
        Norms of the noise, relative to that of the exact data.
    alpha, constant : float
        The fixed weight, and c of the weights alpha = c delta.
    fixed : tuple of float
        Distance of the image at the fixed weight from that of exact data at this weight.
    chosen : tuple of float
        Distance of the image at the weight c delta from that of exact data at the smallest one.
    errors : tuple of float
        Distance of the image at the weight c delta from the truth.
    converged : bool
        Whether all equilibria were found.
    """

    deltas: tuple[float, ...]
    alpha: float
    constant: float
    fixed: tuple[float, ...]
    chosen: tuple[float, ...]
    errors: tuple[float, ...]
    converged: bool

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return asdict(self)

    def draw(self) -> Figure:
        """Draw the distances by the size of the noise.

        Returns
        -------
        matplotlib.figure.Figure
            Without a window and without pyplot's state; ``savefig`` writes it.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.5, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.loglog(self.deltas, self.fixed, "o-", label=f"stability, alpha = {self.alpha:.3g}")
        label = f"convergence, alpha = {self.constant:.3g} delta"
        axes.loglog(self.deltas, self.chosen, "s-", label=label)
        axes.loglog(self.deltas, self.errors, "^:", label="from the truth, same alpha")
        axes.set(xlabel="noise delta, relative", ylabel="distance, relative")
        axes.grid(which="both", alpha=0.3)
        axes.legend(fontsize=8)
        return figure


def equilibrium_study(
    model: DEGradient,
    truth: torch.Tensor,
    operator: LinearOperator,
    deltas: Sequence[float],
    *,
    alpha: float | None = None,
    constant: float = 1.0,
    seed: int = 0,
    tolerance: float | None = None,
    max_iterations: int | None = None,
) -> EquilibriumStudy:
    """Measure stability at a fixed weight, and convergence for weights in proportion to the noise.

    One direction of Gaussian noise, scaled to each size, is added to the exact data of an image.

    Parameters
    ----------
    model : DEGradient
        The network.
    truth : torch.Tensor, shape (*operator.domain_shape)
        The image, also with leading dimensions of size one.
    operator : LinearOperator
        The scanner.
    deltas : sequence of float
        Norms of the noise relative to that of the exact data.
    alpha, constant : float
        The fixed weight (default: the model's), and c in alpha = c delta.
    seed : int
        Of the noise.
    tolerance, max_iterations : optional
        Of the solver. Default: the model's.

    Raises
    ------
    TypeError, ValueError
        As for `equilibrium_path`, or if there is more than one image.
    """
    sizes = check_floats("deltas", tuple(deltas))
    if min(sizes) <= 0:
        raise TomolearnError(f"deltas: expected positive numbers, got {min(sizes):g}")
    check_float("constant", constant, positive=True)
    fixed = model.weight if alpha is None else check_float("alpha", alpha, positive=True)
    image = check_real_tensor("truth", truth)
    if image.numel() != torch.Size(operator.domain_shape).numel():
        raise TomolearnError(
            f"truth: expected one image of shape {operator.domain_shape}, got {tuple(truth.shape)}"
        )
    image = image.reshape(1, 1, *operator.domain_shape)
    exact = operator(image)
    generator = torch.Generator().manual_seed(check_int("seed", seed, minimum=0))
    noise = torch.randn(exact.shape, generator=generator).to(exact)
    noise = noise * (exact.norm() / noise.norm())
    control: dict[str, Any] = {"tolerance": tolerance, "max_iterations": max_iterations}
    least = constant * min(sizes)
    clean = equilibrium_path(model, exact, operator, (fixed, least), **control)
    at_fixed, limit = clean.images
    size = float(limit.norm())
    rows: list[tuple[float, float, float]] = []
    converged = all(clean.converged)
    for delta in sizes:
        noisy = equilibrium_path(
            model, exact + delta * noise, operator, (fixed, constant * delta), **control
        )
        stable, chosen = noisy.images
        converged = converged and all(noisy.converged)
        pairs = ((stable, at_fixed), (chosen, limit), (chosen, image))
        stability, convergence, error = (float((one - other).norm()) / size for one, other in pairs)
        rows.append((stability, convergence, error))
    stabilities, convergences, errors = zip(*rows, strict=True)
    return EquilibriumStudy(sizes, fixed, constant, stabilities, convergences, errors, converged)
