"""Small networks of every kind, which many tests share."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from tomolearn.models import ReconstructionModel, build_model
from tomolearn.models.equilibrium import DeepEquilibrium
from tomolearn.operators import LinearOperator

_SMALL_EQUIVARIANT: dict[str, Any] = {"channels": 8, "iterations": 3, "memory": 2}
_SMALL_UNET: dict[str, Any] = {"channels": [8, 16], "first_convolutions": 1}

_SMALL_EQUILIBRIUM: dict[str, Any] = {
    "depth": 3,
    "channels": 8,
    "lipschitz": 4.0,
    "weight": 0.1,
    "tolerance": 1e-5,
    "backward_tolerance": 1e-5,
}

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
    "fbp-unet_two_heads": (
        "fbp-unet",
        {**_SMALL_UNET, "normalisation": "none", "heteroscedastic": True},
    ),
    "fbp-unet_one_scale": ("fbp-unet", {"channels": [8], "normalisation": "none"}),
    "fbp-unet_of_lodopab": ("lodopab-unet", {"channels": [8, 16], "skip_channels": 2}),
    "limited-angle-unet": ("limited-angle-unet", {"channels": [8, 16], "level": 0.5}),
    "iradonmap": (
        "iradonmap",
        {"image_shape": [12, 12], "sinogram_shape": [7, 19], "channels": 8, "blocks": 1},
    ),
    "automap": ("automap", {"image_shape": [12, 12], "sinogram_shape": [7, 19], "channels": 4}),
    "learned-gradient": ("learned-gradient", {"iterations": 3, "memory": 2, "channels": 8}),
    "learned-proximal": ("learned-proximal", {"iterations": 3, "channels": 8}),
    "learned-primal": ("learned-primal", {"iterations": 3, "n_primal": 3, "channels": 8}),
    "learned-primal-dual": (
        "learned-primal-dual",
        {"iterations": 3, "n_primal": 3, "n_dual": 2, "channels": 8},
    ),
    "fbp-primal-dual": (
        "learned-primal-dual",
        {"iterations": 3, "n_primal": 3, "n_dual": 2, "channels": 8, "dual_channels": 4}
        | {"start": "fbp"},
    ),
    "invertible-primal-dual": (
        "invertible-primal-dual",
        {"iterations": 3, "n_primal": 4, "n_dual": 2, "channels": 12},
    ),
    "stochastic-primal-dual": (
        "stochastic-primal-dual",
        {"iterations": 3, "subsets": 2, "n_primal": 3, "n_dual": 2, "channels": 8},
    ),
    "task-adapted_primal-dual": (
        "task-adapted",
        {
            "network": "learned-primal-dual",
            "network_arguments": {"iterations": 3, "n_primal": 3, "n_dual": 2, "channels": 8},
            "channels": [4, 8],
        },
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
    "de-gradient": ("de-gradient", _SMALL_EQUILIBRIUM),
    "de-gradient_unet": (
        "de-gradient",
        {
            **_SMALL_EQUILIBRIUM,
            "regulariser": "unet",
            "activation": "maxmin",
            "bias": True,
            "preconditioner": "circulant",
            "step": 0.7,
            "start": "fbp",
        },
    ),
    "de-gradient_gmres": (
        "de-gradient",
        {**_SMALL_EQUILIBRIUM, "start": "zero", "solver": "picard", "backward_solver": "gmres"},
    ),
    "de-gradient_unrolled": (
        "de-gradient",
        {
            **_SMALL_EQUILIBRIUM,
            "backward": "unrolled",
            "tolerance": 0.01,
            "max_iterations": 20,
        },
    ),
    "de-proximal": ("de-proximal", _SMALL_EQUILIBRIUM),
    "de-proximal_circulant": (
        "de-proximal",
        {**_SMALL_EQUILIBRIUM, "preconditioner": "circulant", "step": 0.7},
    ),
    "equivariant-proximal": ("equivariant-proximal", _SMALL_EQUIVARIANT),
    "equivariant-proximal_ordinary": (
        "equivariant-proximal",
        {**_SMALL_EQUIVARIANT, "group": "C1", "residual_blocks": 0},
    ),
    "equivariant-proximal_flips": (
        "equivariant-proximal",
        {**_SMALL_EQUIVARIANT, "group": "D4", "channels": 16},
    ),
    "equivariant-proximal_eighths": (
        "equivariant-proximal",
        {**_SMALL_EQUIVARIANT, "group": "C8", "channels": 16},
    ),
    "equivariant-proximal_norm": (
        "equivariant-proximal",
        {**_SMALL_EQUIVARIANT, "activation": "norm", "iterations": 5},
    ),
}
# They start at the filtered back-projection, for which a mere linear operator is not enough.
NEEDS_RAYS = tuple(
    case
    for case in SMALL
    if case.startswith(("fbp", "limited-angle", "learned-gradient", "iradonmap", "stochastic"))
    or case in ("variational-network", "de-gradient_unet")
)


# Made for sinograms and images of one shape.
OF_ONE_SHAPE = tuple(case for case, (_, given) in SMALL.items() if "image_shape" in given)


def small_network(
    case: str, seed: int = 0, *, of: LinearOperator | None = None
) -> ReconstructionModel:
    """Make a network of `SMALL`, with the same weights at each call.

    One for a single shape of sinograms and images is made for 7 views of 19 bins and 12 x 12
    pixels, or for those of an operator.
    """
    name, arguments = SMALL[case]
    if of is not None and case in OF_ONE_SHAPE:
        shapes = {"image_shape": of.domain_shape, "sinogram_shape": of.range_shape}
        arguments = {**arguments, **{key: list(shape) for key, shape in shapes.items()}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return drawn(build_model(name, arguments))


def drawn(model: ReconstructionModel) -> ReconstructionModel:
    """Draw the convolutions that start at zero, and let no gradient through, at random."""
    for weights in model.parameters():
        if weights.ndim > 2 and not weights.any():
            torch.nn.init.xavier_uniform_(weights)
    return model


def with_tolerance(model: ReconstructionModel, tolerance: float) -> ReconstructionModel:
    """Let a network's equations, if it has any, be solved to this tolerance."""
    if isinstance(model, DeepEquilibrium):
        model.tolerance, model.max_iterations = tolerance, max(1000, model.max_iterations)
    return model


def solved_exactly(model: ReconstructionModel) -> ReconstructionModel:
    """Let a network's equations, if it has any, be solved to rounding in double precision."""
    if isinstance(model, DeepEquilibrium) and model.backward.mode != "unrolled":
        model.tolerance, model.max_iterations = 1e-13, 1000
        model.backward = replace(model.backward, tolerance=1e-12, max_iterations=1000)
    return model
