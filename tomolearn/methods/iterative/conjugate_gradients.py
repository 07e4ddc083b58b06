"""Least squares by conjugate gradients, plain and with Tikhonov's penalty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Unpack

from tomolearn._core.errors import TomolearnError
from tomolearn._core.memory import Arrays
from tomolearn.methods.method import setting
from tomolearn.methods.state import Merit
from tomolearn.methods.stopping import Control, Iterate, IterativeMethod, controlled

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator

_REMEDY = "check that the operator's adjoint is its transpose and its values are of a sane size"


@dataclass(frozen=True, kw_only=True)
class CGLS(IterativeMethod):
    """Conjugate gradients for least squares; see `cgls`."""

    name: ClassVar[str] = "cgls"
    memory: ClassVar[Arrays | None] = Arrays(6, 3)
    remedy: ClassVar[str] = _REMEDY

    iterations: int = setting(20, help="largest number of iterations", minimum=1)

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the iterates."""
        return _conjugate_gradients(sinogram, operator, image, weights, 0.0, None)


@dataclass(frozen=True, kw_only=True)
class Tikhonov(IterativeMethod):
    """Tikhonov's regularisation, by conjugate gradients; see `tikhonov`.

    `regularizer` is no setting: a method that has one cannot be written down.
    """

    name: ClassVar[str] = "tikhonov"
    memory: ClassVar[Arrays | None] = Arrays(8, 3)
    remedy: ClassVar[str] = _REMEDY

    weight: float = setting(help="weight of the penalty", minimum=0)
    regularizer: LinearOperator | None = None

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the iterates."""
        from tomolearn.methods.checks import check_linear_operator

        if self.regularizer is not None:
            check_linear_operator("regularizer", self.regularizer)
            if self.regularizer.domain_shape != operator.domain_shape:
                raise TomolearnError(
                    f"regularizer: expected domain shape {operator.domain_shape}, "
                    f"got {self.regularizer.domain_shape}"
                )
        return _conjugate_gradients(
            sinogram, operator, image, weights, self.weight, self.regularizer
        )


@controlled
def cgls(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    iterations: int = CGLS.iterations,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct by CGLS, conjugate gradients for the least-squares misfit.

    Each iterate is the best of all methods that add up gradients: the minimum of
    ``||A x - y||**2`` over the Krylov space of ``A.T A``. It tends to the least-squares solution
    closest to `x0`; with noisy data it has to be stopped after a few iterations. Non-negativity
    cannot be had: see `landweber` or `total_variation`. The reported residual is the recursively
    updated one.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless. Each image of a batch has its own step lengths.
    operator : LinearOperator
        The ray transform, or any other linear operator with an exact adjoint.
    iterations : int
        Largest number of iterations.

    References
    ----------
    .. [1] M. R. Hestenes, E. Stiefel, Methods of conjugate gradients for solving linear systems,
       J. Res. Nat. Bur. Stand. 49 (1952), doi 10.6028/jres.049.044.
    """
    return CGLS(iterations=iterations)(sinogram, operator, **control)


@controlled
def tikhonov(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    weight: float,
    regularizer: LinearOperator | None = None,
    iterations: int = Tikhonov.iterations,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct by Tikhonov's regularisation.

    Minimises ``||A x - y||**2 + weight * ||L x||**2`` (no one half) by conjugate gradients on the
    stacked least-squares problem. The objective is reported too.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : LinearOperator
        The ray transform, or any other linear operator with an exact adjoint.
    weight : float
        Weight of the penalty, not negative.
    regularizer : LinearOperator, optional
        ``L``, on the operator's domain, for example ``FiniteDifferences(operator.domain_shape)``.
        Default: the identity.
    iterations : int
        Largest number of iterations.

    References
    ----------
    .. [1] A. N. Tikhonov, Solution of incorrectly formulated problems and the regularization
       method, Soviet Math. Dokl. 4 (1963).
    .. [2] P. C. Hansen, Discrete Inverse Problems (2010), doi 10.1137/1.9780898718836.
    """
    method = Tikhonov(weight=weight, regularizer=regularizer, iterations=iterations)
    return method(sinogram, operator, **control)


def _conjugate_gradients(
    y: torch.Tensor,
    operator: LinearOperator,
    x: torch.Tensor,
    weights: torch.Tensor | None,
    weight: float,
    regularizer: LinearOperator | None,
) -> Iterator[Iterate]:
    """Minimise ``||A x - y||_W**2 + weight ||L x||**2`` from `x` on.

    In exact arithmetic directions are conjugate and the step is ``||s||**2 / ||A p||**2``. In time
    rounding destroys that, and such steps go uphill; those to the minimum along a line cannot.
    Once nothing but rounding is left of an image's residual or gradient, the image stays as it is.
    """
    import torch

    from tomolearn._core.tensors import inner, norm
    from tomolearn.methods.iteration import per_image, quotient

    def weighted(values: torch.Tensor) -> torch.Tensor:
        return values if weights is None else weights * values

    def penalised(image: torch.Tensor) -> torch.Tensor:
        return image if regularizer is None else regularizer(image)

    def gradient() -> torch.Tensor:
        s = operator.adjoint(weighted(residual))
        if weight:
            s.sub_(penalty if regularizer is None else regularizer.adjoint(penalty), alpha=weight)
        return s if unit is None else s.mul_(unit)

    def objective() -> torch.Tensor:
        value = inner(weighted(residual), residual)
        return value + weight * inner(penalty, penalty) if weight else value

    def certificate() -> tuple[torch.Tensor, None]:
        return value, None

    residual = y - operator(x)
    penalty = penalised(x).clone() if weight else x
    unit = None
    s = gradient()
    # Directions are in units of the first gradient: where lengths are very small or large numbers,
    # float32 cannot represent the squares of gradients and of their projections.
    largest = s.flatten(1).abs().amax(1)
    unit = per_image(torch.ldexp(torch.ones_like(largest), -torch.frexp(largest).exponent), s)
    p = s.mul_(unit).clone()
    slope, value = inner(s, s), objective()
    start = value.sqrt()
    size = (norm(y) if weights is None else inner(weighted(y), y).sqrt()) + start
    name = "root of the objective" if weight else "misfit"
    merit = Merit(name, lambda: value.sqrt(), start, lambda: size)
    rounding = torch.finfo(x.dtype).eps ** 2
    solved = rounding * size**2
    # at most the squared norm of the stacked operator; not a number where nothing is left
    steepest = slope / value
    going = torch.ones_like(slope, dtype=torch.bool)
    while True:
        q = operator(p)
        curvature, descent = inner(weighted(q), q), inner(weighted(q), residual)
        if weight:
            lp = penalised(p)
            curvature += weight * inner(lp, lp)
            descent -= weight * inner(lp, penalty)
        step = torch.where(going & (curvature > 0), descent / curvature, 0)
        x = x.addcmul(per_image(step, x), p)
        residual.sub_(q.mul_(per_image(step, q)))
        if weight:
            penalty = penalty.addcmul(per_image(step, lp), lp)
        s = gradient()
        old, slope, value = slope, inner(s, s), objective()
        steepest = torch.maximum(steepest, slope / value)
        going &= (value > solved) & (slope > rounding * steepest * value)
        p = s.addcmul(per_image(quotient(slope, old), p), p)
        yield Iterate(x, lambda: residual, certificate, merit, ~going)
