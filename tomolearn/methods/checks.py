"""Checks of what every reconstruction gets."""

from __future__ import annotations

import math
import threading
import weakref
from typing import Any

import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError, UnitWarning
from tomolearn._core.telling import warn_user
from tomolearn._core.tensors import (
    check_has_values,
    check_real_tensor,
    check_trailing_shape,
    is_followed,
    plain,
)
from tomolearn.operators import LinearOperator, RayTransform
from tomolearn.operators.base import spatial_part

_FEWEST_BINS = 8
# So many views, and values, are looked at.
_VIEWS, _VALUES = 256, 10_000
# Air of transmissions is one; noise and drifts are a part of it.
_LEAST_AIR, _NOISE, _OBJECT = 0.7, 0.2, 0.97
# exp(-30) of 1e13 photons: such line integrals can be told from nothing.
_LARGEST = 200.0
# Images and their filtered back-projections differ by less in level, noise and streaks included.
_ALIKE = 4.0
_last = threading.local()


def check_ray_transform(operator: Any) -> RayTransform:
    """Return `operator` if it is a ray transform."""
    if not isinstance(operator, RayTransform):
        raise TomolearnTypeError(
            f"operator: expected a RayTransform, got {type(operator).__name__}"
        )
    return operator


def check_linear_operator(name: str, operator: Any) -> LinearOperator:
    """Return `operator` if it is a linear operator."""
    if not isinstance(operator, LinearOperator):
        raise TomolearnTypeError(
            f"{name}: expected a LinearOperator, got {type(operator).__name__}"
        )
    return operator


def check_sinogram(sinogram: Any, operator: LinearOperator) -> torch.Tensor:
    """Return `sinogram`, half precision as float32, if the operator could have made it."""
    check_has_values("sinogram", check_real_tensor("sinogram", sinogram))
    check_trailing_shape("sinogram", sinogram, operator.range_shape)
    # a branch on values cannot be compiled
    if not torch.compiler.is_compiling():
        check_finite("sinogram", sinogram)
        # of other operators nobody knows what air would be
        if not is_followed(sinogram) and isinstance(spatial_part(operator), RayTransform):
            warn_of_counts(sinogram)
    return sinogram.float() if sinogram.dtype in (torch.float16, torch.bfloat16) else sinogram


def warn_of_counts(sinogram: torch.Tensor) -> None:
    """Warn (`UnitWarning`) if values look like counts or transmissions, not line integrals.

    Beside an object line integrals are zero, and within it larger; of what a detector measures it
    is the other way round.
    """
    if sinogram.numel() == 0 or sinogram.shape[-1] < _FEWEST_BINS:
        return
    # methods that begin with others ask again, of the same memory
    version = 0 if sinogram.is_inference() else sinogram._version
    asked = sinogram.data_ptr(), sinogram.numel(), version
    before, known = getattr(_last, "asked", (lambda: None, None))
    if known == asked and before() is not None:
        return
    _last.asked = weakref.ref(sinogram), asked
    # of many values every so many-th will do
    views = sinogram.detach().reshape(-1, sinogram.shape[-1])
    views = views[:: max(1, len(views) // _VIEWS)].float()
    air = views[:, [0, -1]].median()
    low, middle, high = torch.quantile(
        views.reshape(-1)[:: max(1, views.numel() // _VALUES)],
        torch.tensor([0.01, 0.25, 0.99], device=views.device),
    )
    found = torch.stack([air, low, middle, high]).tolist()
    air_value, low_value, middle_value, high_value = found
    if low_value > _LARGEST:
        what = f"no value below {low_value:.1g}, which nothing would come through"
    elif (
        air_value > _LEAST_AIR
        and low_value >= -_NOISE * air_value
        and high_value <= (1 + _NOISE) * air_value
        and low_value < _OBJECT * air_value
        and middle_value < air_value
    ):
        what = f"about {air_value:.1g} at the detector's ends and less in between"
    else:
        return
    warn_user(
        f"sinogram: expected line integrals, which are 0 in air, got {what}; if these are counts "
        "or transmissions, give -log(counts / flat)",
        UnitWarning,
    )


def check_finite(name: str, tensor: torch.Tensor) -> None:
    """Check that all values are finite."""
    tensor = plain(tensor)
    finite = torch.isfinite(tensor)
    if bool(finite.all()):
        return
    bad = torch.nonzero(~finite)
    first = tuple(bad[0].tolist())
    raise TomolearnError(
        f"{name}: expected finite values, got {len(bad)} that are not, the first of them "
        f"{tensor[first].item()} at index {first}"
    )


def weighted_data(
    sinogram: Any, operator: LinearOperator, weights: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a sinogram, zero where its weight is, and the weights (batch or 1, *range_shape).

    What stands in a dead bin, a NaN for example, does not matter from then on.

    Raises
    ------
    TypeError, ValueError
        If the weights are no tensor of the shape of one sinogram or of all, negative or not
        finite, or all zero for an image.
    """
    data = operator.range_shape
    check_has_values("sinogram", check_real_tensor("sinogram", sinogram))
    check_trailing_shape("sinogram", sinogram, data)
    check_real_tensor("weights", weights)
    check_shape("weights", weights, [data, tuple(sinogram.shape)])
    weights = weights.detach().to(sinogram)
    weights = weights.float() if weights.dtype in (torch.float16, torch.bfloat16) else weights
    check_not_negative("weights", weights)
    flat = weights.reshape(math.prod(weights.shape[: weights.ndim - len(data)]), *data)
    dead = ~(flat > 0).flatten(1).any(1)
    if bool(dead.any()):
        where = f" of image {int(dead.nonzero()[0])}" if len(dead) > 1 else ""
        raise TomolearnError(
            f"weights: expected some above zero, got none{where}: no value is left to "
            "reconstruct from"
        )
    return torch.where(weights > 0, sinogram, 0), flat


def check_shape(name: str, tensor: torch.Tensor, shapes: list[tuple[int, ...]]) -> None:
    """Check that a tensor has one of the shapes."""
    if tuple(tensor.shape) not in shapes:
        expected = " or ".join(map(str, dict.fromkeys(shapes)))
        raise TomolearnError(f"{name}: expected shape {expected}, got {tuple(tensor.shape)}")


def check_not_negative(name: str, tensor: torch.Tensor) -> None:
    """Check that all values are finite and not below zero."""
    bad = ~(tensor.isfinite() & (tensor >= 0))
    if bool(bad.any()):
        worst = float(tensor[bad].flatten()[0])
        raise TomolearnError(f"{name}: expected finite numbers, not negative, got {worst:.3g}")


def levels_alike(one: float, other: float) -> bool:
    """Return whether two sizes of image values may be those of the same kind of images."""
    return one == other or (other > 0 and 1 / _ALIKE <= one / other <= _ALIKE)


def positive_norm(operator: LinearOperator) -> float:
    """Return the operator's norm, which step sizes divide by."""
    norm = operator.norm()
    if not norm > 0:
        raise TomolearnError(f"operator: expected one that is not zero, got norm {norm}")
    return norm


def prepare(
    sinogram: Any, operator: Any, x0: Any, weights: Any = None
) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...], torch.Tensor | None]:
    """Return what an iterative method starts from.

    It is the sinogram (batch, *operator.range_shape), detached; a fresh image (batch,
    *operator.domain_shape), zero or `x0`; the batch dimensions as they were; and the weights as
    `weighted_data` returns them, if there are any.
    """
    check_linear_operator("operator", operator)
    if weights is not None:
        sinogram, weights = weighted_data(sinogram, operator, weights)
    sinogram = check_sinogram(sinogram, operator).detach()
    domain = operator.domain_shape
    leading = tuple(sinogram.shape[: sinogram.ndim - len(operator.range_shape)])
    image = sinogram.new_zeros((*leading, *domain))
    if x0 is not None:
        check_real_tensor("x0", x0)
        if tuple(x0.shape) not in (domain, (*leading, *domain)):
            expected = " or ".join(map(str, dict.fromkeys((domain, (*leading, *domain)))))
            raise TomolearnError(f"x0: expected shape {expected}, got {tuple(x0.shape)}")
        if x0.device != sinogram.device:
            raise TomolearnError(f"x0: expected it on {sinogram.device}, got {x0.device}")
        check_finite("x0", x0)
        image.copy_(x0.detach())
    flat = sinogram.reshape(-1, *operator.range_shape).contiguous()
    return flat, image.reshape(-1, *domain), leading, weights
