"""Reconstruction without learning: ``f(sinogram, operator) -> image``."""

from tomolearn.classical.conjugate_gradients import cgls, tikhonov
from tomolearn.classical.fbp import fbp
from tomolearn.classical.iteration import ConvergenceWarning, History, IterationState
from tomolearn.classical.kaczmarz import kaczmarz
from tomolearn.classical.landweber import landweber
from tomolearn.classical.sirt import sirt
from tomolearn.classical.total_variation import total_variation
from tomolearn.classical.tv_weight import photon_tv_weight

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
