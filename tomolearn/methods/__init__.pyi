from .analytic.fbp import FBP as FBP, fbp as fbp
from .analytic.singular_values import (
    TSVD as TSVD,
    Picard as Picard,
    SingularSystem as SingularSystem,
    singular_system as singular_system,
    tsvd as tsvd,
)
from .iterative.conjugate_gradients import (
    CGLS as CGLS,
    Tikhonov as Tikhonov,
    cgls as cgls,
    tikhonov as tikhonov,
)
from .iterative.kaczmarz import Kaczmarz as Kaczmarz, kaczmarz as kaczmarz
from .iterative.landweber import Landweber as Landweber, landweber as landweber
from .iterative.mlem import MLEM as MLEM, mlem as mlem
from .iterative.sirt import SIRT as SIRT, sirt as sirt
from .method import Method as Method, Setting as Setting, setting as setting
from .sampling.dds import DDS as DDS, dds as dds
from .sampling.diffpir import DiffPIR as DiffPIR, diffpir as diffpir
from .sampling.diffusion import DiffusionSampling as DiffusionSampling
from .sampling.diffusion_steps import sample_prior as sample_prior
from .sampling.dps import DPS as DPS, dps as dps
from .sampling.posterior import (
    Moments as Moments,
    Posterior as Posterior,
    SamplingMethod as SamplingMethod,
    UncertainMethod as UncertainMethod,
)
from .state import IterationState as IterationState
from .stopping import (
    Control as Control,
    History as History,
    IterativeMethod as IterativeMethod,
    Stopping as Stopping,
)
from .table import METHODS as METHODS, method_from_dict as method_from_dict
from .variational.certificate import (
    ConvergenceReport as ConvergenceReport,
    convergence_report as convergence_report,
)
from .variational.deep_image_prior import DeepImagePrior as DeepImagePrior, dip as dip
from .variational.generative import Generative as Generative, generative as generative
from .variational.plug_and_play import PlugAndPlay as PlugAndPlay, pnp as pnp
from .variational.total_variation import (
    TotalVariation as TotalVariation,
    total_variation as total_variation,
)
from .variational.tv_weight import photon_tv_weight as photon_tv_weight
from .variational.variational import Variational as Variational, variational as variational
