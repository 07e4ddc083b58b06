"""Bilevel learning of regularisers: the error of the images that minimise with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.tensors import inner, norm
from tomolearn.methods import Variational, fbp
from tomolearn.methods.iteration import per_image
from tomolearn.methods.variational.algorithms.data_proximal import solved
from tomolearn.methods.variational.problem import Problem
from tomolearn.numerics.minimiser import implicit_minimiser
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.priors import Regulariser
from tomolearn.priors.scaled import scaled
from tomolearn.training.objectives.objective import Batch, Network, Objective
from tomolearn.training.objectives.score import regulariser

# Length of a finite difference relative to that of the image.
_DIFFERENCE = 1e-2
HYPERGRADIENTS = ("implicit", "jfb", "unrolled")


@dataclass(frozen=True)
class Bilevel(Objective):
    """Mean squared error of variational reconstructions with the regulariser that is trained.

    The lower level minimises ``||A x - y||^2 / 2 + weight * R(x)`` for the task's measurements,
    which for tasks without a scanner is denoising. Its derivative by the regulariser's weights is
    ``-q.T d(weight R'(x))`` at the minimiser x, where q solves a linear system with the gradient of
    the error [1]_.

    Parameters
    ----------
    weight : float
        Weight of the regulariser.
    image_scale : float
        What image values are multiplied by for it: ``R(s x) / s^2``.
    hypergradient : {"implicit", "jfb", "unrolled"}
        "implicit": q of the Hessian ``A.T A + weight R''``, exact at the minimiser; "jfb": of
        ``A.T A + r`` with the curvature r of the regulariser along the error, Jacobian-free after
        [2]_: cheap, and biased; "unrolled": derivatives of all
        gradient steps from the start, with their memory.
    iterations : int
        Of the lower level.
    step : float
        Of "unrolled" only, in units of ``1 / ||A||^2``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above.

    References
    ----------
    .. [1] F. Pedregosa, "Hyperparameter optimization with approximate gradient", ICML 2016,
       arXiv:1602.02355
    .. [2] S. W. Fung et al., "JFB: Jacobian-free backpropagation for implicit networks", AAAI 2022,
       arXiv:2103.12803
    """

    uses_all_weights: ClassVar[bool] = False

    weight: float = 1.0
    image_scale: float = 1.0
    hypergradient: str = "implicit"
    iterations: int = 20
    step: float = 0.5

    def __post_init__(self) -> None:
        for name in ("weight", "image_scale", "step"):
            check_float(name, getattr(self, name), positive=True)
        check_choice("hypergradient", self.hypergradient, HYPERGRADIENTS)
        check_int("iterations", self.iterations, minimum=1)

    def check(self, network: Network) -> None:
        """Check that it is a regulariser."""
        regulariser(network)

    def estimate(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the lower level's minimisers."""
        prior = regulariser(network)
        if self.hypergradient == "unrolled":
            return self._descended(prior, batch[0], operator)
        return self._method(prior)(batch[0], operator, x0=_start(batch[0], operator))

    def loss(
        self, network: Network, batch: Batch, operator: LinearOperator, rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the mean squared error, with the derivative by the regulariser's weights."""
        prior, (y, truth) = scaled(regulariser(network), self.image_scale), batch
        found = self.estimate(network, batch, operator, rng)
        if self.hypergradient == "unrolled":
            return (found - truth).square().mean()
        if self.hypergradient == "implicit":

            def gradient(x: torch.Tensor) -> torch.Tensor:
                return operator.T(operator(x) - y) + self.weight * prior.gradient(x)

            found = implicit_minimiser(gradient, found.detach(), tolerance=1e-2)
            return (found - truth).square().mean()
        x = found.detach()
        loss = (x - truth).square().mean()
        problem = self._method(regulariser(network)).problem(
            y.reshape(-1, *operator.range_shape), operator, frozen=False
        )
        q = self._jacobian_free(problem, x, 2 * (x - truth) / x.numel())
        moved = (-self.weight * q * prior.gradient(x)).sum()
        return loss + moved - moved.detach()

    def _method(self, prior: Regulariser) -> Variational:
        return Variational(
            prior,
            weight=self.weight,
            image_scale=self.image_scale,
            algorithm="data-proximal",
            iterations=self.iterations,
        )

    @torch.no_grad()
    def _jacobian_free(
        self, problem: Problem, x: torch.Tensor, slope: torch.Tensor
    ) -> torch.Tensor:
        """Return ``(A.T A + r)^-1 slope``, r the prior's curvature along the slope."""
        flat = slope.reshape(-1, *problem.operator.domain_shape)
        at = x.reshape(flat.shape)
        # a difference as long as the image would have, to average over kinks
        size = norm(at) / norm(flat).clamp_min(torch.finfo(flat.dtype).tiny)
        step = _DIFFERENCE * per_image(size, flat) * flat
        bend = problem.prior_gradient(at + step) - problem.prior_gradient(at)
        r = (inner(bend, step) / inner(step, step)).clamp_min(problem.operator.norm() ** 2 * 1e-4)
        return solved(problem, flat, r).reshape(slope.shape)

    def _descended(
        self, network: Regulariser, y: torch.Tensor, operator: LinearOperator
    ) -> torch.Tensor:
        prior = scaled(network, self.image_scale)
        x, length = _start(y, operator), self.step / operator.norm() ** 2
        for _ in range(self.iterations):
            x = x - length * (operator.T(operator(x) - y) + self.weight * prior.gradient(x))
        return x


def _start(y: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
    """Return where the lower level begins: near its end, as far as the operator tells."""
    with torch.no_grad():
        if isinstance(operator, RayTransform):
            return fbp(y, operator, filter="hann")
        return operator.T(y) / operator.norm() ** 2
