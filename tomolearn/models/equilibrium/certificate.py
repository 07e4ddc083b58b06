"""Certificates of convergence of deep-equilibrium networks, and measured rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.modules import judged
from tomolearn._core.tensors import norm
from tomolearn.models.base import Scaled
from tomolearn.models.equilibrium.model import DeepEquilibrium
from tomolearn.numerics.fixed_point import fixed_point
from tomolearn.operators import LinearOperator
from tomolearn.priors.spectral import spectral_norm_bound

# `LinearOperator.norm` finds norms to this relative accuracy, from below.
_NORM_ACCURACY = 1e-6


@dataclass(frozen=True)
class ContractionReport:
    """What is proven and what was measured about a network's iteration.

    Attributes
    ----------
    layer_bounds : tuple of float
        Upper bound of the norm of each convolution, on images of any size.
    lipschitz_bound : float
        Upper bound of the Lipschitz constant of N = R - Id, from the layers' bounds.
    lipschitz_found : float
        Lower bound of it: the largest norm of its Jacobian that was found.
    largest_eigenvalue : float
        Upper bound of the eigenvalues of A^T A / ||A||^2, one but for the accuracy of the norm.
    smallest_eigenvalue : float
        Smallest Rayleigh quotient of A^T A / ||A||^2 that was found; zero if there are fewer rays
        than pixels. It is no lower bound of the eigenvalues, and not used in the proof.
    step, weight : float
        Step size and weight of the regulariser.
    factor : float
        Lipschitz constant of the iteration that `lipschitz_bound` proves, whatever the smallest
        eigenvalue; infinite if none is known, as with a preconditioner or an adjoint that is not
        exact.
    unique : bool
        Whether it is proven that there is exactly one fixed point.
    converged : bool
        Whether the model's solver found the fixed points, near which the rest was measured.
    jacobian_norm : float
        Norm of the Jacobian of the iteration at the fixed points, the largest that was found.
    observed_rate : float
        By which factor the residual falls per plain iteration near the fixed points, on average
        over the last ten iterations; NaN if there were too few of them before rounding.
    """

    layer_bounds: tuple[float, ...]
    lipschitz_bound: float
    lipschitz_found: float
    largest_eigenvalue: float
    smallest_eigenvalue: float
    step: float
    weight: float
    factor: float
    unique: bool
    converged: bool
    jacobian_norm: float
    observed_rate: float

    @property
    def proven(self) -> bool:
        """Whether it is proven that the plain iteration, Picard's, converges from every start.

        Other solvers are not covered by the theorem; what they found is told by their residual.
        """
        return self.factor < 1

    def __str__(self) -> str:
        verdict = "convergence is proven" if self.proven else "convergence is not proven"
        fixed_points = "one fixed point" if self.unique else "number of fixed points not proven"
        where = "" if self.converged else ", away from the fixed points, which were not found"
        return (
            f"{verdict}: Lipschitz constant of the iteration <= {self.factor:.6f}; "
            f"{fixed_points}\n"
            f"  R - Id: {self.lipschitz_found:.4f} <= Lipschitz constant <= "
            f"{self.lipschitz_bound:.4f} (largest layer {max(self.layer_bounds):.4f})\n"
            f"  A^T A / ||A||^2: eigenvalues from {self.smallest_eigenvalue:.3g} to "
            f"{self.largest_eigenvalue:.6f}\n"
            f"  step {self.step:.4g}, weight {self.weight:.4g}\n"
            f"  measured{where}: norm of the Jacobian {self.jacobian_norm:.6f}, "
            f"residual per iteration x {self.observed_rate:.6f}"
        )


def contraction_report(
    model: DeepEquilibrium,
    operator: LinearOperator,
    sinogram: torch.Tensor | None = None,
    *,
    iterations: int = 50,
    seed: int = 0,
) -> ContractionReport:
    """Examine whether the iteration of a deep-equilibrium network is a contraction.

    With N = R - Id of Lipschitz constant e, step size t, weight w and the eigenvalues of
    A^T A / ||A||^2 in [m, L], the iteration of `DEGradient` has the Lipschitz constant

        max(|1 - t (w + m)|, |1 - t (w + L)|) + t w e,

    which for w = 1 and t <= 1 / (1 + L) is the factor 1 - t (1 + m) + t e of Gilton et al. [1]_;
    that of `DEProximal` is max(|1 - t m|, |1 - t L|) (|1 - w| + w e). For the proof, m = 0 and e
    is the bound that follows from the norms of the convolutions, see `spectral_norm_bound`.

    Parameters
    ----------
    model : DEGradient or DEProximal
        The network.
    operator : LinearOperator
        The scanner.
    sinogram : torch.Tensor, shape (..., *operator.range_shape), optional
        Data for what is measured. Default: a sinogram of white noise.
    iterations : int
        Of each power iteration; what is measured are lower bounds that rise with it.
    seed : int
        Of the random images at which power iterations start.

    Returns
    -------
    ContractionReport
        Bounds and measurements; printed, it reads as a summary.

    Raises
    ------
    TypeError, ValueError
        If `model` is no deep-equilibrium network, or as a call of the model does.
    DivergenceError
        If the iteration meets values that are not finite.

    References
    ----------
    .. [1] D. Gilton, G. Ongie, R. Willett, "Deep equilibrium architectures for inverse problems in
       imaging", IEEE Trans. Comput. Imaging 7 (2021), arXiv:2102.07944, theorem 1
    """
    if not isinstance(model, DeepEquilibrium):
        raise TomolearnTypeError(
            f"model: expected a deep-equilibrium network, got {type(model).__name__}"
        )
    check_int("iterations", iterations, minimum=1)
    if sinogram is not None and isinstance(sinogram, torch.Tensor) and sinogram.numel() == 0:
        raise TomolearnError(f"sinogram: expected at least one, got shape {tuple(sinogram.shape)}")
    # in training, kernels follow the weights with one power iteration per step only
    with judged(model):
        return _report(model, operator, sinogram, iterations, seed)


def _report(
    model: DeepEquilibrium,
    operator: LinearOperator,
    sinogram: torch.Tensor | None,
    iterations: int,
    seed: int,
) -> ContractionReport:
    weights = next(model.parameters())
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(weights)

    if sinogram is None:
        sinogram = draw(1, *operator.range_shape)
    found = model.solve(sinogram, operator)
    rows, columns = operator.domain_shape
    with torch.no_grad():
        kernels = model.network.kernels((rows, columns))
    bounds = tuple(spectral_norm_bound(kernel) for kernel in kernels)
    lipschitz = model.lipschitz * model.network.bound(bounds)

    A = Scaled(operator)
    largest = (1 + _NORM_ACCURACY) ** 2
    if math.prod(operator.range_shape) < math.prod(operator.domain_shape):
        smallest = 0.0
    else:
        smallest = _smallest_eigenvalue(A, draw(1, 1, rows, columns), largest, iterations)

    exact = getattr(operator, "adjoint_is_exact", True)
    y, function = model.problem(sinogram, operator)
    u = found.state
    picard = fixed_point(function, u, y, solver="picard", tolerance=0, max_iterations=iterations)
    return ContractionReport(
        layer_bounds=bounds,
        lipschitz_bound=lipschitz,
        lipschitz_found=jacobian_norm(
            lambda x: model.lipschitz * model.network(x, *kernels), u, draw(*u.shape), iterations
        ),
        largest_eigenvalue=largest,
        smallest_eigenvalue=smallest,
        step=model.step,
        weight=model.weight,
        factor=model.contraction_factor(lipschitz, 0.0, largest) if exact else math.inf,
        unique=exact and model.has_one_fixed_point(lipschitz, largest),
        converged=bool(found.converged.all()),
        jacobian_norm=jacobian_norm(lambda x: function(x, y), u, draw(*u.shape), iterations),
        observed_rate=_rate(picard.history, torch.finfo(weights.dtype).eps),
    )


def jacobian_norm(
    function: Callable[[torch.Tensor], torch.Tensor],
    point: torch.Tensor,
    start: torch.Tensor,
    iterations: int,
) -> float:
    """Return the largest singular value of a function's Jacobian, from below.

    Parameters
    ----------
    function : callable
        Twice differentiable by torch; maps (batch, ...) to the same shape, each entry for itself.
    point : torch.Tensor, shape (batch, ...)
        Where.
    start : torch.Tensor, shape (batch, ...)
        Directions at which the power iteration starts.
    iterations : int
        Number of products with the Jacobian and its transpose.

    Returns
    -------
    float
        The largest of the batch.
    """
    u = point.detach().requires_grad_()
    v = start
    sizes = torch.zeros(len(u))
    with torch.enable_grad():
        value = function(u)
        w = torch.zeros_like(value, requires_grad=True)
        # linear in w, so that its derivative in direction v is the Jacobian times v
        (transposed,) = torch.autograd.grad(value, u, w, create_graph=True)
    for _ in range(iterations):
        v = v / norm(v).clamp_min(1e-30).to(v.dtype).reshape(-1, *(1,) * (v.ndim - 1))
        (image,) = torch.autograd.grad(transposed, w, v, retain_graph=True)
        sizes = norm(image)
        (v,) = torch.autograd.grad(value, u, image, retain_graph=True)
    return float(sizes.max())


@torch.no_grad()
def _smallest_eigenvalue(A: Scaled, v: torch.Tensor, largest: float, iterations: int) -> float:
    """Run the power iteration on largest - A^T A."""
    quotient = largest
    for _ in range(iterations):
        v = v / norm(v[None]).to(v.dtype)
        image = A(v)
        quotient = float(norm(image[None]).square())
        v = largest * v - A.adjoint(image)
    return quotient


def _rate(residuals: torch.Tensor, eps: float) -> float:
    """Return by which factor residuals (evaluations, batch) fall, the slowest of the batch."""
    slowest = math.nan
    for entry in residuals.T:
        usable = entry[entry > 100 * eps][-11:]
        if len(usable) > 1 and len(usable) >= min(11, len(entry)):
            rate = float((usable[-1] / usable[0]) ** (1 / (len(usable) - 1)))
            slowest = rate if math.isnan(slowest) else max(slowest, rate)
    return slowest
