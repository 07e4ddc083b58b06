"""Reconstruction without learning: ``f(sinogram, operator) -> image``."""

from tomolearn.methods.analytic.fbp import fbp
from tomolearn.methods.iteration import ConvergenceWarning, History, IterationState
from tomolearn.methods.iterative.conjugate_gradients import cgls, tikhonov
from tomolearn.methods.iterative.kaczmarz import kaczmarz
from tomolearn.methods.iterative.landweber import landweber
from tomolearn.methods.iterative.sirt import sirt
from tomolearn.methods.variational.total_variation import total_variation
from tomolearn.methods.variational.tv_weight import photon_tv_weight

__all__ = [
    "ConvergenceWarning",
    "History",
    "IterationState",
    "cgls",
    "fbp",
    "kaczmarz",
    "landweber",
    "photon_tv_weight",
    "sirt",
    "tikhonov",
    "total_variation",
]
