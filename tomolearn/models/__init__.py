"""Reconstruction networks, one published network per file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.models.base import ReconstructionModel
from tomolearn.models.equilibrium import DEGradient, DEProximal, contraction_report
from tomolearn.models.equivariant import EquivariantProximal
from tomolearn.models.fbp_unet import FBPUNet
from tomolearn.models.learned_gradient import LearnedGradient
from tomolearn.models.learned_pdhg import LearnedPDHG
from tomolearn.models.learned_primal import LearnedPrimal
from tomolearn.models.learned_primal_dual import LearnedPrimalDual
from tomolearn.models.learned_proximal import LearnedProximal
from tomolearn.models.variational_network import VariationalNetwork

__all__ = [
    "MODELS",
    "DEGradient",
    "DEProximal",
    "EquivariantProximal",
    "FBPUNet",
    "LearnedGradient",
    "LearnedPDHG",
    "LearnedPrimal",
    "LearnedPrimalDual",
    "LearnedProximal",
    "ReconstructionModel",
    "VariationalNetwork",
    "build_model",
    "contraction_report",
    "model_name",
]

MODELS: Mapping[str, type[ReconstructionModel]] = MappingProxyType(
    {
        "fbp-unet": FBPUNet,
        "learned-gradient": LearnedGradient,
        "learned-proximal": LearnedProximal,
        "learned-primal": LearnedPrimal,
        "learned-primal-dual": LearnedPrimalDual,
        "learned-pdhg": LearnedPDHG,
        "variational-network": VariationalNetwork,
        "de-gradient": DEGradient,
        "de-proximal": DEProximal,
        "equivariant-proximal": EquivariantProximal,
    }
)
"""The networks by the names that the command line and files of weights have for them."""


def build_model(name: str, arguments: Mapping[str, Any]) -> ReconstructionModel:
    """Make a network, with fresh weights, from its name and its constructor's arguments.

    Parameters
    ----------
    name : str
        One of `MODELS`.
    arguments : mapping
        The constructor's arguments by name, for example another network's `arguments`.

    Raises
    ------
    TypeError
        If `arguments` is no mapping, or one of them of a wrong type.
    ValueError
        If there is no such network or argument; the message has the nearest names. If an argument
        is out of its range.
    """
    model = MODELS[check_known("name", name, tuple(MODELS))]
    if not isinstance(arguments, Mapping):
        raise TomolearnTypeError(f"arguments: expected a mapping, got {type(arguments).__name__}")
    known = tuple(inspect.signature(model).parameters)
    for argument in arguments:
        check_known(f"arguments of {name}", argument, known)
    return model(**arguments)


def model_name(model: ReconstructionModel) -> str:
    """Return the name in `MODELS` of a network's class.

    Raises
    ------
    ValueError
        If its class is not one of `MODELS`.
    """
    for name, kind in MODELS.items():
        if type(model) is kind:
            return name
    known = ", ".join(kind.__name__ for kind in MODELS.values())
    raise TomolearnError(f"model: expected one of {known}, got {type(model).__name__}")
