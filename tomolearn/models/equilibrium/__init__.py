"""Deep-equilibrium networks: reconstructions that are fixed points of a learned iteration."""

from tomolearn.models.equilibrium.certificate import ContractionReport, contraction_report
from tomolearn.models.equilibrium.gradient import DEGradient
from tomolearn.models.equilibrium.model import DeepEquilibrium
from tomolearn.models.equilibrium.proximal import DEProximal

__all__ = ["ContractionReport", "DEGradient", "DEProximal", "DeepEquilibrium", "contraction_report"]
