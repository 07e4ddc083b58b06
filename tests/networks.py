"""Small networks of every kind, which many tests share."""

from collections.abc import Mapping
from typing import Any

import torch

from tomolearn.models import ReconstructionModel, build_model

_SMALL_UNET: dict[str, Any] = {"channels": [8, 16], "first_convolutions": 1}

# name of the case: name of the network, its arguments
SMALL: Mapping[str, tuple[str, dict[str, Any]]] = {
    "fbp-unet": ("fbp-unet", {**_SMALL_UNET, "normalisation": "none"}),
    "fbp-unet_batch": ("fbp-unet", {**_SMALL_UNET, "channels": [8, 8, 16]}),
    "fbp-unet_group": (
        "fbp-unet",
        {**_SMALL_UNET, "normalisation": "group", "skip_channels": 0, "up": "bilinear"},
    ),
    "fbp-unet_strided": (
        "fbp-unet",
        {
            **_SMALL_UNET,
            "normalisation": "group",
            "skip_channels": 4,
            "negative_slope": 0.2,
            "down": "strided",
            "up": "bilinear",
            "residual": False,
            "filter": "hann",
            "frequency_scaling": 0.641,
            "oversampling": 2,
        },
    ),
    "fbp-unet_one_scale": ("fbp-unet", {"channels": [8], "normalisation": "none"}),
    "learned-gradient": ("learned-gradient", {"iterations": 3, "memory": 2, "channels": 8}),
    "learned-proximal": ("learned-proximal", {"iterations": 3, "channels": 8}),
    "learned-primal": ("learned-primal", {"iterations": 3, "n_primal": 3, "channels": 8}),
    "learned-primal-dual": (
        "learned-primal-dual",
        {"iterations": 3, "n_primal": 3, "n_dual": 2, "channels": 8},
    ),
    "learned-pdhg": ("learned-pdhg", {"iterations": 3, "channels": 8}),
    "variational-network": (
        "variational-network",
        {"stages": 3, "filters": 6, "filter_size": 5, "gaussians": 12},
    ),
    "variational-network_adjoint": (
        "variational-network",
        {"stages": 4, "filters": 6, "filter_size": 7, "gaussians": 7, "start": "adjoint"},
    ),
}
# They start at the filtered back-projection, for which a mere linear operator is not enough.
NEEDS_RAYS = tuple(
    case
    for case in SMALL
    if case.startswith(("fbp", "learned-gradient")) or case == "variational-network"
)


def small_network(case: str, seed: int = 0) -> ReconstructionModel:
    """Make a network of `SMALL`, with the same weights at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(*SMALL[case])
