"""Functionals of ODL as regularisers, with ODL's inner-product weights removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tomolearn._core.checks import check_float
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.priors.prior import PerImage, Regulariser


class OdlRegulariser(Regulariser):
    """A functional of ODL on a discretised space as a regulariser, on a CPU.

    Its value is that of ODL, which for norms has the volume of a pixel as a factor. Gradients and
    proximal maps of ODL belong to inner products with that weight w; here they are Euclidean: w
    times ODL's gradient, and ODL's proximal map with w times the step.

    Parameters
    ----------
    functional : odl.functionals.Functional
        On a space of real numbers, such as ``odl.uniform_discr``, with one weight for all pixels.
        Where it has a proximal map and no Lipschitz constant of its gradient, as the L1 norm, it is
        taken for one that is not smooth.
    convexity : float, optional
        Modulus of convexity that you know. Default: 0, convex, if ODL has its proximal map, which
        it has for convex functionals; otherwise none.

    Raises
    ------
    TypeError, ValueError
        If `functional` is none, or its space is of another kind.

    Examples
    --------
    >>> space = odl.uniform_discr([0, 0], [1, 1], grid.shape, dtype="float32")
    >>> prior = OdlRegulariser(odl.functionals.L1Norm(space))
    >>> image = tl.variational(sinogram, operator, prior=prior, weight=0.1)
    """

    def __init__(self, functional: Any, *, convexity: float | None = None) -> None:
        # ODL is not imported for this: who has a functional has done so
        bases = type(functional).__mro__
        names = {(base.__module__.partition(".")[0], base.__name__) for base in bases}
        if ("odl", "Functional") not in names:
            raise TomolearnTypeError(
                f"functional: expected a Functional of ODL, got {type(functional).__name__}"
            )
        space = functional.domain
        dtype = getattr(space, "dtype", None)
        if dtype is None or np.dtype(dtype) not in (np.float32, np.float64):
            raise TomolearnTypeError(
                f"functional: expected one on a space of float32 or float64 numbers, got {space!r}"
            )
        weight = getattr(space.weighting, "const", None)
        if weight is None or space.weighting.exponent != 2.0:
            raise TomolearnError(
                "functional: expected a space with one weight for all pixels and exponent 2, got "
                f"{space.weighting!r}"
            )
        self._convexity = None if convexity is None else check_float("convexity", convexity)
        super().__init__({"functional": functional, "convexity": self._convexity})
        self.functional, self.shape = functional, tuple(space.shape)
        self.ndim = len(self.shape)
        self._weight, self._dtype = float(weight), np.dtype(dtype)
        self._proximal = _available(lambda: functional.proximal)
        constant = float(getattr(functional, "grad_lipschitz", math.nan))
        self._constant = constant * self._weight if math.isfinite(constant) else None
        self._gradient = None
        if self._constant is not None or self._proximal is None:
            self._gradient = _available(lambda: functional.gradient)

    @property
    def convexity(self) -> float | None:
        """What was given, or zero where ODL has a proximal map."""
        if self._convexity is None and self.has_proximal:
            return 0.0
        return self._convexity

    @property
    def has_gradient(self) -> bool:
        """Whether ODL has one, and it is that of a smooth function."""
        return self._gradient is not None

    @property
    def has_proximal(self) -> bool:
        """Whether ODL has one."""
        return self._proximal is not None

    def lipschitz(self, shape: Sequence[int]) -> float | None:
        """Return the Lipschitz constant of the gradient that ODL states, if it does."""
        return self._constant if self.has_gradient else None

    def value(self, image: torch.Tensor) -> torch.Tensor:
        """Return the value of each image, shape (...)."""
        values = [float(self.functional(item)) for item in self._elements(image)]
        leading = image.shape[: image.ndim - self.ndim]
        return torch.tensor(values, dtype=image.dtype).reshape(leading)

    def gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Return the Euclidean gradient at each image."""
        if self._gradient is None:
            return super().gradient(image)
        found = [self._gradient(item) for item in self._elements(image)]
        return self._weight * _stacked(found, image)

    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return the x that minimises ``||x - image||^2 / 2 + step * value(x)``."""
        if self._proximal is None:
            return super().proximal(image, step)
        steps = self._per_image("step", step, self._checked(image)).flatten().tolist()
        found = [
            # ODL takes no step of zero
            self._proximal(self._weight * t)(item) if t > 0 else item
            for item, t in zip(self._elements(image), steps, strict=True)
        ]
        return _stacked(found, image)

    def _elements(self, image: torch.Tensor) -> list[Any]:
        self._checked(image)
        if image.device.type != "cpu":
            raise TomolearnError(f"image: expected a tensor on cpu, got one on {image.device}")
        if tuple(image.shape[image.ndim - self.ndim :]) != self.shape:
            raise TomolearnError(
                f"image: expected shape (..., {', '.join(map(str, self.shape))}), that of the "
                f"functional's space, got {tuple(image.shape)}"
            )
        array = image.detach().reshape(-1, *self.shape).numpy().astype(self._dtype)
        return [self.functional.domain.element(item) for item in array]


def _available(operator: Callable[[], Any]) -> Any:
    """Return what ODL has, or None where it says that it has none."""
    try:
        return operator()
    except (NotImplementedError, AttributeError, TypeError, ValueError):
        return None


def _stacked(elements: list[Any], like: torch.Tensor) -> torch.Tensor:
    if not elements:
        return torch.empty_like(like)
    arrays = np.stack([element.asarray() for element in elements])
    return torch.from_numpy(arrays).to(like.dtype).reshape(like.shape)
