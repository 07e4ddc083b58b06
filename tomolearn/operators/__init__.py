"""Linear maps as torch layers: ray transforms, finite differences and what is built from them."""

from tomolearn.operators.base import (
    ComposedOperator,
    LinearOperator,
    ScaledOperator,
    SumOperator,
)
from tomolearn.operators.differences import FiniteDifferences
from tomolearn.operators.identity import Identity
from tomolearn.operators.layer import OperatorLayer
from tomolearn.operators.ray_transform import RayTransform

__all__ = [
    "ComposedOperator",
    "FiniteDifferences",
    "Identity",
    "LinearOperator",
    "OperatorLayer",
    "RayTransform",
    "ScaledOperator",
    "SumOperator",
]
