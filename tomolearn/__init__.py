"""Learned computed tomography on exact, fast, differentiable ray transforms."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomolearn.geometry import (
        ConeBeam,
        CoverageWarning,
        FanBeam,
        Grid,
        ParallelBeam,
        field_of_view,
        load_geometry,
        save_geometry,
    )
    from tomolearn.methods import (
        cgls,
        fbp,
        kaczmarz,
        landweber,
        sirt,
        tikhonov,
        total_variation,
    )
    from tomolearn.operators import FiniteDifferences, LinearOperator, OperatorLayer, RayTransform
    from tomolearn.training import load, save

from tomolearn._core.version import __version__ as __version__

__all__ = [
    "ConeBeam",
    "CoverageWarning",
    "FanBeam",
    "FiniteDifferences",
    "Grid",
    "LinearOperator",
    "OperatorLayer",
    "ParallelBeam",
    "RayTransform",
    "cgls",
    "fbp",
    "field_of_view",
    "kaczmarz",
    "landweber",
    "load",
    "load_geometry",
    "save",
    "save_geometry",
    "sirt",
    "tikhonov",
    "total_variation",
]

_MODULES = (
    "tomolearn.geometry",
    "tomolearn.operators",
    "tomolearn.methods",
    "tomolearn.training",
)


def __getattr__(name: str) -> Any:
    # Loaded at first use: the command line answers `--help` without torch, and can say how
    # torch's threads are to wait before it is loaded.
    if name in __all__:
        for module in map(importlib.import_module, _MODULES):
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
