"""Certificates of variational problems: a unique minimiser, and algorithms that converge to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from tomolearn._core.checks import check_float, check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.methods.variational.tables import ALGORITHMS
from tomolearn.operators import Identity, LinearOperator
from tomolearn.priors import Regulariser

# `LinearOperator.norm` finds norms to this relative accuracy, from below.
_NORM_ACCURACY = 1e-6
# Pixels up to which the operator is written out as a matrix.
_MOST_PIXELS = 1024
# Relative accuracy of the eigenvalues of the prior's Hessian.
_FOUND_ACCURACY = 1e-2


@dataclass(frozen=True)
class ConvergenceReport:
    """What is proven and what was found of ``||A x - y||^2 / 2 + weight * R(x)``.

    Attributes
    ----------
    algorithm : str
        Its name.
    weight : float
        Of the prior.
    smallest_eigenvalue, largest_eigenvalue : float
        Bounds of the eigenvalues of A^T A, from below and from above. The smaller one is zero where
        there are fewer rays than pixels, and where there are too many pixels for a matrix.
    prior_convexity, prior_lipschitz : float, optional
        The prior's certificates, None where it has none.
    curvatures : (float, float), optional
        Smallest and largest eigenvalue of the prior's Hessian that were found, at one image; None
        if it has no second derivatives. They are no bounds of others', but a negative one disproves
        that the prior is convex.
    exact_adjoint : bool
        Whether the operator's adjoint is its transpose: nothing is proven otherwise.
    conclusion : {"minimiser", "stationary", "none"}
        What the algorithm is proven to converge to.
    """

    algorithm: str
    weight: float
    smallest_eigenvalue: float
    largest_eigenvalue: float
    prior_convexity: float | None
    prior_lipschitz: float | None
    curvatures: tuple[float, float] | None
    exact_adjoint: bool
    conclusion: str

    @property
    def convexity(self) -> float | None:
        """The modulus of strong convexity of the objective, or None if none is certified."""
        if self.prior_convexity is None:
            return 0.0 if self.weight == 0 else None
        return self.smallest_eigenvalue + self.weight * self.prior_convexity

    @property
    def lipschitz(self) -> float | None:
        """A Lipschitz constant of the objective's gradient, or None if none is certified."""
        if self.prior_lipschitz is None:
            return self.largest_eigenvalue if self.weight == 0 else None
        return self.largest_eigenvalue + self.weight * self.prior_lipschitz

    @property
    def unique(self) -> bool:
        """Whether it is proven that there is exactly one minimiser."""
        return self.exact_adjoint and self.convexity is not None and self.convexity > 0

    @property
    def converges(self) -> bool:
        """Whether it is proven that the algorithm converges to a minimiser, from every start."""
        return self.conclusion == "minimiser"

    @property
    def factor(self) -> float | None:
        """By which the distance to the minimiser falls in a gradient step of length 1 / lipschitz.

        None where that is not proven.
        """
        if not self.unique or self.lipschitz is None or self.convexity is None:
            return None
        return 1 - self.convexity / self.lipschitz

    def __str__(self) -> str:
        number = "exactly one minimiser" if self.unique else "one minimiser is not proven"
        verdict = {
            "minimiser": "converges to a minimiser from every start",
            "stationary": "limits are stationary points, no more is proven",
            "none": "convergence is not proven",
        }[self.conclusion]
        lines = [
            f"{number}; {self.algorithm}: {verdict}",
            f"  objective: convexity {_shown(self.convexity)}, Lipschitz constant of the gradient "
            f"{_shown(self.lipschitz)}",
            f"  A^T A: eigenvalues from {self.smallest_eigenvalue:.3g} to "
            f"{self.largest_eigenvalue:.6g}",
            f"  prior, weight {self.weight:.4g}: convexity {_shown(self.prior_convexity)}, "
            f"Lipschitz constant {_shown(self.prior_lipschitz)}",
        ]
        if self.curvatures is not None:
            low, high = self.curvatures
            shown = ": it is not convex" if low < -_FOUND_ACCURACY * max(high, -low) else ""
            lines.append(f"  found at one image: curvatures from {low:.3g} to {high:.3g}{shown}")
        if self.factor is not None:
            lines.append(
                f"  a plain gradient step multiplies the distance by at most {self.factor:.8f}"
            )
        if not self.exact_adjoint:
            lines.append("  the operator's adjoint is not its transpose")
        return "\n".join(lines)


def convergence_report(
    prior: Regulariser,
    operator: LinearOperator,
    weight: float,
    algorithm: str = "fista",
    *,
    image: torch.Tensor | None = None,
) -> ConvergenceReport:
    """Examine whether a variational problem has one solution and whether an algorithm finds it.

    The objective is ``||A x - y||^2 / 2 + weight * R(x)``; y does not matter. With R - m ||x||^2/2
    convex and the smallest eigenvalue s of A^T A, its modulus of strong convexity is s + weight m.
    If that is positive, there is exactly one minimiser; if the gradient is Lipschitz continuous,
    too, gradient steps converge linearly. What the algorithms need for a theorem:

    - "gradient", steps of one over the Lipschitz constant: a smooth prior; convex for a minimiser;
    - "fista" [1]_: a convex objective whose prior is smooth or has a proximal map;
    - "nmapg" [2]_: a smooth prior, for limits that are stationary; convex for a minimiser;
    - "lbfgs" [3]_: a smooth prior, and strong convexity;
    - "chambolle-pock" [4]_, "condat-vu" and "admm": a convex prior.

    Line searches do not need to know the Lipschitz constant, but that there is one.

    Parameters
    ----------
    prior : Regulariser
        R, as its weights are now.
    operator : LinearOperator
        A.
    weight : float
        Not negative.
    algorithm : str
        One of those above, or of another name in `ALGORITHMS`, of which nothing is proven here.
    image : torch.Tensor, shape (*operator.domain_shape), optional
        Where the curvature of the prior is measured. Default: zeros.

    Returns
    -------
    ConvergenceReport
        Printed, it reads as a summary.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind.

    References
    ----------
    .. [1] A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear
       inverse problems", SIAM J. Imaging Sci. 2 (2009), doi 10.1137/080716542
    .. [2] H. Li, Z. Lin, "Accelerated proximal gradient methods for nonconvex programming",
       NeurIPS 2015
    .. [3] D. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization",
       Math. Program. 45 (1989), doi 10.1007/BF01589116
    .. [4] A. Chambolle, T. Pock, "A first-order primal-dual algorithm for convex problems with
       applications to imaging", J. Math. Imaging Vis. 40 (2011), doi 10.1007/s10851-010-0251-1

    Examples
    --------
    >>> print(convergence_report(tl.priors.load("acr-chest"), A, weight=5.0))
    """
    if not isinstance(prior, Regulariser):
        raise TomolearnTypeError(f"prior: expected a Regulariser, got {type(prior).__name__}")
    if not isinstance(operator, LinearOperator):
        raise TomolearnTypeError(
            f"operator: expected a LinearOperator, got {type(operator).__name__}"
        )
    weight = check_float("weight", weight, nonnegative=True)
    check_known("algorithm", algorithm, tuple({*_CONCLUSIONS, *ALGORITHMS}))
    shape = operator.domain_shape
    if len(shape) < prior.ndim:
        raise TomolearnError(
            f"operator: expected images of {prior.ndim} axes, got domain shape {shape}"
        )
    exact = operator.adjoint_is_exact
    modulus, lipschitz = prior.convexity, prior.lipschitz(shape[len(shape) - prior.ndim :])
    smallest, largest = _eigenvalues(operator)
    total = smallest + weight * modulus if modulus is not None else None
    case = _Case(
        convex=total is not None and total >= 0,
        strongly=total is not None and total > 0,
        prior_is_convex=modulus is not None and modulus >= 0,
        smooth=lipschitz is not None,
        proximal=prior.has_proximal,
    )
    return ConvergenceReport(
        algorithm=algorithm,
        weight=weight,
        smallest_eigenvalue=smallest,
        largest_eigenvalue=largest,
        prior_convexity=modulus,
        prior_lipschitz=lipschitz,
        curvatures=_curvatures(prior, torch.zeros(shape) if image is None else image),
        exact_adjoint=exact,
        conclusion=_CONCLUSIONS.get(algorithm, _nothing)(case) if exact else "none",
    )


@dataclass(frozen=True)
class _Case:
    """What the theorems ask for."""

    convex: bool
    strongly: bool
    prior_is_convex: bool
    smooth: bool
    proximal: bool


def _descent(case: _Case) -> str:
    if not case.smooth:
        return "none"
    return "minimiser" if case.convex else "stationary"


def _fista(case: _Case) -> str:
    smooth = case.convex and case.smooth
    return "minimiser" if smooth or (case.prior_is_convex and case.proximal) else "none"


def _lbfgs(case: _Case) -> str:
    return "minimiser" if case.strongly and case.smooth else "none"


def _splitting(case: _Case) -> str:
    return "minimiser" if case.prior_is_convex else "none"


def _nothing(case: _Case) -> str:
    return "none"


_CONCLUSIONS: Mapping[str, Callable[[_Case], str]] = MappingProxyType(
    {
        "gradient": _descent,
        "fista": _fista,
        "nmapg": _descent,
        "lbfgs": _lbfgs,
        "chambolle-pock": _splitting,
        "condat-vu": _splitting,
        "admm": _splitting,
    }
)


def _eigenvalues(operator: LinearOperator) -> tuple[float, float]:
    """Return bounds of the eigenvalues of A^T A."""
    if isinstance(operator, Identity):
        return 1.0, 1.0
    largest = ((1 + _NORM_ACCURACY) * operator.norm()) ** 2
    n_pixels, n_values = math.prod(operator.domain_shape), math.prod(operator.range_shape)
    if n_values < n_pixels or n_pixels > _MOST_PIXELS:
        return 0.0, largest
    basis = torch.eye(n_pixels, dtype=torch.float64).reshape(n_pixels, *operator.domain_shape)
    with torch.no_grad():
        matrix = operator(basis).flatten(1).double()
    values = torch.linalg.eigvalsh(matrix @ matrix.T)
    rounding = n_pixels * torch.finfo(torch.float64).eps * float(values[-1])
    return max(float(values[0]) - rounding, 0.0), largest


def _curvatures(prior: Regulariser, image: torch.Tensor) -> tuple[float, float] | None:
    """Return the smallest and largest eigenvalue of the Hessian of a prior at an image."""
    from scipy.sparse.linalg import LinearOperator as ScipyOperator, eigsh

    if not prior.has_gradient:
        return None
    weights = next(prior.parameters(), torch.zeros(0))
    point = image.detach().to(weights).requires_grad_()
    with torch.enable_grad():
        slope = prior.gradient(point)
    if not slope.requires_grad:
        return None

    def product(vector: np.ndarray) -> np.ndarray:
        direction = torch.from_numpy(vector.reshape(point.shape)).to(point)
        (found,) = torch.autograd.grad(slope, point, direction, retain_graph=True)
        return found.double().flatten().cpu().numpy()

    size = point.numel()
    linear = ScipyOperator((size, size), matvec=product, dtype="float64")
    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = (
        float(
            eigsh(
                linear,
                k=1,
                which=which,
                v0=start.numpy(),
                tol=_FOUND_ACCURACY,
                return_eigenvectors=False,
            )[0]
        )
        for which in ("SA", "LA")
    )
    return low, high


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
