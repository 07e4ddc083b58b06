"""Linear ODL operators on torch tensors, with ODL's inner-product weights removed."""

from __future__ import annotations

from typing import Any

import numpy as np
import odl
import torch

from tomolearn._core.errors import TomolearnError, TomolearnTypeError


class OdlMap:
    """A linear ODL operator and its transpose on batches of torch tensors.

    The adjoint of ODL belongs to weighted inner products: with the diagonal matrices ``W`` of
    the weights, ``<A x, y>_range = <x, A* y>_domain`` reads ``y' W_r A x = x' W_d A* y``, so that
    the transpose is ``A' = W_d A* W_r^-1``. Some operators, ``odl.MatrixOperator`` among them,
    ignore the weights and return the transpose itself, and the adjoint of others is only an
    approximation (``odl.Resampling``). Which one it is, is measured on a pair of positive random
    vectors: `mismatch` is ``|<Ax, y> - <x, A'y>|`` relative to the sums of the products' absolute
    values, `adjoint_is_exact` says whether that is rounding.
    """

    def __init__(self, operator: Any) -> None:
        if not isinstance(operator, odl.Operator):
            raise TomolearnTypeError(
                f"operator: expected an odl.Operator, got {type(operator).__name__}"
            )
        if not operator.is_linear:
            raise TomolearnTypeError(f"operator: expected a linear operator, got {operator!r}")
        self.domain_shape = _shape("domain", operator.domain)
        self.range_shape = _shape("range", operator.range)
        self.domain_weight = _weight("domain", operator.domain)
        self.range_weight = _weight("range", operator.range)
        try:
            operator.adjoint  # noqa: B018 - some operators have none and say so only here
        except NotImplementedError as error:
            raise TomolearnTypeError(
                f"operator: expected one that has an adjoint, got {operator!r}"
            ) from error
        self.operator = operator
        spaces = (operator.domain, operator.range)
        precision = max(float(np.finfo(_dtype(space).type).eps) for space in spaces)
        self.mismatch = self._measured_mismatch()
        if self.mismatch > 100 * precision:
            weights = self.domain_weight, self.range_weight
            self.domain_weight, self.range_weight = 1.0, 1.0
            unweighted = self._measured_mismatch()
            if unweighted > 100 * precision:
                self.domain_weight, self.range_weight = weights
            else:
                self.mismatch = unweighted
        self.adjoint_is_exact = self.mismatch <= 100 * precision

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the operator's values (batch, *range_shape) at (batch, *domain_shape)."""
        operator = self.operator
        values = np.empty((x.shape[0], *self.range_shape), _dtype(operator.range))
        for item, value in zip(_array("x", x, operator.domain), values, strict=True):
            _copy(operator(_element(operator.domain, item)), value)
        return torch.from_numpy(values).to(x.dtype)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Return the transpose's values (batch, *domain_shape) at (batch, *range_shape)."""
        adjoint = self.operator.adjoint
        values = np.empty((y.shape[0], *self.domain_shape), _dtype(adjoint.range))
        dtype = _dtype(adjoint.domain)
        for item, value in zip(_array("y", y, adjoint.domain), values, strict=True):
            weighted = (item / self.range_weight).astype(dtype, copy=False)
            _copy(adjoint(_element(adjoint.domain, weighted)), value)
        values *= self.domain_weight
        return torch.from_numpy(values).to(y.dtype)

    def _measured_mismatch(self) -> float:
        rng = np.random.default_rng(0)
        x, y = (
            torch.from_numpy(rng.exponential(size=(1, *shape)).astype(_dtype(space)))
            for shape, space in (
                (self.domain_shape, self.operator.domain),
                (self.range_shape, self.operator.range),
            )
        )
        in_range = (self.forward(x) * y).double()
        in_domain = (x * self.adjoint(y)).double()
        # of a derivative's values the sum alone may vanish
        size = float(in_range.abs().sum() + in_domain.abs().sum())
        return abs(float(in_range.sum() - in_domain.sum())) / size if size > 0 else 0.0


def _is_product(space: Any) -> bool:
    return isinstance(space, odl.ProductSpace)


def _shape(name: str, space: Any) -> tuple[int, ...]:
    if _is_product(space):
        shapes = {_shape(name, part) for part in space}
        if len(shapes) != 1:
            raise TomolearnError(
                f"operator: expected a {name} of parts of equal shape, got {sorted(shapes)}"
            )
        return (len(space), *shapes.pop())
    dtype = getattr(space, "dtype", None)
    if dtype is None or not np.issubdtype(dtype, np.floating):
        raise TomolearnTypeError(f"operator: expected a real floating-point {name}, got {space!r}")
    if space.impl != "numpy":
        raise TomolearnTypeError(
            f"operator: expected a {name} on numpy arrays, got impl {space.impl!r}"
        )
    return tuple(space.shape)


def _weight(name: str, space: Any) -> Any:
    """Return the weights of the inner product, a number or an array that broadcasts."""
    weighting = space.weighting
    weight = getattr(weighting, "const", None)
    if weight is None:
        weight = getattr(weighting, "array", None)
    if weight is None or weighting.exponent != 2.0:
        raise TomolearnError(
            f"operator: expected a {name} weighted by a number or an array, with exponent 2, got "
            f"{weighting!r}"
        )
    if not _is_product(space):
        return float(weight) if np.ndim(weight) == 0 else np.asarray(weight, dtype=np.float64)
    shape = _shape(name, space)
    parts = [np.broadcast_to(_weight(name, part), shape[1:]) for part in space]
    outer = np.broadcast_to(weight, (shape[0],))
    return np.stack([factor * part for factor, part in zip(outer, parts, strict=True)])


def _dtype(space: Any) -> np.dtype[Any]:
    while _is_product(space):
        space = space[0]
    return np.dtype(space.dtype)


def _array(name: str, tensor: torch.Tensor, space: Any) -> np.ndarray:
    if tensor.device.type != "cpu":
        raise TomolearnError(f"{name}: expected a tensor on cpu, got one on {tensor.device}")
    array: np.ndarray = tensor.numpy()
    dtype = _dtype(space)
    if not np.can_cast(array.dtype, dtype):
        raise TomolearnTypeError(
            f"{name}: expected {dtype}, the precision of the ODL space, got {array.dtype}; "
            f"convert it, or build the ODL operator on a space with dtype={str(array.dtype)!r}"
        )
    return array.astype(dtype, copy=False)


def _element(space: Any, array: np.ndarray) -> Any:
    if _is_product(space):
        return space.element(
            [_element(part, values) for part, values in zip(space, array, strict=True)]
        )
    return space.element(array)


def _copy(element: Any, out: np.ndarray) -> None:
    if _is_product(element.space):
        for part, values in zip(element, out, strict=True):
            _copy(part, values)
    else:
        out[...] = element.asarray()
