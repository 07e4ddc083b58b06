from .analytic.fbp import fbp as fbp
from .iteration import (
    ConvergenceWarning as ConvergenceWarning,
    History as History,
    IterationState as IterationState,
)
from .iterative.conjugate_gradients import cgls as cgls, tikhonov as tikhonov
from .iterative.kaczmarz import kaczmarz as kaczmarz
from .iterative.landweber import landweber as landweber
from .iterative.sirt import sirt as sirt
from .variational.total_variation import total_variation as total_variation
from .variational.tv_weight import photon_tv_weight as photon_tv_weight
