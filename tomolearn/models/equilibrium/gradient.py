"""Deep-equilibrium gradient descent."""

from __future__ import annotations

import math

import torch

from tomolearn.models.equilibrium.model import DeepEquilibrium, Map


class DEGradient(DeepEquilibrium):
    """Deep-equilibrium gradient descent, DE-Grad of Gilton et al. [1]_.

    The reconstruction is the fixed point of the gradient step ::

        u = u + step (A^T (y - A u) - weight R(u)),    R(u) = u + N(u)

    with A and y divided by the norm of A. In [1]_ the weight is one; as a parameter of its own it
    leaves the regulariser's scale to training, where the Lipschitz constant of N is bounded.

    With N of Lipschitz constant e, and all eigenvalues of A^T A / ||A||^2 in [m, 1], the step is a
    contraction with factor 1 - step (weight (1 - e) + m) if step <= 1 / (1 + weight).

    A preconditioner, which multiplies the step in brackets, leaves the fixed points what they are
    and needs several times fewer iterations.

    See `DeepEquilibrium` for the arguments, which are the same for all such networks. Defaults are
    the network of [1]_ (17 convolutions, 64 channels, no biases), without the batch normalisation
    that its authors' code has and which their spectral normalisation leaves out.

    References
    ----------
    .. [1] D. Gilton, G. Ongie, R. Willett, "Deep equilibrium architectures for inverse problems in
       imaging", IEEE Trans. Comput. Imaging 7 (2021), arXiv:2102.07944,
       doi 10.1109/TCI.2021.3118944

    Examples
    --------
    >>> model = DEGradient(depth=5, channels=32, lipschitz=5.0, activation="maxmin", bias=True)
    >>> A = RayTransform(grid, scan)
    >>> image = model(A(x), A)
    >>> found = model.solve(A(x), A, tolerance=1e-5)
    >>> found.iterations, found.converged
    """

    def update(
        self, u: torch.Tensor, descent: torch.Tensor, scale: Map, regulariser: Map
    ) -> torch.Tensor:
        """Return the gradient step."""
        return u + scale(descent - regulariser(u))

    def contraction_factor(self, lipschitz: float, smallest: float, largest: float) -> float:
        """Return the largest |1 - step (weight + eigenvalue)|, plus step weight lipschitz.

        With a preconditioner, none is known.
        """
        if self.preconditioner != "none":
            return math.inf
        linear = max(
            abs(1 - self.step * (self.weight + eigenvalue)) for eigenvalue in (smallest, largest)
        )
        return linear + self.step * self.weight * lipschitz

    def has_one_fixed_point(self, lipschitz: float, largest: float) -> bool:
        """Tell whether N's Lipschitz constant is below one.

        Then A^T A + weight (Id + N), whose zero shifted by A^T y is the fixed point, is strongly
        monotone, whatever step and preconditioner.
        """
        return lipschitz < 1
