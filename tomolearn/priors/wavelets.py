"""Sparsity in orthogonal wavelets, with one grid of coefficients or the mean over all shifts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch.nn.functional import conv1d, conv_transpose1d

from tomolearn._core.checks import check_float, check_floats, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.optional import optional_import
from tomolearn.operators import LinearOperator
from tomolearn.operators.differences import check_image_shape
from tomolearn.priors.composed import ComposedRegulariser, limit
from tomolearn.priors.prior import PerImage

_ORTHOGONAL = 1e-6


class WaveletTransform(LinearOperator):
    """The orthogonal wavelet transform of an image that is continued periodically.

    Coefficients lie in one image of the same shape, as `pywt.coeffs_to_array` packs those of
    ``pywt.wavedecn(image, wavelet, "periodization", levels)``: the approximation in the corner,
    then the details from coarse to fine. The transpose is the inverse.

    Parameters
    ----------
    shape : sequence of int
        Shape of one image, multiples of ``2**levels``.
    wavelet : str
        Name of an orthogonal wavelet of PyWavelets.
    levels : int
        Number of levels.

    Raises
    ------
    TypeError, ValueError
        If there is no such orthogonal wavelet, or the shape cannot be halved so often.
    ImportError
        If PyWavelets is not installed.
    """

    def __init__(self, shape: Sequence[int], wavelet: str, levels: int) -> None:
        counts = check_image_shape(shape)
        if any(n % 2**levels for n in counts):
            raise TomolearnError(
                f"shape: expected multiples of {2**levels} with {levels} levels, got {counts}; "
                "take fewer levels, or ShiftInvariantWavelets, which need none"
            )
        super().__init__(counts, counts)
        self.levels = levels
        self.filters = orthogonal_filters(wavelet)

    def _blocks(self) -> list[tuple[int, ...]]:
        """Return the shape of the image that each level halves."""
        return [tuple(n >> level for n in self.domain_shape) for level in range(self.levels)]

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        out = x.clone()
        for block in self._blocks():
            part = out[_corner(block)]
            for axis in range(1, part.ndim):
                part = _halves(_filtered(part, self.filters, axis, stride=2), axis)
            out[_corner(block)] = part
        return out

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        out = y.clone()
        for block in reversed(self._blocks()):
            part = out[_corner(block)]
            for axis in range(part.ndim - 1, 0, -1):
                pair = torch.stack(part.chunk(2, axis), 1)
                part = _filtered_adjoint(pair, self.filters, axis, stride=2)
            out[_corner(block)] = part
        return out

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        """Return one: it is orthogonal."""
        return 1.0

    def details(self) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """Yield level and place of each block of details, levels counted from the finest, 0."""
        for level, block in enumerate(self._blocks()):
            for high in product((False, True), repeat=len(block)):
                if any(high):
                    yield (
                        level,
                        tuple(
                            slice(n // 2, n) if up else slice(0, n // 2)
                            for n, up in zip(block, high, strict=True)
                        ),
                    )


class ShiftInvariantTransform(LinearOperator):
    """The details of an undecimated wavelet transform of an image continued periodically.

    Together with the approximation, which is left out, it would be a tight frame of norm one:
    filters are divided by sqrt(2). Its ``levels * (2**ndim - 1)`` channels are the levels from fine
    to coarse, each with its bands.

    Parameters
    ----------
    shape : sequence of int
        Shape of one image.
    wavelet : str
        Name of an orthogonal wavelet of PyWavelets.
    levels : int
        Number of levels.
    """

    def __init__(self, shape: Sequence[int], wavelet: str, levels: int) -> None:
        counts = check_image_shape(shape)
        bands = 2 ** len(counts) - 1
        super().__init__(counts, (levels * bands, *counts))
        self.levels, self.bands = levels, bands
        self.filters = orthogonal_filters(wavelet) * 0.5**0.5

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        out = x.new_empty((len(x), *self.range_shape))
        for level in range(self.levels):
            parts = x.unsqueeze(1)
            for axis in range(2, parts.ndim):
                pair = _filtered(parts.flatten(0, 1), self.filters, axis - 1, dilation=2**level)
                parts = pair.unflatten(0, parts.shape[:2]).flatten(1, 2)
            out[:, level * self.bands : (level + 1) * self.bands] = parts[:, 1:]
            x = parts[:, 0]
        return out

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        x = y.new_zeros((len(y), *self.domain_shape))
        for level in reversed(range(self.levels)):
            details = y[:, level * self.bands : (level + 1) * self.bands]
            parts = torch.cat((x.unsqueeze(1), details), 1)
            for axis in range(parts.ndim - 1, 1, -1):
                pair = parts.unflatten(1, (-1, 2))
                found = _filtered_adjoint(
                    pair.flatten(0, 1), self.filters, axis - 1, dilation=2**level
                )
                parts = found.unflatten(0, pair.shape[:2])
            x = parts[:, 0]
        return x

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        """Return one, an upper bound that is nearly attained: it is a part of a tight frame."""
        return 1.0


class _WaveletSparsity(ComposedRegulariser):
    """Base of weighted sums of the magnitudes of details."""

    def __init__(
        self,
        wavelet: str,
        levels: int,
        weights: Sequence[float] | None,
        ndim: int,
        *,
        tolerance: float | None = None,
        max_iterations: int | None = None,
    ) -> None:
        check_int("levels", levels, minimum=1)
        factors = (1.0,) * levels if weights is None else check_floats("weights", weights)
        if len(factors) != levels:
            raise TomolearnError(
                f"weights: expected one for each of {levels} levels, got {len(factors)}"
            )
        for k, factor in enumerate(factors):
            check_float(f"weights[{k}]", factor, nonnegative=True)
        axes = check_int("ndim", ndim, minimum=1)
        orthogonal_filters(wavelet)
        super().__init__(
            {
                "wavelet": wavelet,
                "levels": levels,
                "weights": None if weights is None else list(factors),
                "ndim": axes,
            },
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        self.wavelet, self.levels, self.weights, self.ndim = wavelet, levels, factors, axes

    def _factors(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return what each coefficient counts, in a shape that multiplies them."""
        raise NotImplementedError

    def analysis_value(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of the magnitudes, shape (...)."""
        sizes = coefficients.abs() * self._factors(coefficients)
        return sizes.flatten(sizes.ndim - self.ndim - 1).sum(-1)

    def dual_proximal(
        self, dual: torch.Tensor, step: float | torch.Tensor, weight: float | torch.Tensor
    ) -> torch.Tensor:
        """Return the numbers limited to the weights."""
        return limit(dual, weight * self._factors(dual))


class Wavelets(_WaveletSparsity):
    """Sparsity in an orthogonal wavelet basis: the weighted sum of the details' magnitudes.

    Images are continued periodically, so that the transform is orthogonal and the proximal map
    exactly shrinkage of its coefficients, ``W.T S(W image)``; in a proximal gradient method that is
    ``W.T S(W (x - step A.T(A x - y)))`` [1]_. The approximation at the coarsest level is free. It
    is convex.

    Parameters
    ----------
    wavelet : str
        Name of an orthogonal wavelet of PyWavelets: "haar", "db4", "sym8", "coif2", ...
    levels : int
        Number of levels; the numbers of pixels have to be multiples of ``2**levels``.
    weights : sequence of float, optional
        What the details of each level count, from the finest to the coarsest. Default: once.
    ndim : int
        Number of spatial axes: 2 for images, 3 for volumes.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the wavelet not orthogonal.
    ImportError
        If PyWavelets is not installed: ``pip install 'tomolearn[priors]'``.

    References
    ----------
    .. [1] I. Daubechies, M. Defrise, C. De Mol, "An iterative thresholding algorithm for linear
       inverse problems with a sparsity constraint", Comm. Pure Appl. Math. 57 (2004),
       doi 10.1002/cpa.20042

    Examples
    --------
    >>> clean = Wavelets(wavelet="sym8", levels=4).proximal(noisy, 0.1)
    """

    def __init__(
        self,
        *,
        wavelet: str = "db4",
        levels: int = 3,
        weights: Sequence[float] | None = None,
        ndim: int = 2,
    ) -> None:
        super().__init__(wavelet, levels, weights, ndim)

    def analysis(self, shape: Sequence[int]) -> LinearOperator:
        """Return the wavelet transform of images of a shape, (1, *shape)."""
        return _Channel(WaveletTransform(shape, self.wavelet, self.levels))

    def proximal(self, image: torch.Tensor, step: PerImage) -> torch.Tensor:
        """Return each image with its details shrunk by ``step`` times their weight."""
        t = self._per_image("step", step, self._checked(image)).unsqueeze(-self.ndim - 1)
        W = self._analysis_of(image)
        return W.adjoint(self.analysis_proximal(W(image), t))

    def _factors(self, coefficients: torch.Tensor) -> torch.Tensor:
        shape = tuple(coefficients.shape[-self.ndim :])
        factors = coefficients.new_zeros(shape)
        for level, place in WaveletTransform(shape, self.wavelet, self.levels).details():
            factors[place] = self.weights[level]
        return factors


class ShiftInvariantWavelets(_WaveletSparsity):
    """Sparsity in an orthogonal wavelet basis, averaged over all shifts of the image.

    The mean of `Wavelets` over the ``2**levels`` shifts along each axis [1]_, computed at once by
    the undecimated transform. It sees no grid of blocks and takes images of any size, which are
    continued periodically. It is convex; its proximal map is known to the tolerance, see
    `ComposedRegulariser`.

    Parameters
    ----------
    wavelet, levels, weights, ndim
        See `Wavelets`.
    tolerance, max_iterations
        See `TotalVariation`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the wavelet not orthogonal.
    ImportError
        If PyWavelets is not installed: ``pip install 'tomolearn[priors]'``.

    References
    ----------
    .. [1] R. R. Coifman, D. L. Donoho, "Translation-invariant de-noising", in Wavelets and
       Statistics (1995), doi 10.1007/978-1-4612-2544-7_9

    Examples
    --------
    >>> clean = ShiftInvariantWavelets(wavelet="haar", levels=3).proximal(noisy, 0.1)
    """

    def __init__(
        self,
        *,
        wavelet: str = "db4",
        levels: int = 3,
        weights: Sequence[float] | None = None,
        ndim: int = 2,
        tolerance: float = 1e-2,
        max_iterations: int = 1000,
    ) -> None:
        super().__init__(
            wavelet, levels, weights, ndim, tolerance=tolerance, max_iterations=max_iterations
        )

    def analysis(self, shape: Sequence[int]) -> ShiftInvariantTransform:
        """Return the details of the undecimated transform of images of a shape."""
        return ShiftInvariantTransform(shape, self.wavelet, self.levels)

    def _factors(self, coefficients: torch.Tensor) -> torch.Tensor:
        # the transform has divided details by 2**(level ndim / 2); of 2**(level ndim) shifts each
        # coefficient is in one
        factors = [
            weight * 2 ** (-self.ndim * level / 2)
            for level, weight in enumerate(self.weights, start=1)
        ]
        bands = 2**self.ndim - 1
        column = coefficients.new_tensor(factors).repeat_interleave(bands)
        return column.reshape(-1, *(1,) * self.ndim)


class _Channel(LinearOperator):
    """A transform whose coefficients get an axis of one channel."""

    def __init__(self, transform: WaveletTransform) -> None:
        super().__init__(transform.domain_shape, (1, *transform.range_shape))
        self.transform = transform

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self.transform._evaluate(x).unsqueeze(1)

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.transform._evaluate_adjoint(y.squeeze(1))

    def norm(self, *, tolerance: float = 1e-6, max_iterations: int = 1000) -> float:
        """Return that of the transform."""
        return self.transform.norm()


def orthogonal_filters(wavelet: str) -> torch.Tensor:
    """Return low-pass and high-pass filter of a wavelet, in float64, shape (2, length).

    Raises
    ------
    ValueError
        If PyWavelets has no wavelet of this name, or its filters are not orthonormal.
    """
    pywt = optional_import(
        "pywt", purpose="a wavelet prior", install="pip install 'tomolearn[priors]'"
    )
    known = pywt.wavelist(kind="discrete")
    if wavelet not in (*known, "haar"):
        raise TomolearnError(
            "wavelet: expected the name of an orthogonal wavelet of PyWavelets, such as haar, db4, "
            f"sym8 or coif2, got {wavelet!r}"
        )
    described = pywt.Wavelet(wavelet)
    # on the CPU whatever the default is: their values are looked at
    filters = torch.tensor([described.dec_lo, described.dec_hi], dtype=torch.float64, device="cpu")
    n = filters.shape[1]
    # on a circle twice as long as they are, so that none meets its own end
    padded = torch.cat((filters, torch.zeros_like(filters)), 1)
    even = torch.stack([padded.roll(2 * k, 1) for k in range(n)]).flatten(0, 1)
    error = (even @ even.T - torch.eye(len(even), dtype=even.dtype, device="cpu")).abs().max()
    if float(error) > _ORTHOGONAL:
        raise TomolearnError(
            f"wavelet: expected an orthogonal one, such as haar, db4, sym8 or coif2, got "
            f"{wavelet!r}, whose filters are orthonormal to {float(error):.1g} only"
        )
    return filters


def _corner(block: Sequence[int]) -> tuple[slice, ...]:
    return (slice(None), *(slice(0, n) for n in block))


def _halves(pair: torch.Tensor, axis: int) -> torch.Tensor:
    """Put low and high frequencies (batch, 2, ...) one behind the other along an axis."""
    low, high = pair.unbind(1)
    return torch.cat((low, high), axis)


def _filtered(
    x: torch.Tensor, filters: torch.Tensor, axis: int, *, stride: int = 1, dilation: int = 1
) -> torch.Tensor:
    """Return both filters applied along an axis of (batch, ...) on a circle, (batch, 2, ...).

    ``y[i] = sum over k of filter[k] x[stride i + dilation (length / 2 - k)]``.
    """
    moved = x.movedim(axis, -1)
    n, length = moved.shape[-1], filters.shape[1]
    places = _places(n, length, stride, dilation, x.device)
    rows = moved.reshape(-1, 1, n)[..., places]
    kernel = filters.flip(1).unsqueeze(1).to(x)
    found = conv1d(rows, kernel, stride=stride, dilation=dilation)
    found = found.reshape(*moved.shape[:-1], 2, -1)
    return found.movedim(-2, 1).movedim(-1, axis + 1)


def _filtered_adjoint(
    pair: torch.Tensor, filters: torch.Tensor, axis: int, *, stride: int = 1, dilation: int = 1
) -> torch.Tensor:
    """Apply the transpose of `_filtered`."""
    moved = pair.movedim(axis + 1, -1).movedim(1, -2)
    n, length = stride * moved.shape[-1], filters.shape[1]
    places = _places(n, length, stride, dilation, pair.device)
    kernel = filters.flip(1).unsqueeze(1).to(pair)
    rows = conv_transpose1d(
        moved.reshape(-1, *moved.shape[-2:]), kernel, stride=stride, dilation=dilation
    ).squeeze(1)
    found = rows.new_zeros((len(rows), n)).index_add_(1, places, rows)
    return found.reshape(*moved.shape[:-2], n).movedim(-1, axis)


def _places(n: int, length: int, stride: int, dilation: int, device: torch.device) -> torch.Tensor:
    """Return the indices of an axis of n pixels, continued round the circle for the filters."""
    before = dilation * (length // 2 - 1)
    total = n - stride + dilation * (length - 1) + 1
    return torch.arange(-before, total - before, device=device) % n
