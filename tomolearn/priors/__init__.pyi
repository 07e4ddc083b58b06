from .adversarial import AdversarialRegulariser as AdversarialRegulariser
from .box import Box as Box
from .composed import ComposedRegulariser as ComposedRegulariser
from .denoisers import NetworkDenoiser as NetworkDenoiser, ProximalDenoiser as ProximalDenoiser
from .diffusion import ConditionalUNet as ConditionalUNet, DiffusionPrior as DiffusionPrior
from .directional_variation import DirectionalTotalVariation as DirectionalTotalVariation
from .dncnn import DnCNN as DnCNN
from .drunet import DRUNet as DRUNet
from .fitted import FittedRegulariser as FittedRegulariser
from .generalised_variation import TotalGeneralisedVariation as TotalGeneralisedVariation
from .gradient_step import (
    GradientStepDenoiser as GradientStepDenoiser,
    GradientStepRegulariser as GradientStepRegulariser,
)
from .huber_variation import HuberTotalVariation as HuberTotalVariation
from .input_convex import InputConvexRegulariser as InputConvexRegulariser
from .loading import load as load
from .naming import named_regulariser as named_regulariser
from .nett import NetworkTikhonov as NetworkTikhonov
from .odl_functional import OdlRegulariser as OdlRegulariser
from .patches import PatchMixture as PatchMixture
from .prior import Denoiser as Denoiser, Prior as Prior, Regulariser as Regulariser
from .red import RegularisationByDenoising as RegularisationByDenoising
from .ridge import ConvexRidge as ConvexRidge, WeaklyConvexRidge as WeaklyConvexRidge
from .scaled import Scaled as Scaled
from .smoothness import SquaredDifferences as SquaredDifferences
from .spectral import SpectralConv2d as SpectralConv2d, spectral_norm_bound as spectral_norm_bound
from .spectral_denoiser import SpectralDenoiser as SpectralDenoiser
from .spline_ridge import SplineRidge as SplineRidge
from .squared_norm import SquaredNorm as SquaredNorm
from .structured_gaussian import StructuredGaussian as StructuredGaussian
from .table import PRIORS as PRIORS
from .tdv import TotalDeepVariation as TotalDeepVariation
from .total_variation import TotalVariation as TotalVariation
from .variational_autoencoder import VariationalAutoencoder as VariationalAutoencoder
from .wavelets import ShiftInvariantWavelets as ShiftInvariantWavelets, Wavelets as Wavelets
