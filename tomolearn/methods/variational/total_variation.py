"""Total-variation regularisation by the primal-dual method of Chambolle and Pock."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from tomolearn._core.checks import check_float
from tomolearn.methods.checks import check_flag, positive_norm, start
from tomolearn.methods.iteration import Callback, Loop
from tomolearn.methods.variational.tv_steps import variation_steps
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

_Map = Callable[[torch.Tensor], torch.Tensor]


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
        loop.check(problem.steps.image, None, problem.residual, problem.certificate)
    return problem.steps.image.reshape(*leading, *operator.domain_shape)


class _Problem:
    """What is minimised, and the state of the iteration."""

    def __init__(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        operator: LinearOperator,
        weight: float,
        nonnegative: bool,
    ) -> None:
        self.y, self.weight, self.nonnegative = y, weight, nonnegative
        # the tensors are checked; to check them at every call would take as long as the steps
        self.forward: _Map = operator._evaluate
        self.adjoint: _Map = operator._evaluate_adjoint
        if torch.is_autocast_enabled(y.device.type):
            # the operator itself sees to it that mixed precision does not reach its inside
            self.forward, self.adjoint = operator, operator.adjoint
        norm = positive_norm(operator)
        share = _GRADIENT_SHARE if weight > 0 else 0.0
        size = torch.linalg.vector_norm(y.flatten(1), dim=1)
        size /= norm * math.sqrt(math.prod(operator.domain_shape))
        # the dimensionless ratio of the images' expected size to the weight
        balance = (_BALANCE * norm * (size / max(weight, 1e-30)).sqrt()).clamp(0.1, 1e3)
        gradient_norm = FiniteDifferences(operator.domain_shape).norm()
        self.steps = variation_steps(
            x,
            y,
            weight,
            nonnegative,
            primal_step=-balance / norm**2,
            data_step=_SAFETY * (1 - share) / balance,
            gradient_step=_SAFETY * share * norm**2 / (balance * max(gradient_norm, 1e-30) ** 2),
            relaxation=_RELAXATION,
        )

    def step(self) -> None:
        """Make one iteration."""
        self.steps.image_step(self.adjoint(self.steps.p))
        self.steps.data_dual_step(self.forward(self.steps.ahead))
        self.steps.gradient_dual_step()

    def residual(self) -> torch.Tensor:
        """Return ``A x - y``."""
        return self.forward(self.steps.image).sub_(self.y)

    def certificate(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the objective and a bound of its distance from the minimum."""
        image, p = self.steps.image, self.steps.p_new
        slope = self.steps.dual_slope(self.adjoint(p))
        if self.nonnegative:
            slope.clamp_(max=0)
        objective = self.residual().square_().flatten(1).sum(1)
        if self.weight > 0:
            objective += self.weight * self.steps.variation()
        dual = p * (self.y + p / 4)
        norms = [torch.linalg.vector_norm(v.flatten(1), dim=1) for v in (image, slope)]
        return objective, objective + dual.flatten(1).sum(1) + norms[0] * norms[1]
