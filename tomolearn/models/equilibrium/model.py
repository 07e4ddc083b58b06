"""Base class of deep-equilibrium networks."""

from __future__ import annotations

import abc
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import ConvergenceWarning, TomolearnError
from tomolearn._core.tensors import check_real_tensor, check_trailing_shape, plain
from tomolearn.methods import fbp
from tomolearn.methods.checks import check_ray_transform
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.equilibrium.preconditioner import Circulant
from tomolearn.numerics.fixed_point import FixedPoint, fixed_point
from tomolearn.numerics.implicit import (
    BACKWARD_MODES,
    BACKWARD_SOLVERS,
    Backward,
    equilibrium,
    unsolved,
)
from tomolearn.numerics.solvers import SOLVERS
from tomolearn.operators import LinearOperator
from tomolearn.priors import SpectralDenoiser
from tomolearn.priors.lipschitz_networks import ARCHITECTURES, lipschitz_network

Map = Callable[[torch.Tensor], torch.Tensor]

STARTS = ("adjoint", "fbp", "zero")
"""Where the iteration begins."""
PRECONDITIONERS = ("none", "circulant")
"""What gradients are multiplied by."""


class DeepEquilibrium(ReconstructionModel):
    """A reconstruction that is the fixed point of a learned iteration [1]_.

    It is what the iteration converges to, so that there is no number of iterations to be trained
    for, and training needs the memory of one of them. The iteration's step size, the weight of its
    regulariser R(u) = u + N(u) and the network N are learned; u - R(u) = -N(u) is its `denoiser`,
    for which training with the objective "denoising" makes it. Whether it converges depends on N's
    Lipschitz constant, see `contraction_report`; where the solver did not, the warning
    `ConvergenceWarning` is given, except in training, which logs it (`diagnostics`).

    Parameters
    ----------
    regulariser : {"dncnn", "unet"}
        Network N: a plain stack of convolutions, or a small U-Net. Each convolution has spectral
        norm one.
    depth : int
        Number of convolutions ("dncnn"), or of resolutions ("unet").
    channels : int
        Channels between the convolutions; of "unet" at the finest resolution, and twice as many
        at the others.
    bias : bool
        Whether convolutions have biases.
    activation : {"relu", "maxmin"}
        Between the convolutions. "maxmin" sorts pairs of channels and loses less of the norm.
    lipschitz : float
        Upper bound of N's Lipschitz constant: the factor by which its output is multiplied.
        Below 1, convergence can be proven; above, N can be the stronger regulariser.
    step, weight : float
        Step size and weight of the regulariser at first.
    preconditioner : {"none", "circulant"}
        What a gradient is multiplied by, see `Circulant`.
    start : {"adjoint", "fbp", "zero"}
        Where the iteration begins: A^T y, the filtered back-projection (Ram-Lak; needs a
        `RayTransform`), or zero.
    solver : {"anderson", "broyden", "picard"}
        Of the fixed point.
    tolerance, max_iterations : float and int
        Largest relative residual, and largest number of evaluations of the iteration.
    backward : {"implicit", "jfb", "phantom", "unrolled"}
        How gradients are computed, see `Backward`.
    backward_solver : {"anderson", "broyden", "gmres", "picard"}
        Of the linear system in mode "implicit".
    backward_tolerance, backward_iterations : float and int
        Its tolerance and largest number of iterations.

    References
    ----------
    .. [1] D. Gilton, G. Ongie, R. Willett, "Deep equilibrium architectures for inverse problems in
       imaging", IEEE Trans. Comput. Imaging 7 (2021), arXiv:2102.07944,
       doi 10.1109/TCI.2021.3118944
    """

    def __init__(
        self,
        *,
        regulariser: str = "dncnn",
        depth: int = 17,
        channels: int = 64,
        bias: bool = False,
        activation: str = "relu",
        lipschitz: float = 0.95,
        step: float = 1.0,
        weight: float = 0.05,
        preconditioner: str = "none",
        start: str = "adjoint",
        solver: str = "anderson",
        tolerance: float = 1e-4,
        max_iterations: int = 100,
        backward: str = "implicit",
        backward_solver: str = "anderson",
        backward_tolerance: float = 1e-4,
        backward_iterations: int = 100,
    ) -> None:
        arguments: dict[str, Any] = {
            "regulariser": check_choice("regulariser", regulariser, tuple(ARCHITECTURES)),
            "depth": depth,
            "channels": channels,
            "bias": bool(bias),
            "activation": activation,
            "lipschitz": check_float("lipschitz", lipschitz, positive=True),
            "step": check_float("step", step, positive=True),
            "weight": check_float("weight", weight, positive=True),
            "preconditioner": check_choice("preconditioner", preconditioner, PRECONDITIONERS),
            "start": check_choice("start", start, STARTS),
            "solver": check_choice("solver", solver, tuple(SOLVERS)),
            "tolerance": check_float("tolerance", tolerance, nonnegative=True),
            "max_iterations": check_int("max_iterations", max_iterations, minimum=1),
            "backward": check_choice("backward", backward, BACKWARD_MODES),
            "backward_solver": check_choice("backward_solver", backward_solver, BACKWARD_SOLVERS),
            "backward_tolerance": check_float(
                "backward_tolerance", backward_tolerance, nonnegative=True
            ),
            "backward_iterations": check_int("backward_iterations", backward_iterations, minimum=1),
        }
        network = lipschitz_network(
            regulariser, depth=depth, channels=channels, bias=bias, activation=activation
        )
        super().__init__(arguments)
        self.preconditioner, self.start, self.solver = preconditioner, start, solver
        self.tolerance, self.max_iterations = tolerance, max_iterations
        self.backward = Backward(backward, backward_solver, backward_tolerance, backward_iterations)
        self.lipschitz = float(lipschitz)
        self.network = network
        self.log_step = nn.Parameter(torch.tensor(math.log(step)))
        self.log_weight = nn.Parameter(torch.tensor(math.log(weight)))

    @abc.abstractmethod
    def update(
        self, u: torch.Tensor, descent: torch.Tensor, scale: Map, regulariser: Map
    ) -> torch.Tensor:
        """Return the next image after `u`, both of shape (batch, 1, rows, columns).

        `descent` is A^T (y - A u), with A and y divided by the norm of A; `scale` multiplies an
        image by preconditioner and step size, `regulariser` maps u to weight R(u).
        """

    def iteration(
        self, operator: LinearOperator, shape: tuple[int, int]
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return the map (u, y / ||A||) -> u of which the reconstruction is the fixed point.

        It is a function of images (batch, 1, rows, columns) and sinograms (batch, 1, angles,
        bins), for images of the given shape, with the weights at the time of this call.
        """
        A = Scaled(operator)
        kernels = self.network.kernels(shape)
        step, weight = self.log_step.exp(), self.log_weight.exp()
        filtered = Circulant(A, shape, step) if self.preconditioner == "circulant" else None

        def scale(gradient: torch.Tensor) -> torch.Tensor:
            return step * (gradient if filtered is None else filtered(gradient, weight))

        def regulariser(image: torch.Tensor) -> torch.Tensor:
            return weight * (image + self.lipschitz * self.network(image, *kernels))

        def function(u: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.update(u, A.adjoint(y - A(u)), scale, regulariser)

        return function

    @abc.abstractmethod
    def contraction_factor(self, lipschitz: float, smallest: float, largest: float) -> float:
        """Return a Lipschitz constant of the iteration.

        `lipschitz` is that of the network N; the others bound the eigenvalues of A^T A / ||A||^2.
        """

    @abc.abstractmethod
    def has_one_fixed_point(self, lipschitz: float, largest: float) -> bool:
        """Tell whether such bounds, see `contraction_factor`, prove that one fixed point exists."""

    def solve(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        *,
        start: torch.Tensor | None = None,
        solver: str | None = None,
        tolerance: float | None = None,
        max_iterations: int | None = None,
    ) -> FixedPoint:
        """Reconstruct, and tell how the solver fared; gradients are not recorded.

        Parameters
        ----------
        sinogram, operator
            As for a call of the model; leading dimensions become one of the batch.
        start : torch.Tensor, shape (..., rows, columns), optional
            Where to begin, one image per sinogram. Default: as the model was made.
        solver, tolerance, max_iterations : optional
            Instead of the model's.

        Returns
        -------
        FixedPoint
            Its state has the shape (batch, 1, rows, columns).

        Raises
        ------
        DivergenceError
            If a value is not finite.
        TypeError, ValueError
            As a call of the model does, and for a start of another shape.
        """
        flat = self._checked(sinogram, operator)
        image = None
        if start is not None:
            check_real_tensor("start", start)
            check_trailing_shape("start", start, operator.domain_shape)
            image = start.to(flat).reshape(-1, 1, *operator.domain_shape)
            if len(image) != len(flat):
                raise TomolearnError(f"start: expected {len(flat)} images, got {len(image)}")
        with torch.no_grad():
            y, function, begin = self._problem(flat, operator)
            return fixed_point(
                function,
                begin if image is None else image,
                y,
                solver=self.solver if solver is None else solver,
                tolerance=self.tolerance if tolerance is None else tolerance,
                max_iterations=self.max_iterations if max_iterations is None else max_iterations,
            )

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Solve for the fixed point."""
        y, function, start = self._problem(sinogram, operator)

        def iteration(u: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            if self.backward.mode != "unrolled":  # only then there are activations to forget
                return function(u, y)
            return self._iterate(lambda u: (function(u, y),), u)[0]

        found = equilibrium(
            iteration,
            start,
            y,
            solver=self.solver,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            backward=self.backward,
            report=partial(self._report, "backward_"),
        )
        self._report("", found)
        if not self.training and not plain(found.converged).all():
            warnings.warn(
                f"{type(self).__name__}: {unsolved(found, self.tolerance)}",
                ConvergenceWarning,
                stacklevel=2,
            )
        return found.state

    @property
    def step(self) -> float:
        """Step size."""
        return math.exp(self.log_step.item())

    @property
    def weight(self) -> float:
        """Weight of the regulariser."""
        return math.exp(self.log_weight.item())

    @torch.no_grad()
    def problem(
        self, sinogram: torch.Tensor, operator: LinearOperator
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
        """Return y / ||A||, (batch, 1, angles, bins), and the iteration with fixed weights."""
        y, function, _ = self._problem(self._checked(sinogram, operator), operator)
        return y, function

    def denoiser(self) -> SpectralDenoiser:
        """Return the denoiser u - R(u) = -N(u), whose weights are the model's."""
        shared = ("depth", "channels", "bias", "activation", "lipschitz")
        return SpectralDenoiser(
            architecture=self.arguments["regulariser"],
            **{name: self.arguments[name] for name in shared},
            network=self.network,
        )

    def _problem(
        self, sinogram: torch.Tensor, operator: LinearOperator
    ) -> tuple[torch.Tensor, Callable[..., torch.Tensor], torch.Tensor]:
        A = Scaled(operator)
        y = sinogram / A.norm
        rows, columns = operator.domain_shape
        if self.start == "fbp":
            image = fbp(sinogram, check_ray_transform(operator), oversampling=1)
        elif self.start == "adjoint":
            image = A.adjoint(y)
        else:
            image = y.new_zeros((len(y), 1, rows, columns))
        return y, self.iteration(operator, (rows, columns)), image

    def _report(self, prefix: str, found: FixedPoint) -> None:
        self.diagnostics = {
            **({} if prefix == "" else self.diagnostics),
            f"{prefix}iterations": float(plain(found.iterations).double().mean()),
            f"{prefix}residual": float(plain(found.residual).max()),
            f"{prefix}converged": float(plain(found.converged).double().mean()),
        }
