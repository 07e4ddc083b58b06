"""Learned computed tomography on exact, fast, differentiable ray transforms."""

from tomolearn.geometry import (
    ConeBeam,
    CoverageWarning,
    FanBeam,
    Grid,
    ParallelBeam,
    field_of_view,
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
    "field_of_view",
]
