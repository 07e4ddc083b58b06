from .composed import ComposedRegulariser as ComposedRegulariser
from .denoisers import NetworkDenoiser as NetworkDenoiser, ProximalDenoiser as ProximalDenoiser
from .loading import load as load
from .naming import named_regulariser as named_regulariser
from .prior import Denoiser as Denoiser, Prior as Prior, Regulariser as Regulariser
from .ridge import ConvexRidge as ConvexRidge, WeaklyConvexRidge as WeaklyConvexRidge
from .scaled import Scaled as Scaled
from .smoothness import SquaredDifferences as SquaredDifferences
from .spectral import SpectralConv2d as SpectralConv2d, spectral_norm_bound as spectral_norm_bound
from .spectral_denoiser import SpectralDenoiser as SpectralDenoiser
from .table import PRIORS as PRIORS
from .total_variation import TotalVariation as TotalVariation
