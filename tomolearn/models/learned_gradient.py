"""Learned gradient descent."""

from __future__ import annotations

import torch

from tomolearn._core.checks import check_int, check_iterations
from tomolearn.methods import fbp
from tomolearn.methods.checks import check_ray_transform
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.blocks import Update, check_ndim
from tomolearn.operators import FiniteDifferences, LinearOperator


class LearnedGradient(ReconstructionModel):
    """Learned gradient descent of Adler and Öktem [1]_.

    A network maps the gradients of the misfit and of a penalty to the next step, and all
    iterations share its weights::

        u = G(x, A^T (A x - y), D^T D x, s)
        s = relu(u[1:])
        x = x + u[0]

    with A and y divided by the norm of A, and D the differences of neighbouring pixels, so that
    D^T D x is the gradient of half the Dirichlet energy. The memory s starts at zero and x at the
    filtered back-projection (Ram-Lak, linear interpolation), for which the operator has to be a
    `RayTransform`. With its default arguments it has 13,318 parameters.

    Parameters
    ----------
    iterations : int
        Number of iterations, unrolled.
    memory : int
        Number of images that an iteration hands to the next besides the reconstruction.
    channels : int
        Channels between the three convolutions.
    ndim : {2, 3}
        Number of spatial axes: images and sinograms of two, or volumes and stacks of projections.

    Notes
    -----
    The authors' differences take the image to be zero beyond its last pixel; here they are zero
    there, as everywhere in this package. Their first two biases start at 0.01, these at zero.

    References
    ----------
    .. [1] J. Adler, O. Öktem, "Solving ill-posed inverse problems using iterative deep neural
       networks", Inverse Problems 33 (2017), arXiv:1704.04058, doi 10.1088/1361-6420/aa9581
    """

    def __init__(
        self, *, iterations: int = 10, memory: int = 5, channels: int = 32, ndim: int = 2
    ) -> None:
        iterations = check_iterations(iterations)
        memory = check_int("memory", memory, minimum=1)
        channels = check_int("channels", channels, minimum=1)
        ndim = check_ndim(ndim)
        super().__init__(
            {"iterations": iterations, "memory": memory, "channels": channels, "ndim": ndim}
        )
        self.iterations, self.memory, self.ndim = iterations, memory, ndim
        self.update = Update(memory + 3, memory + 1, channels, activation="relu", ndim=ndim)

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Run the iterations from the filtered back-projection."""
        x = fbp(sinogram, check_ray_transform(operator), oversampling=1)
        A = Scaled(operator)
        D = FiniteDifferences(operator.domain_shape)
        y = sinogram / A.norm
        s = x.new_zeros((x.shape[0], self.memory, *operator.domain_shape))

        def step(x: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            update = self.update(x, A.adjoint(A(x) - y), D.adjoint(D(x)), s)
            return x + update[:, :1], update[:, 1:].relu()

        for _ in range(self.iterations):
            x, s = self._iterate(step, x, s)
        return x
