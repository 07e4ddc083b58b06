"""Convex functions of linear images of an image, as primal-dual algorithms take them apart."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import ConvergenceWarning, TomolearnError
from tomolearn._core.tensors import norm
from tomolearn.operators import LinearOperator
from tomolearn.priors.prior import PerImage, Regulariser

# The certificate costs as much as half an iteration.
_CHECK_EVERY = 10
# Norms by Lanczos iteration are known from below, to 1e-6 of their square.
_NORM_MARGIN = 1 + 1e-5


class ComposedRegulariser(Regulariser, abc.ABC):
    """A convex function ``R(x) = min over z of phi(K(x, z))`` with a linear map K.

    `phi` is simple: the proximal map of its convex conjugate is in closed form, which is all that
    primal-dual algorithms ask for. `z` are auxiliary images, as many as `extra` says; total
    variation has none and K is the gradient. Coefficients ``K(x, z)`` and dual variables are
    tensors (..., channels, *spatial axes).

    The proximal map of those without auxiliary images is computed by the fast gradient projection
    of the dual problem [1]_, without gradients.

    Parameters
    ----------
    arguments : mapping
        The constructor's arguments by name, but for the next two.
    tolerance : float, optional
        Of what is computed by iteration: bound of the distance of the proximal point from the exact
        one, relative to the norm of the image, which the duality gap proves. The distance itself is
        mostly several times smaller. Not given, it is no argument of the constructor.
    max_iterations : int, optional
        Largest number of iterations.

    References
    ----------
    .. [1] A. Beck, M. Teboulle, "Fast gradient-based algorithms for constrained total variation
       image denoising and deblurring problems", IEEE Trans. Image Process. 18 (2009),
       doi 10.1109/TIP.2009.2028250
    """

    extra: int = 0
    """Number of auxiliary images."""
    tolerance: float = 1e-2
    max_iterations: int = 1000

    def __init__(
        self,
        arguments: Mapping[str, Any],
        *,
        tolerance: float | None = None,
        max_iterations: int | None = None,
    ) -> None:
        known = dict(arguments)
        if tolerance is not None:
            known["tolerance"] = check_float("tolerance", tolerance, positive=True)
            self.tolerance = known["tolerance"]
        if max_iterations is not None:
            known["max_iterations"] = check_int("max_iterations", max_iterations, minimum=1)
            self.max_iterations = known["max_iterations"]
        super().__init__(known)
        self._known: tuple[tuple[int, ...], LinearOperator] | None = None

    @property
    def convexity(self) -> float:
        """Zero: it is convex."""
        return 0.0

    @abc.abstractmethod
    def analysis(self, shape: Sequence[int]) -> LinearOperator:
        """Return K for images of a shape.

        Parameters
        ----------
        shape : sequence of int
            Shape of one image, `ndim` axes.

        Returns
        -------
        LinearOperator
            From images ``shape``, or ``(1 + extra, *shape)`` where there are auxiliary ones, of
            which x is the first, to ``(channels, *spatial axes)``.
        """

    @abc.abstractmethod
    def analysis_value(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return phi of coefficients (..., channels, *spatial axes), shape (...)."""

    @abc.abstractmethod
    def dual_proximal(
        self, dual: torch.Tensor, step: float | torch.Tensor, weight: float | torch.Tensor
    ) -> torch.Tensor:
        """Return the proximal map of the convex conjugate of ``weight * phi``.

        That is the p that minimises ``||p - dual||^2 / 2 + step * (weight * phi)^*(p)``; if phi is
        a norm, the projection onto its dual ball of radius `weight`, whatever the step.

        Parameters
        ----------
        dual : torch.Tensor, shape (..., channels, *spatial axes)
            Dual variables.
        step, weight : float or torch.Tensor
            Step, positive, and weight, not negative: numbers, or tensors that broadcast with
            `dual`. They are not checked, since this is called in every iteration.
        """

    def dual_value(self, dual: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
        """Return the convex conjugate of ``weight * phi``, shape (...), where it is finite.

        It is finite at what `dual_proximal` returns, and zero there if phi is a norm.
        """
        return dual.new_zeros(dual.shape[: dual.ndim - self.ndim - 1])

    def analysis_proximal(
        self, coefficients: torch.Tensor, step: float | torch.Tensor
    ) -> torch.Tensor:
        """Return the proximal map of ``step * phi``, by Moreau's decomposition."""
        return coefficients - self.dual_proximal(coefficients, 1.0, step)

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        self._without_auxiliary("value")
        return self.analysis_value(self._analysis_of(self._checked(image))(image))

    @torch.no_grad()
    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return the x that minimises ``||x - image||^2 / 2 + step * value(x)``.

        Warns
        -----
        ConvergenceWarning
            If the tolerance was not reached.
        """
        self._without_auxiliary("proximal")
        t = self._per_image("step", step, self._checked(image)).unsqueeze(-self.ndim - 1)
        K = self._analysis_of(image)
        leading = image.ndim - self.ndim
        bound = (_NORM_MARGIN * K.norm()) ** 2
        if bound == 0:  # an image of one pixel
            return image.clone()
        wanted = self.tolerance * self._sizes(image)
        # of the conjugate of t phi, so that images with t = 0 stay as they are
        q = bar = torch.zeros_like(K(image))
        momentum = 1.0
        distance = wanted
        for iteration in range(1, self.max_iterations + 1):
            ascent = bar + K(image - K.adjoint(bar)) / bound
            new = self.dual_proximal(ascent, 1 / bound, t)
            next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            bar = new + (momentum - 1) / next_momentum * (new - q)
            q, momentum = new, next_momentum
            if iteration % _CHECK_EVERY == 0 or iteration == self.max_iterations:
                slope = K(image - K.adjoint(q))
                gap = (
                    t.reshape(image.shape[:leading]) * self.analysis_value(slope)
                    + self.dual_value(q, t)
                    - (q * slope).flatten(leading).sum(-1)
                )
                # the objective is strongly convex
                distance = (2 * gap.double()).clamp_min(0).sqrt()
                if bool((distance <= wanted).all()):
                    break
        self._warn_if_above(distance, wanted)
        return image - K.adjoint(q)

    def _analysis_of(self, image: torch.Tensor) -> LinearOperator:
        """Return K for the shape of these images, the last one of which is remembered."""
        shape = tuple(image.shape[image.ndim - self.ndim :])
        known = self.__dict__.get("_known")
        if known is None or known[0] != shape:
            # not as a submodule: it follows from the arguments
            known = self.__dict__["_known"] = shape, self.analysis(shape)
        operator: LinearOperator = known[1]
        return operator

    def _sizes(self, image: torch.Tensor) -> torch.Tensor:
        """Return the norm of each image in float64, shape (...)."""
        leading = image.ndim - self.ndim
        return norm(image.reshape(-1, *image.shape[leading:])).reshape(image.shape[:leading])

    def _without_auxiliary(self, what: str) -> None:
        if self.extra:
            raise TomolearnError(
                f"{type(self).__name__}: expected its own {what}, since it has auxiliary images"
            )

    def _warn_if_above(
        self, distance: torch.Tensor, wanted: torch.Tensor, what: str = "a proximal point"
    ) -> None:
        if not bool((distance <= wanted).all()):
            warnings.warn(
                f"{type(self).__name__}: after {self.max_iterations} iterations {what} "
                f"is known to {float((distance / wanted).max()) * self.tolerance:.2g}, not to "
                f"{self.tolerance:g}",
                ConvergenceWarning,
                stacklevel=3,
            )


def project_vectors(vectors: torch.Tensor, radius: float | torch.Tensor, axis: int) -> torch.Tensor:
    """Return vectors along an axis, those longer than `radius` shortened to it."""
    lengths = torch.linalg.vector_norm(vectors, dim=axis, keepdim=True)
    return vectors * (radius / lengths.clamp_min(torch.finfo(vectors.dtype).tiny)).clamp(max=1)


def limit(numbers: torch.Tensor, radius: float | torch.Tensor) -> torch.Tensor:
    """Return numbers, those beyond ``[-radius, radius]`` moved to its ends."""
    bound = torch.as_tensor(radius, dtype=numbers.dtype, device=numbers.device)
    return numbers.clamp(-bound, bound)
