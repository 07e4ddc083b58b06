"""Deep-equilibrium networks: reconstructions that are fixed points of a learned iteration."""

from tomolearn._core.errors import DivergenceError
from tomolearn.models.equilibrium.certificate import ContractionReport, contraction_report
from tomolearn.models.equilibrium.gradient import DEGradient
from tomolearn.models.equilibrium.model import DeepEquilibrium
from tomolearn.models.equilibrium.proximal import DEProximal
from tomolearn.numerics.fixed_point import FixedPoint, fixed_point
from tomolearn.numerics.gmres import gmres
from tomolearn.numerics.implicit import Backward, equilibrium
from tomolearn.numerics.solvers import SOLVERS, Anderson, Broyden, Picard

__all__ = [
    "SOLVERS",
    "Anderson",
    "Backward",
    "Broyden",
    "ContractionReport",
    "DEGradient",
    "DEProximal",
    "DeepEquilibrium",
    "DivergenceError",
    "FixedPoint",
    "Picard",
    "contraction_report",
    "equilibrium",
    "fixed_point",
    "gmres",
]
