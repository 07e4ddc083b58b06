"""Linear operators on torch tensors, and what can be built from them."""

from __future__ import annotations

import abc
import copy
import math
import numbers
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import check_has_values, check_real_tensor, check_trailing_shape
from tomolearn.operators.autograd import apply_linear, norm_by_number, register

_PART = 2**18  # values of which products are summed in double precision at once


class LinearOperator(torch.nn.Module, abc.ABC):
    """A linear map between real tensors, usable as a torch layer.

    Calling it maps ``(..., *domain_shape)`` to ``(..., *range_shape)``; leading dimensions are a
    batch. It is differentiable to any order, forward and reverse, works under ``torch.vmap`` and
    ``torch.compile``, and returns a fresh tensor at every call. Inner products are plain sums:
    ``(A(x) * y).sum() == (x * A.adjoint(y)).sum()``. Input of lower precision, as automatic
    mixed precision makes it, is computed and returned in float32.

    Parameters
    ----------
    domain_shape, range_shape : tuple of int
        Shapes of one input and one output, without batch dimensions.

    Notes
    -----
    ``A.T`` is the transposed operator and ``A.T.T is A``; ``A @ B`` composes, ``A + B`` adds,
    ``2 * A`` scales.
    """

    adjoint_is_exact: bool = True
    """Whether `adjoint` is the transpose up to rounding."""

    def __init__(self, domain_shape: tuple[int, ...], range_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.__name__ = type(self).__name__  # vmap asks for it; compiled, it cannot have the repr
        self.domain_shape = tuple(domain_shape)
        self.range_shape = tuple(range_shape)
        self._number, self._handle = register(self)
        self._made: dict[tuple[str, str], LinearOperator] = {}
        self._norm: tuple[float, float] | None = None  # and its tolerance
        self._set_transpose()

    @abc.abstractmethod
    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        """Map a contiguous (batch, *domain_shape) float32 or float64 tensor to a fresh one."""

    @abc.abstractmethod
    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Map a contiguous (batch, *range_shape) float32 or float64 tensor to a fresh one."""

    def working_bytes(self, itemsize: int, batch: int = 1) -> int:
        """Return the memory beside input and output, for values of so many bytes, as far as known.

        It is that of a CPU.
        """
        return 0

    def _set_transpose(self) -> None:
        # Module.__setattr__ would register it as a submodule, which has this one in turn. It is
        # there from the start, since torch.compile could not look into its making.
        self.__dict__["_transpose"] = Transpose(self)

    def _base(self) -> tuple[LinearOperator, bool]:
        """Return the operator that is not a transpose, and whether this one is its transpose."""
        return self, False

    def _shape_of_value(self, x: torch.Tensor) -> list[int]:
        return [*x.shape[: x.ndim - len(self.domain_shape)], *self.range_shape]

    def _evaluate_batch(self, x: torch.Tensor) -> torch.Tensor:
        leading = x.shape[: x.ndim - len(self.domain_shape)]
        if math.prod(leading) == 0:
            return x.new_zeros((*leading, *self.range_shape))
        flat = x.detach().reshape(-1, *self.domain_shape).contiguous()
        shape = (*leading, *self.range_shape)
        if not torch.is_autocast_enabled(x.device.type):
            return self._evaluate(flat).reshape(shape)
        # mixed precision would halve the precision of matrix products within an operator
        with torch.autocast(x.device.type, enabled=False):
            return self._evaluate(flat).reshape(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the operator.

        Parameters
        ----------
        x : torch.Tensor, shape (..., *domain_shape)
            Real floating-point tensor.

        Returns
        -------
        torch.Tensor, shape (..., *range_shape)

        Raises
        ------
        TypeError, ValueError
            If `x` is not a real floating-point tensor, or its last dimensions not `domain_shape`.
        """
        check_has_values("x", check_real_tensor("x", x))
        check_trailing_shape("x", x, self.domain_shape)
        return apply_linear(at_least_float32(x), self)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Apply the transposed operator, ``A.T(y)``.

        Parameters
        ----------
        y : torch.Tensor, shape (..., *range_shape)
            Real floating-point tensor.

        Returns
        -------
        torch.Tensor, shape (..., *domain_shape)
        """
        return self.T(y)

    @property
    def T(self) -> LinearOperator:
        """The transposed operator."""
        transpose: LinearOperator = self.__dict__["_transpose"]
        return transpose

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        """Return the largest singular value, by Lanczos iteration from a fixed start.

        It is computed in float32, on the CPU if the operator can do so, and remembered until a
        smaller tolerance is asked for. It needs the memory of three arrays of the domain.

        Parameters
        ----------
        tolerance : float
            Relative accuracy of its square.
        max_iterations : int
            Limit of the iterations.

        Raises
        ------
        TypeError, ValueError
            If an argument is not a positive number.
        RuntimeError
            If the iteration does not reach the tolerance.
        """
        check_float("tolerance", tolerance, positive=True)
        check_int("max_iterations", max_iterations, minimum=1)
        if torch.compiler.is_compiling():
            return norm_by_number(self._number, tolerance, max_iterations)
        return self._known_norm(tolerance, max_iterations)

    def _known_norm(self, tolerance: float, max_iterations: int) -> float:
        if self._norm is None or tolerance < self._norm[1]:
            self._norm = _largest_singular_value(self, tolerance, max_iterations), tolerance
        return self._norm[0]

    def _norm_device(self) -> torch.device:
        return torch.device("cpu")

    def __getstate__(self) -> dict[str, Any]:
        # A copy is an operator of its own: it gets its number, and makes its transpose itself.
        state = self.__dict__.copy()
        for name in ("_number", "_handle", "_made", "_transpose"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._number, self._handle = register(self)
        self._made = {}
        self._set_transpose()

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, LinearOperator):
            return ComposedOperator(self, other)
        _refuse_values("A @ x", other)
        return NotImplemented

    def __add__(self, other: Any) -> Any:
        if isinstance(other, LinearOperator):
            return SumOperator(self, other)
        return NotImplemented

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, LinearOperator):
            return SumOperator(self, ScaledOperator(other, -1.0))
        return NotImplemented

    def __mul__(self, factor: Any) -> Any:
        if isinstance(factor, numbers.Real):
            return ScaledOperator(self, float(factor))
        _refuse_values("A * x", factor)
        return NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Any:
        if isinstance(divisor, numbers.Real):
            return ScaledOperator(self, 1.0 / float(divisor))
        return NotImplemented

    def __neg__(self) -> ScaledOperator:
        return ScaledOperator(self, -1.0)

    def extra_repr(self) -> str:
        """Return the shapes, for ``repr``."""
        return f"{self.domain_shape} -> {self.range_shape}"


def _refuse_values(expression: str, value: Any) -> None:
    """Refuse what is meant to be an application, or a product with a tensor."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        raise TomolearnTypeError(
            f"{expression}: expected another operator for @ or a number for *, got "
            f"{type(value).__name__}; A(x) applies A to a tensor x"
        )


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return `x`, in float32 if its precision is lower."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


class _Derived(LinearOperator):
    """Base of operators made of others: as exact as they are, and computed where they can be."""

    def _parts(self) -> tuple[LinearOperator, ...]:
        raise NotImplementedError

    @property
    def adjoint_is_exact(self) -> bool:  # type: ignore[override]
        """Whether `adjoint` is the transpose up to rounding."""
        return all(part.adjoint_is_exact for part in self._parts())

    def _norm_device(self) -> torch.device:
        devices = [part._norm_device() for part in self._parts()]
        return next((device for device in devices if device.type != "cpu"), devices[0])


class Transpose(_Derived):
    """The transpose of an operator."""

    def __init__(self, operator: LinearOperator) -> None:
        self.__dict__["_untransposed"] = operator
        super().__init__(operator.range_shape, operator.domain_shape)

    def _set_transpose(self) -> None:
        self.__dict__["_transpose"] = self.__dict__.pop("_untransposed")

    def _base(self) -> tuple[LinearOperator, bool]:
        return self.T, True

    def __reduce__(self) -> tuple[Any, ...]:
        return attrgetter("T"), (self.T,)

    def __deepcopy__(self, memo: dict[int, Any]) -> LinearOperator:
        return copy.deepcopy(self.T, memo).T

    def _parts(self) -> tuple[LinearOperator, ...]:
        return (self.T,)

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self.T._evaluate_adjoint(x)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.T._evaluate(y)

    def _known_norm(self, tolerance: float, max_iterations: int) -> float:
        return self.T.norm(tolerance=tolerance, max_iterations=max_iterations)

    def extra_repr(self) -> str:
        """Return what is transposed, for ``repr``."""
        return repr(self.T)


class ComposedOperator(_Derived):
    """``outer @ inner``: first `inner`, then `outer`.

    Raises
    ------
    ValueError
        If the range of `inner` is not the domain of `outer`.
    """

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if outer.domain_shape != inner.range_shape:
            raise TomolearnError(
                f"inner: expected range shape {outer.domain_shape}, got {inner.range_shape}"
            )
        super().__init__(inner.domain_shape, outer.range_shape)
        self.outer, self.inner = outer, inner

    def _parts(self) -> tuple[LinearOperator, ...]:
        return self.outer, self.inner

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer._evaluate(self.inner._evaluate(x).contiguous())

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.inner._evaluate_adjoint(self.outer._evaluate_adjoint(y).contiguous())


class SumOperator(_Derived):
    """``first + second``.

    Raises
    ------
    ValueError
        If their shapes differ.
    """

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        shapes = (first.domain_shape, first.range_shape)
        if (second.domain_shape, second.range_shape) != shapes:
            raise TomolearnError(
                f"second: expected shapes {shapes[0]} -> {shapes[1]}, got "
                f"{second.domain_shape} -> {second.range_shape}"
            )
        super().__init__(*shapes)
        self.first, self.second = first, second

    def _parts(self) -> tuple[LinearOperator, ...]:
        return self.first, self.second

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self.first._evaluate(x) + self.second._evaluate(x)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.first._evaluate_adjoint(y) + self.second._evaluate_adjoint(y)


class ScaledOperator(_Derived):
    """``factor * operator``."""

    def __init__(self, operator: LinearOperator, factor: float) -> None:
        if not math.isfinite(factor):
            raise TomolearnError(f"factor: expected a finite number, got {factor}")
        super().__init__(operator.domain_shape, operator.range_shape)
        self.operator, self.factor = operator, factor

    def _parts(self) -> tuple[LinearOperator, ...]:
        return (self.operator,)

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self.operator._evaluate(x) * self.factor

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.operator._evaluate_adjoint(y) * self.factor

    def _known_norm(self, tolerance: float, max_iterations: int) -> float:
        inner = self.operator.norm(tolerance=tolerance, max_iterations=max_iterations)
        return abs(self.factor) * inner


def spatial_part(operator: LinearOperator) -> LinearOperator:
    """Return that part of an operator made of others that is applied to images first."""
    while isinstance(operator, (ComposedOperator, ScaledOperator, SumOperator)):
        operator = operator._parts()[-1]
    return operator


def _largest_singular_value(
    operator: LinearOperator, tolerance: float, max_iterations: int
) -> float:
    """Return the norm by the Lanczos iteration, which needs three vectors of the domain.

    They lose their orthogonality; the largest eigenvalue is found all the same (C. C. Paige,
    Linear Algebra Appl. 34, 1980, doi 10.1016/0024-3795(80)90167-6).
    """
    from scipy.linalg import eigh_tridiagonal

    shape, device = operator.domain_shape, operator._norm_device()
    size = math.prod(shape)
    start = np.random.default_rng(0).standard_normal(size, np.float32)
    diagonal: list[float] = []
    beside: list[float] = []
    with torch._C._DisableFuncTorch():  # the norm is a constant, whatever asks for it
        vector = torch.from_numpy(start).to(device)
        del start  # it is a vector more
        vector /= math.sqrt(_product(vector, vector))
        previous = None
        for _ in range(max_iterations):
            rays = operator._evaluate_batch(vector.reshape(shape))
            following = operator.T._evaluate_batch(rays).reshape(size)
            del rays
            diagonal.append(_product(vector, following))
            following.sub_(vector, alpha=diagonal[-1])
            if previous is not None:
                following.sub_(previous, alpha=beside[-1])
            rest = math.sqrt(_product(following, following))
            if not math.isfinite(diagonal[-1]) or not math.isfinite(rest):
                raise RuntimeError("norm: expected an operator of finite values, got others")
            last = len(diagonal) - 1
            values, vectors = eigh_tridiagonal(
                diagonal, beside, select="i", select_range=(last, last)
            )
            largest = max(float(values[0]), 0.0)
            if rest * abs(float(vectors[-1, 0])) <= tolerance * largest or rest == 0:
                return math.sqrt(largest)
            beside.append(rest)
            previous, vector = vector, following.div_(rest)
    raise RuntimeError(f"norm: no convergence to {tolerance} in {max_iterations} iterations")


def _product(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the inner product of long vectors, summed in double precision part by part."""
    parts = zip(first.split(_PART), second.split(_PART), strict=True)
    return math.fsum(float(one.double() @ other.double()) for one, other in parts)
