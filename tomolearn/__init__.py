"""Learned computed tomography on exact, fast, differentiable ray transforms."""

from tomolearn.classical import (
    cgls,
    fbp,
    kaczmarz,
    landweber,
    sirt,
    tikhonov,
    total_variation,
)
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
from tomolearn.operators import FiniteDifferences, LinearOperator, OperatorLayer, RayTransform

__version__ = "0.1.0"

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
    "load_geometry",
    "save_geometry",
    "sirt",
    "tikhonov",
    "total_variation",
]
