"""The problem that variational methods solve: data term, prior, weight and constraint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from tomolearn._core.tensors import norm
from tomolearn.methods.iteration import per_image
from tomolearn.methods.state import Merit
from tomolearn.methods.stopping import Iterate
from tomolearn.methods.variational.constraints import Constraint
from tomolearn.methods.variational.data_terms import DataTerm
from tomolearn.operators import LinearOperator
from tomolearn.priors.prior import Regulariser


@dataclass(frozen=True)
class Problem:
    """``data(A x) + weight * R(x)`` over the images that a constraint allows.

    Parameters
    ----------
    operator : LinearOperator
        A.
    data : DataTerm
        That of a batch of measurements.
    prior : Regulariser or None
        R; None where no image has a weight. Priors of fewer axes than the images are summed over
        the others, as those of the slices of a volume.
    weight : torch.Tensor of float64, shape (batch,)
        Weight of each image.
    constraint : Constraint
        Bounds and support.
    """

    operator: LinearOperator
    data: DataTerm
    prior: Regulariser | None
    weight: torch.Tensor
    constraint: Constraint

    def select(self, index: torch.Tensor) -> Problem:
        """Return the problem of some images of the batch."""
        return replace(
            self,
            data=self.data.select(index),
            weight=self.weight[index],
            constraint=self.constraint.select(index, len(self.operator.domain_shape)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``A x``."""
        return self.operator(x)

    def data_gradient(self, u: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the data term with respect to the image, for u = A x."""
        return self.operator.adjoint(self.data.gradient(u))

    def prior_value(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``weight * R(x)`` of each image in float64."""
        if self.prior is None:
            return torch.zeros_like(self.weight)
        return self.weighted(self.prior.value(x))

    def prior_gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``weight * R'(x)``."""
        if self.prior is None:
            return torch.zeros_like(x)
        return per_image(self.weight, x) * self.prior.gradient(x)

    def prior_value_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both, computed together."""
        if self.prior is None:
            return torch.zeros_like(self.weight), torch.zeros_like(x)
        value, gradient = self.prior.value_and_gradient(x)
        return self.weighted(value), per_image(self.weight, x) * gradient

    def prior_proximal(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return the proximal points of ``step * weight * R``, with a step (batch,) for each."""
        if self.prior is None:
            return x
        leading = x.shape[: x.ndim - self.prior.ndim]
        steps = (step * self.weight).to(x.dtype).reshape(-1, *(1,) * (len(leading) - 1))
        return self.prior.proximal(x, steps.expand(leading))

    def objective(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Return the objective of each image in float64, for u = A x."""
        return self.data.value(u) + self.prior_value(x)

    def prior_lipschitz(self) -> torch.Tensor | None:
        """Return the certified constant of `prior_gradient`, (batch,); None if there is none."""
        if self.prior is None:
            return torch.zeros_like(self.weight)
        shape = self.operator.domain_shape
        constant = self.prior.lipschitz(shape[len(shape) - self.prior.ndim :])
        return None if constant is None else constant * self.weight

    def size(self) -> torch.Tensor:
        """Return the data term of no image, zero where it is infinite: the size of the data."""
        nothing = self.data.value(torch.zeros_like(self.data.y))
        return torch.where(nothing.isfinite(), nothing, 0)

    def objective_merit(self, start: torch.Tensor, falls: bool) -> Callable[[Any], Merit]:
        """Return the merit of methods whose objective does not end above that of their start."""
        size = self.size() + start.abs()
        return lambda now: Merit("objective", lambda: now, start, lambda: size, falls)

    def iterate(
        self,
        x: torch.Tensor,
        u: torch.Tensor,
        merit: Merit | None = None,
        settled: torch.Tensor | None = None,
    ) -> Iterate:
        """Return an iterate for u = A x."""
        return Iterate(
            x, lambda: u - self.data.y, lambda: (self.objective(x, u), None), merit, settled
        )

    def weighted(self, value: torch.Tensor) -> torch.Tensor:
        """Return ``weight * value`` of each image in float64, for values (batch, ...)."""
        return self.weight * value.reshape(len(self.weight), -1).sum(1, dtype=torch.float64)


def still(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """Return which images have not moved by more than a rounding, (batch,)."""
    return norm(new - old) <= torch.finfo(new.dtype).eps * norm(new)
