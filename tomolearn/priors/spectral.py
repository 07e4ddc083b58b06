"""Convolutions of spectral norm one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from tomolearn._core.checks import check_int
from tomolearn._core.errors import DivergenceError, TomolearnError
from tomolearn.numerics import once

# Relative residual at which a singular vector has converged, and the most iterations until then.
_CONVERGED = {torch.float32: 1e-3, torch.float64: 1e-8}
_MOST_ITERATIONS = 500
_ONCE = (
    "SpectralConv2d: its kernel's norm can be differentiated once, gradients with respect to the "
    "weights cannot be differentiated again; those with respect to images can"
)


class SpectralConv2d(nn.Module):
    """A convolution whose spectral norm, on images of the size at hand, is one.

    The kernel that is learned is divided by the largest singular value of the convolution itself,
    with its zero padding, found by power iteration on images [1]_, [2]_; the norm of the kernel
    flattened to a matrix, as `torch.nn.utils.spectral_norm` has it, is not that of the convolution
    (for 3x3 kernels it is up to three times too small).

    The power iteration starts where it ended for the weights before: one iteration per training
    step follows their changes. For evaluation, and at first, the singular vector is computed until
    it has converged, by LOBPCG [3]_, once per change of the weights or of the size of the images;
    in float32, the norm is one up to 1e-3.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    kernel_size : int
        Odd.
    bias : bool
        Whether to add a learned number to each channel; it does not change the norm.

    References
    ----------
    .. [1] E. K. Ryu et al., "Plug-and-play methods provably converge with properly trained
       denoisers", ICML 2019, arXiv:1905.05406
    .. [2] H. Gouk et al., "Regularisation of neural networks by enforcing Lipschitz continuity",
       Machine Learning 110 (2021), arXiv:1804.04368
    .. [3] A. V. Knyazev, "Toward the optimal preconditioned eigensolver: locally optimal block
       preconditioned conjugate gradient method", SIAM J. Sci. Comput. 23 (2001),
       doi 10.1137/S1064827500366124
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: int = 3, *, bias: bool = False) -> None:
        super().__init__()
        check_int("n_in", n_in, minimum=1)
        check_int("n_out", n_out, minimum=1)
        if check_int("kernel_size", kernel_size, minimum=1) % 2 == 0:
            raise TomolearnError(f"kernel_size: expected an odd number, got {kernel_size}")
        self.weight = nn.Parameter(torch.empty(n_out, n_in, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        nn.init.xavier_uniform_(self.weight)
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)
        self._padding = kernel_size // 2
        # right singular vector, an image, and the weights and effort that it was found with
        self._singular: torch.Tensor | None = None
        self._seen: torch.Tensor | None = None
        self._is_thorough = False

    def normalised(self, shape: tuple[int, int]) -> torch.Tensor:
        """Return the kernel divided by the convolution's norm on images of this shape.

        The gradient takes into account that the norm depends on the kernel; its own derivatives,
        which are of the singular vectors as well, are refused. A kernel of zeros is returned as it
        is.

        Raises
        ------
        DivergenceError
            If a weight is not finite.
        """
        v = self._singular_vector(shape)
        image = conv2d(v, self.weight, padding=self._padding)
        # image = norm * (left singular vector): this is the norm, and has its derivative
        norm = image.detach().norm().clamp_min(torch.finfo(image.dtype).tiny)
        largest = once((image * image.detach()).sum() / norm, _ONCE)
        return self.weight / largest.clamp_min(torch.finfo(image.dtype).tiny)

    @torch.no_grad()
    def _singular_vector(self, shape: tuple[int, int]) -> torch.Tensor:
        weight = self.weight.detach()
        size = (1, weight.shape[1], *shape)
        v, seen = self._singular, self._seen
        # tensors that were made in inference mode cannot take part in training
        usable = v is None or not v.is_inference() or torch.is_inference_mode_enabled()
        if (
            v is None
            or seen is None
            or not usable
            or v.shape != size
            or seen.device != weight.device
        ):
            v = seen = None
        thorough = v is None or not self.training
        same = seen is not None and seen.dtype == weight.dtype and torch.equal(seen, weight)
        if v is not None and same and (self._is_thorough or not thorough):
            return v
        if not torch.isfinite(weight).all():
            raise DivergenceError("spectral norm: the weights of a convolution are not finite")
        noise = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(weight)
        noise = noise / noise.norm()
        # an old vector may be that of a singular value that is no longer the largest one
        v = noise if v is None else v.to(weight.dtype) + (0.1 if thorough else 0.01) * noise
        v = self._converged(v) if thorough else self._gram(v / v.norm())
        if not v.any():  # of a convolution with zeros
            v = noise
        self._singular, self._seen, self._is_thorough = v / v.norm(), weight.clone(), thorough
        return self._singular

    def _gram(self, v: torch.Tensor) -> torch.Tensor:
        """Apply the convolution and its transpose: one power iteration."""
        image = conv2d(v, self.weight, padding=self._padding)
        return conv_transpose2d(image, self.weight, padding=self._padding)

    def _converged(self, v: torch.Tensor) -> torch.Tensor:
        """Maximise the Rayleigh quotient over the last vector, its residual and the last change."""
        v = v / v.norm()
        basis, products = [v], [self._gram(v)]
        for _ in range(_MOST_ITERATIONS):
            quotient = (basis[0] * products[0]).sum()
            residual = products[0] - quotient * basis[0]
            size = residual.norm()
            if size <= _CONVERGED[v.dtype] * quotient:
                break
            basis.insert(1, residual / size)
            products.insert(1, self._gram(basis[1]))
            factors = _largest_ritz_vector(basis, products)
            moved = _combination(factors, basis), _combination(factors, products)
            change = _combination(factors[1:], basis[1:]), _combination(factors[1:], products[1:])
            sizes = moved[0].norm(), change[0].norm()
            basis = [moved[0] / sizes[0], change[0] / sizes[1]]
            products = [moved[1] / sizes[0], change[1] / sizes[1]]
        return basis[0]

    def extra_repr(self) -> str:
        """Return the channels and kernel size, for torch's description of a network."""
        n_out, n_in, size, _ = self.weight.shape
        return f"{n_in}, {n_out}, kernel_size={size}, bias={self.bias is not None}"


def _combination(factors: Sequence[float], vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    total = torch.zeros_like(vectors[0])
    for factor, vector in zip(factors, vectors, strict=True):
        total.add_(vector, alpha=factor)
    return total


def _largest_ritz_vector(basis: list[torch.Tensor], products: list[torch.Tensor]) -> list[float]:
    """Return the factors of the vectors, of norm one, in their best approximate eigenvector."""
    b = torch.stack([x.flatten() for x in basis])
    p = torch.stack([x.flatten() for x in products])
    gram, matrix = (b @ b.T).double(), (b @ p.T).double()
    values, vectors = torch.linalg.eigh(gram)
    # directions that are rounding errors are left out
    kept = values > 100 * torch.finfo(b.dtype).eps
    whitened = vectors[:, kept] * values[kept].rsqrt()
    _, ritz = torch.linalg.eigh(whitened.T @ ((matrix + matrix.T) / 2) @ whitened)
    return [float(c) for c in whitened @ ritz[:, -1]]


@torch.no_grad()
def spectral_norm_bound(kernel: torch.Tensor, samples: int = 64) -> float:
    """Return an upper bound of the spectral norm of a convolution on images of any size.

    With zero padding a convolution is a part of that on the infinite grid, whose norm is the
    largest singular value of the kernel's Fourier transform K(w), a matrix of channels, over all
    frequencies w. It is computed on a grid of frequencies; between them, for all vectors a and b,
    a^H K(w) b is a trigonometric polynomial of the degree d = (kernel size - 1) / 2 in each
    direction, which by a theorem of Ehlich and Zeller [1]_ is nowhere larger than its maximum on
    n samples divided by cos(pi d / n), per direction.

    Parameters
    ----------
    kernel : torch.Tensor, shape (n_out, n_in, size, size)
        Kernel of odd size.
    samples : int
        Frequencies per direction, more than the kernel's size. With 64 and a 3x3 kernel the bound
        is at most 0.25 % above the norm.

    Returns
    -------
    float
        The bound.

    Raises
    ------
    ValueError
        If the kernel is not a square one of odd size, or there are too few samples.

    References
    ----------
    .. [1] H. Ehlich, K. Zeller, "Schwankung von Polynomen zwischen Gitterpunkten", Math. Z. 86
       (1964), doi 10.1007/BF01111276; H. Sedghi, V. Gupta, P. M. Long, "The singular values of
       convolutional layers", ICLR 2019, arXiv:1805.10408, on the Fourier side
    """
    size = kernel.shape[-1]
    if size % 2 == 0 or size != kernel.shape[-2]:
        raise TomolearnError(
            f"kernel: expected a square one of odd size, got {tuple(kernel.shape)}"
        )
    if samples <= size:
        raise TomolearnError(f"samples: expected more than the kernel's size {size}, got {samples}")
    spectrum = torch.fft.rfft2(kernel.double(), s=(samples, samples)).permute(2, 3, 0, 1)
    if spectrum.shape[-1] < spectrum.shape[-2]:
        spectrum = spectrum.mH
    # the largest eigenvalue of the smaller of the two Gram matrices
    largest = torch.linalg.eigvalsh(spectrum @ spectrum.mH)[..., -1].amax()
    between = math.cos(math.pi * (size // 2) / samples)
    return math.sqrt(float(largest)) / between**2
