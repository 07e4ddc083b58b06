"""Deep-equilibrium proximal gradient descent."""

from __future__ import annotations

import math

import torch

from tomolearn.models.equilibrium.model import DeepEquilibrium, Map


class DEProximal(DeepEquilibrium):
    """Deep-equilibrium proximal gradient method, DE-Prox of Gilton et al. [1]_.

    The reconstruction is the fixed point of a gradient step of the misfit followed by a network in
    place of a proximal operator ::

        v = u + step A^T (y - A u)
        u = v - weight R(v),    R(v) = v + N(v)

    with A and y divided by the norm of A. With weight one, the network is -N.

    With N of Lipschitz constant e < 1, step <= 2 and weight <= 1, it is a contraction with factor
    1 - weight (1 - e).

    A preconditioner multiplies the gradient, and so changes the fixed points: the network then
    stands for a proximal operator in another metric.

    See `DeepEquilibrium` for the arguments, which are the same for all such networks, and
    `DEGradient` for the defaults.

    References
    ----------
    .. [1] D. Gilton, G. Ongie, R. Willett, "Deep equilibrium architectures for inverse problems in
       imaging", IEEE Trans. Comput. Imaging 7 (2021), arXiv:2102.07944,
       doi 10.1109/TCI.2021.3118944
    """

    def update(
        self, u: torch.Tensor, descent: torch.Tensor, scale: Map, regulariser: Map
    ) -> torch.Tensor:
        """Return the gradient step of the misfit, followed by the network."""
        v = u + scale(descent)
        return v - regulariser(v)

    def contraction_factor(self, lipschitz: float, smallest: float, largest: float) -> float:
        """Return the product of the Lipschitz constants of both halves of the step.

        With a preconditioner, none is known.
        """
        if self.preconditioner != "none":
            return math.inf
        descent = max(abs(1 - self.step * eigenvalue) for eigenvalue in (smallest, largest))
        return descent * (abs(1 - self.weight) + self.weight * lipschitz)

    def has_one_fixed_point(self, lipschitz: float, largest: float) -> bool:
        """Tell whether the step is a contraction."""
        return self.contraction_factor(lipschitz, 0.0, largest) < 1
