"""Deep-equilibrium networks: reconstructions that are fixed points of a learned iteration."""

from tomolearn.models.equilibrium.certificate import ContractionReport, contraction_report
from tomolearn.models.equilibrium.fixed_point import DivergenceError, FixedPoint, fixed_point
from tomolearn.models.equilibrium.gmres import gmres
from tomolearn.models.equilibrium.gradient import DEGradient
from tomolearn.models.equilibrium.layer import Backward, equilibrium
from tomolearn.models.equilibrium.model import DeepEquilibrium
from tomolearn.models.equilibrium.proximal import DEProximal
from tomolearn.models.equilibrium.solvers import SOLVERS, Anderson, Broyden, Picard
from tomolearn.models.equilibrium.spectral import SpectralConv2d, spectral_norm_bound

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
    "SpectralConv2d",
    "contraction_report",
    "equilibrium",
    "fixed_point",
    "gmres",
    "spectral_norm_bound",
]
