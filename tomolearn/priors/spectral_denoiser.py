"""A learned denoiser with a certified Lipschitz constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tomolearn._core.checks import check_float
from tomolearn.priors.lipschitz_networks import LipschitzNetwork, lipschitz_network
from tomolearn.priors.prior import Denoiser
from tomolearn.priors.spectral import spectral_norm_bound


class SpectralDenoiser(Denoiser):
    """Blind denoiser ``-lipschitz * N(image)`` of a network of convolutions of spectral norm one.

    Parameters
    ----------
    architecture, depth, channels, bias, activation
        Of the network N, see `lipschitz_network`.
    lipschitz : float
        Factor of its output.
    network : LipschitzNetwork, optional
        The network itself, whose weights are shared. Default: a new one.

    References
    ----------
    .. [1] E. K. Ryu et al., "Plug-and-play methods provably converge with properly trained
       denoisers", ICML 2019, arXiv:1905.05406
    """

    blind = True

    def __init__(
        self,
        *,
        architecture: str = "dncnn",
        depth: int = 17,
        channels: int = 64,
        bias: bool = False,
        activation: str = "relu",
        lipschitz: float = 0.95,
        network: LipschitzNetwork | None = None,
    ) -> None:
        factor = check_float("lipschitz", lipschitz, positive=True)
        settings: dict[str, Any] = {
            "depth": depth,
            "channels": channels,
            "bias": bias,
            "activation": activation,
        }
        if network is None:
            network = lipschitz_network(architecture, **settings)
        super().__init__({"architecture": architecture, **settings, "lipschitz": factor})
        self.network, self.factor = network, factor

    @torch.no_grad()
    def lipschitz(self, shape: Sequence[int]) -> float:
        """Return the bound that follows from those of the kernels for images of this shape."""
        rows, columns = shape
        norms = [spectral_norm_bound(kernel) for kernel in self.network.kernels((rows, columns))]
        return self.factor * self.network.bound(norms)

    def denoise(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Apply the network."""
        rows, columns = image.shape[-2:]
        found: torch.Tensor = self.network(image, *self.network.kernels((rows, columns)))
        return -self.factor * found
