"""Mathematics without tomography: fixed points, linear systems, implicit derivatives."""

from tomolearn.numerics.fixed_point import FixedPoint, fixed_point
from tomolearn.numerics.gaussian_sums import gaussian_sum
from tomolearn.numerics.gmres import gmres
from tomolearn.numerics.implicit import Backward, equilibrium
from tomolearn.numerics.once import once
from tomolearn.numerics.solvers import SOLVERS, Anderson, Broyden, Picard

__all__ = [
    "SOLVERS",
    "Anderson",
    "Backward",
    "Broyden",
    "FixedPoint",
    "Picard",
    "equilibrium",
    "fixed_point",
    "gaussian_sum",
    "gmres",
    "once",
]
