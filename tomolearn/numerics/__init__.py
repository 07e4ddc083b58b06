"""Mathematics without tomography: fixed points, linear systems, implicit derivatives."""

from tomolearn.numerics.conjugate_gradients import IndefiniteError, conjugate_gradients
from tomolearn.numerics.couplings import Coupling, run_couplings
from tomolearn.numerics.fixed_point import FixedPoint, fixed_point
from tomolearn.numerics.gaussian_sums import gaussian_sum
from tomolearn.numerics.gmres import gmres
from tomolearn.numerics.implicit import Backward, equilibrium
from tomolearn.numerics.minimiser import implicit_minimiser
from tomolearn.numerics.once import once
from tomolearn.numerics.solvers import SOLVERS, Anderson, Broyden, Picard

__all__ = [
    "SOLVERS",
    "Anderson",
    "Backward",
    "Broyden",
    "Coupling",
    "FixedPoint",
    "IndefiniteError",
    "Picard",
    "conjugate_gradients",
    "equilibrium",
    "fixed_point",
    "gaussian_sum",
    "gmres",
    "implicit_minimiser",
    "once",
    "run_couplings",
]
