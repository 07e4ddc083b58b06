"""The table of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tomolearn._core.modules import built
from tomolearn._core.tables import Table, subclass_of
from tomolearn.models.base import ReconstructionModel

MODELS: Table[type[ReconstructionModel]] = Table(
    "model",
    {
        "fbp-unet": "tomolearn.models.fbp_unet:FBPUNet",
        "lodopab-unet": "tomolearn.models.lodopab_unet:LoDoPaBUNet",
        "limited-angle-unet": "tomolearn.models.limited_angle_unet:LimitedAngleUNet",
        "iradonmap": "tomolearn.models.iradonmap:IRadonMap",
        "automap": "tomolearn.models.automap:AUTOMAP",
        "learned-gradient": "tomolearn.models.learned_gradient:LearnedGradient",
        "learned-proximal": "tomolearn.models.learned_proximal:LearnedProximal",
        "learned-primal": "tomolearn.models.learned_primal:LearnedPrimal",
        "learned-primal-dual": "tomolearn.models.learned_primal_dual:LearnedPrimalDual",
        "invertible-primal-dual": ("tomolearn.models.invertible_primal_dual:InvertiblePrimalDual"),
        "stochastic-primal-dual": ("tomolearn.models.stochastic_primal_dual:StochasticPrimalDual"),
        "task-adapted": "tomolearn.models.task_adapted:TaskAdapted",
        "learned-pdhg": "tomolearn.models.learned_pdhg:LearnedPDHG",
        "variational-network": "tomolearn.models.variational_network:VariationalNetwork",
        "de-gradient": "tomolearn.models.equilibrium.gradient:DEGradient",
        "de-proximal": "tomolearn.models.equilibrium.proximal:DEProximal",
        "equivariant-proximal": (
            "tomolearn.models.equivariant.equivariant_proximal:EquivariantProximal"
        ),
    },
    group="tomolearn.models",
    check=subclass_of("model", ReconstructionModel),
)
"""The networks by the names that the command line and files of weights have for them."""


def build_model(spec: str, arguments: Mapping[str, Any]) -> ReconstructionModel:
    """Make a network, with fresh weights, from its name and its constructor's arguments.

    Parameters
    ----------
    spec : str
        A name in `MODELS`, or where a subclass of `ReconstructionModel` stands:
        ``path/to/file.py:Net`` or ``module:Net``.
    arguments : mapping
        The constructor's arguments by name, for example another network's `arguments`.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, ImportError
        If it is not found, there is no such argument (with the nearest names), or one is wrong.
    """
    return built(spec, MODELS.find(spec), arguments)
