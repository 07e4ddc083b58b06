from .automap import AUTOMAP as AUTOMAP
from .base import ReconstructionModel as ReconstructionModel
from .equilibrium import (
    DEGradient as DEGradient,
    DEProximal as DEProximal,
    contraction_report as contraction_report,
)
from .equivariant import EquivariantProximal as EquivariantProximal
from .fbp_unet import FBPUNet as FBPUNet
from .invertible_primal_dual import InvertiblePrimalDual as InvertiblePrimalDual
from .iradonmap import IRadonMap as IRadonMap
from .learned_gradient import LearnedGradient as LearnedGradient
from .learned_pdhg import LearnedPDHG as LearnedPDHG
from .learned_primal import LearnedPrimal as LearnedPrimal
from .learned_primal_dual import LearnedPrimalDual as LearnedPrimalDual
from .learned_proximal import LearnedProximal as LearnedProximal
from .limited_angle_unet import LimitedAngleUNet as LimitedAngleUNet
from .lodopab_unet import LoDoPaBUNet as LoDoPaBUNet
from .stochastic_primal_dual import StochasticPrimalDual as StochasticPrimalDual
from .table import MODELS as MODELS, build_model as build_model
from .task_adapted import TaskAdapted as TaskAdapted
from .variational_network import VariationalNetwork as VariationalNetwork
