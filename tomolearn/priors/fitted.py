"""A trained regulariser with two numbers left to fit: its weight and the scale of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.modules import built
from tomolearn.priors.naming import named_regulariser
from tomolearn.priors.prior import Denoiser, Regulariser


class FittedRegulariser(Regulariser):
    """A regulariser with trained weight and scale, ``w R(s x) / s^2``, and otherwise as it was.

    What denoising score matching has learned removes noise in one step; as a prior beside data it
    needs another weight, and mostly sharper potentials. Bilevel learning of these two numbers alone
    (``tomolearn train fitted-regulariser --task TASK --objective bilevel``) takes few steps [1]_.

    Parameters
    ----------
    prior : str, optional
        Name or path of the weights of R, or its name with arguments, as for `named_regulariser`.
    regulariser, arguments : str and mapping, optional
        Name of R's class in `PRIORS`, and its constructor's arguments, in place of `prior`: as
        files of weights have it.
    weight, scale : float
        w and s before training.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        If not exactly one of `prior` and `regulariser` is given, or an argument will not do.

    References
    ----------
    .. [1] J. Hertrich et al., "Learning regularization functionals for inverse problems: a
       comparative study" (2025), arXiv:2510.01755
    """

    def __init__(
        self,
        *,
        prior: str | None = None,
        regulariser: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        weight: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        from tomolearn.priors.table import PRIORS

        if (prior is None) == (regulariser is None):
            raise TomolearnTypeError(
                f"prior, regulariser: expected exactly one of them, got {prior} and {regulariser}"
            )
        found: Regulariser | Denoiser
        if prior is not None:
            found = named_regulariser(prior)
            regulariser, arguments = PRIORS.spec_of(type(found)), found.arguments
        else:
            found = built(str(regulariser), PRIORS.find(str(regulariser)), arguments or {})
        if not isinstance(found, Regulariser):
            raise TomolearnError(
                f"regulariser: expected the name of a regulariser, got {regulariser}"
            )
        numbers = {
            "weight": check_float("weight", weight, positive=True),
            "scale": check_float("scale", scale, positive=True),
        }
        known = {"regulariser": regulariser, "arguments": dict(arguments or {})}
        super().__init__({**known, **numbers})
        self.regulariser, self.ndim = found.train().requires_grad_(False), found.ndim
        self.log_weight = torch.nn.Parameter(torch.tensor(math.log(weight)))
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def convexity(self) -> float | None:
        """That of the regulariser, times the weight."""
        known = self.regulariser.convexity
        return None if known is None else known * math.exp(self.log_weight.item())

    def lipschitz(self, shape: Sequence[int]) -> float | None:
        """Return that of the regulariser, times the weight."""
        known = self.regulariser.lipschitz(shape)
        return None if known is None else known * math.exp(self.log_weight.item())

    @property
    def has_gradient(self) -> bool:
        """Whether the regulariser has one."""
        return self.regulariser.has_gradient

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        s = self.log_scale.exp()
        return self.log_weight.exp() / s.square() * self.regulariser.value(s * image)

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient at each image."""
        s = self.log_scale.exp()
        return self.log_weight.exp() / s * self.regulariser.gradient(s * image)

    def value_and_gradient(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both."""
        s, w = self.log_scale.exp(), self.log_weight.exp()
        value, gradient = self.regulariser.value_and_gradient(s * image)
        return w / s.square() * value, w / s * gradient
