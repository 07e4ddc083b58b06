"""Total-variation regularisation by the primal-dual method of Chambolle and Pock."""

from __future__ import annotations

import math

import torch

from tomolearn._core.checks import check_float
from tomolearn.classical.checks import check_flag, positive_norm, start
from tomolearn.classical.iteration import Callback, Loop, per_image
from tomolearn.operators import FiniteDifferences, LinearOperator

__all__ = ["total_variation"]

# Found by trial on 64**2 to 192**2 images, 30 to 120 views and weights over two decades; anything
# within a factor of three does about as well. The balance is between primal and dual step, the
# share that of the gradient in their product's bound.
_BALANCE = 0.45
_GRADIENT_SHARE = 0.4
_RELAXATION = 1.8
# keeps the product of the steps below its bound although the norms are rounded
_SAFETY = 0.99
# The certificate costs as much as an iteration.
_CHECK_EVERY = 10


@torch.no_grad()
def total_variation(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    weight: float,
    iterations: int = 500,
    x0: torch.Tensor | None = None,
    tolerance: float | None = None,
    noise_level: float | None = None,
    tau: float = 1.0,
    nonnegative: bool = False,
    progress: bool = False,
    callback: Callback | None = None,
) -> torch.Tensor:
    """Reconstruct by total-variation regularisation.

    Minimises ``||A x - y||**2 + weight * TV(x)`` (no one half), where ``TV`` is the sum over the
    pixels of the length of the vector of differences to the next pixel along each axis, whatever
    the pixels' size; the differences across the border are zero. The primal-dual method [1]_ is
    over-relaxed [2]_. It runs without gradients; the result does not depend differentiably on
    `sinogram`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless. Each image of a batch has its own step sizes.
    operator : LinearOperator
        The ray transform, or any other linear operator on images whose axes are all spatial.
    weight : float
        Weight of the total variation, not negative. With `A` in mm and images in 1/mm, its unit is
        mm: twice the sinogram needs twice the weight.
    iterations : int
        Largest number of iterations.
    x0 : torch.Tensor, shape (..., *operator.domain_shape), optional
        Start, one for each sinogram or one for all. Default: zero.
    tolerance : float, optional
        Stop once ``gap <= tolerance * objective`` for all images of the batch; looked at every 10
        iterations. Both are explained below.
    noise_level, tau, progress, callback
        As for `landweber`; the noise level, too, is looked at every 10 iterations. Objective and
        gap are reported. What is reported or looked at costs one more projection and
        back-projection each time.
    nonnegative : bool
        Whether to minimise over images without negative values.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)
        In 1/mm for line integrals.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As for `landweber`.

    Warns
    -----
    ConvergenceWarning
        If a stopping rule was asked for and not met within `iterations`.

    Notes
    -----
    With the dual variables ``p`` and ``q`` of data and gradient, the gap is ``objective + <p, y> +
    ||p||**2 / 4 + ||x|| ||r||`` where ``r = A.T p + D.T q`` (its negative part, if `nonnegative`)
    vanishes at the solution. The objective exceeds its minimum by no more than the gap, if the
    norm of the minimiser does not exceed that of ``x``.

    The steps satisfy ``s ||A||**2 t + u ||D||**2 t < 1``. They follow the data's scale, so that
    multiplying sinogram and weight by a number multiplies every iterate by it.

    References
    ----------
    .. [1] A. Chambolle, T. Pock, A first-order primal-dual algorithm for convex problems with
       applications to imaging, J. Math. Imaging Vis. 40 (2011), doi 10.1007/s10851-010-0251-1.
    .. [2] L. Condat, A primal-dual splitting method for convex optimization involving
       Lipschitzian, proximable and linear composite terms, J. Optim. Theory Appl. 158 (2013),
       doi 10.1007/s10957-012-0245-9.
    """
    check_flag("nonnegative", nonnegative)
    weight = check_float("weight", weight, nonnegative=True)
    y, x, leading = start(sinogram, operator, x0)
    loop = Loop(
        "total_variation",
        "check that the operator's adjoint is its transpose and its norm is right",
        leading,
        math.prod(operator.range_shape),
        iterations=iterations,
        tolerance=tolerance,
        noise_level=noise_level,
        tau=tau,
        progress=progress,
        callback=callback,
        check_every=_CHECK_EVERY,
    )
    problem = _Problem(y, x, operator, weight, nonnegative)
    for _ in loop:
        problem.step()
        loop.check(problem.image, None, problem.residual, problem.certificate)
    return problem.image.reshape(*leading, *operator.domain_shape)


class _Problem:
    """State of the iteration. Its steps work in place: at 128**2 an allocation costs a sum."""

    def __init__(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        operator: LinearOperator,
        weight: float,
        nonnegative: bool,
    ) -> None:
        self.y, self.operator, self.weight, self.nonnegative = y, operator, weight, nonnegative
        self.gradient = _Gradient(x)
        self.x, self.image, self.ahead = x, x.clone(), torch.empty_like(x)
        self.p, self.p_new = torch.zeros_like(y), torch.zeros_like(y)
        # without a penalty its dual variable would stay zero
        axes = x.ndim - 1 if weight > 0 else 0
        self.q = x.new_zeros((axes, *x.shape))
        self.q_new, self.shrink = torch.zeros_like(self.q), torch.empty_like(x)
        norm = positive_norm(operator)
        share = _GRADIENT_SHARE if weight > 0 else 0.0
        size = torch.linalg.vector_norm(y.flatten(1), dim=1)
        size /= norm * math.sqrt(math.prod(operator.domain_shape))
        # the dimensionless ratio of the images' expected size to the weight
        balance = (_BALANCE * norm * (size / max(weight, 1e-30)).sqrt()).clamp(0.1, 1e3)
        self.primal_step = per_image(-balance / norm**2, x)
        self.data_step = per_image(_SAFETY * (1 - share) / balance, y)
        self.data_shrink = 1 / (1 + self.data_step / 2)
        gradient_norm = FiniteDifferences(operator.domain_shape).norm()
        self.gradient_step = per_image(
            _SAFETY * share * norm**2 / (balance * max(gradient_norm, 1e-30) ** 2), x
        )

    def step(self) -> None:
        """Make one iteration."""
        slope = self.operator.adjoint(self.p)
        self.gradient.add_adjoint(self.q, slope)
        torch.addcmul(self.x, slope, self.primal_step, out=self.image)
        if self.nonnegative:
            self.image.clamp_(min=0)
        torch.lerp(self.x, self.image, 2.0, out=self.ahead)
        self.x.lerp_(self.image, _RELAXATION)

        misfit = self.operator(self.ahead).sub_(self.y)
        torch.addcmul(self.p, misfit, self.data_step, out=self.p_new)
        self.p_new.mul_(self.data_shrink)
        self.p.lerp_(self.p_new, _RELAXATION)

        if self.weight > 0:
            self.gradient(self.ahead, self.q_new)
            for old, new in zip(self.q, self.q_new, strict=True):
                torch.addcmul(old, new, self.gradient_step, out=new)
            # the inverse root of a zero length is infinite and clamped; torch's plain root would
            # start threads even for small images
            shrink = _square(self.q_new, self.shrink).rsqrt_().mul_(self.weight).clamp_(max=1.0)
            self.q_new.mul_(shrink)
            self.q.lerp_(self.q_new, _RELAXATION)

    def residual(self) -> torch.Tensor:
        """Return ``A x - y``."""
        return self.operator(self.image).sub_(self.y)

    def certificate(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the objective and a bound of its distance from the minimum."""
        slope = self.operator.adjoint(self.p_new)
        self.gradient.add_adjoint(self.q_new, slope)
        if self.nonnegative:
            slope.clamp_(max=0)
        objective = self.residual().square_().flatten(1).sum(1)
        if self.weight > 0:
            differences = torch.zeros_like(self.q_new)
            self.gradient(self.image, differences)
            length = _square(differences, torch.empty_like(self.image)).sqrt_()
            objective += self.weight * length.flatten(1).sum(1)
        dual = self.p_new * (self.y + self.p_new / 4)
        norms = [torch.linalg.vector_norm(v.flatten(1), dim=1) for v in (self.image, slope)]
        return objective, objective + dual.flatten(1).sum(1) + norms[0] * norms[1]


class _Gradient:
    """Differences of neighbouring pixels into a given tensor (axes, batch, ...).

    As `FiniteDifferences` of spacing one, without fresh tensors: the last difference along each
    axis is not written, it is to be zero from the start.
    """

    def __init__(self, like: torch.Tensor) -> None:
        self.counts = tuple(like.shape[1:])

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> None:
        for axis, (count, part) in enumerate(zip(self.counts, out, strict=True), start=1):
            upper, lower = x.narrow(axis, 1, count - 1), x.narrow(axis, 0, count - 1)
            torch.sub(upper, lower, out=part.narrow(axis, 0, count - 1))

    def add_adjoint(self, q: torch.Tensor, out: torch.Tensor) -> None:
        for axis, part in enumerate(q, start=1):
            count = self.counts[axis - 1]
            inner = part.narrow(axis, 0, count - 1)
            out.narrow(axis, 1, count - 1).add_(inner)
            out.narrow(axis, 0, count - 1).sub_(inner)


def _square(vectors: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Write the squared lengths of the vectors (axes, batch, ...) to `out` and return it."""
    torch.mul(vectors[0], vectors[0], out=out)
    for component in vectors[1:]:
        out.addcmul_(component, component)
    return out
