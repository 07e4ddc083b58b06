"""A preconditioner of normal equations that is a filter."""

from __future__ import annotations

import torch

from tomolearn.models.base import Scaled


class Circulant:
    """Approximate inverse of A^T A + w, for an operator A that is divided by its norm.

    For rays from all directions A^T A is nearly a convolution, with a kernel that falls as one
    over the distance, and thus a filter that falls as one over the frequency, so that descent along
    the gradient is slower the finer the detail. The filter is taken from the operator itself, as
    the Fourier transform of its response to one pixel in the middle of an image of `shape`, in the
    precision and on the device of `like`; negative values are set to zero. Its inverse with w
    added,

        P = F^-1 diag(1 / (filter + w)) F,

    is symmetric and positive definite whatever the operator. So where P g = 0, g = 0: a fixed
    point of u + step P g(u) is one of u + step g(u), and it is found in fewer steps.

    References
    ----------
    .. [1] J. A. Fessler, S. D. Booth, "Conjugate-gradient preconditioning methods for
       shift-variant PET image reconstruction", IEEE Trans. Image Process. 8 (1999),
       doi 10.1109/83.760336
    """

    def __init__(self, A: Scaled, shape: tuple[int, int], like: torch.Tensor) -> None:
        middle = tuple(n // 2 for n in shape)
        with torch.no_grad():
            pixel = like.new_zeros((1, 1, *shape))
            pixel[0, 0, middle[0], middle[1]] = 1
            response = A.adjoint(A(pixel))[0, 0].roll((-middle[0], -middle[1]), (0, 1))
            self._filter = torch.fft.rfft2(response).real.clamp_min(0)

    def __call__(self, gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Filter images (batch, 1, rows, columns)."""
        spectrum = torch.fft.rfft2(gradient) / (self._filter + weight)
        return torch.fft.irfft2(spectrum, s=gradient.shape[-2:])
