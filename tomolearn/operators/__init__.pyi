from .base import (
    ComposedOperator as ComposedOperator,
    LinearOperator as LinearOperator,
    ScaledOperator as ScaledOperator,
    SumOperator as SumOperator,
)
from .blur import GaussianBlur as GaussianBlur
from .diagonal import Diagonal as Diagonal
from .differences import FiniteDifferences as FiniteDifferences
from .identity import Identity as Identity
from .layer import OperatorLayer as OperatorLayer
from .ray_transform import RayTransform as RayTransform
