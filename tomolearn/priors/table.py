"""The table of regularisers and denoisers."""

from __future__ import annotations

from tomolearn._core.tables import Table, subclass_of
from tomolearn.priors.prior import Denoiser, Regulariser

PRIORS: Table[type[Regulariser] | type[Denoiser]] = Table(
    "prior",
    {
        "convex-ridge": "tomolearn.priors.ridge:ConvexRidge",
        "weakly-convex-ridge": "tomolearn.priors.ridge:WeaklyConvexRidge",
        "spline-ridge": "tomolearn.priors.spline_ridge:SplineRidge",
        "adversarial": "tomolearn.priors.adversarial:AdversarialRegulariser",
        "input-convex": "tomolearn.priors.input_convex:InputConvexRegulariser",
        "total-deep-variation": "tomolearn.priors.tdv:TotalDeepVariation",
        "network-tikhonov": "tomolearn.priors.nett:NetworkTikhonov",
        "variational-autoencoder": (
            "tomolearn.priors.variational_autoencoder:VariationalAutoencoder"
        ),
        "patch-mixture": "tomolearn.priors.patches:PatchMixture",
        "fitted-regulariser": "tomolearn.priors.fitted:FittedRegulariser",
        "squared-differences": "tomolearn.priors.smoothness:SquaredDifferences",
        "squared-norm": "tomolearn.priors.squared_norm:SquaredNorm",
        "box": "tomolearn.priors.box:Box",
        "total-variation": "tomolearn.priors.total_variation:TotalVariation",
        "directional-tv": "tomolearn.priors.directional_variation:DirectionalTotalVariation",
        "huber-tv": "tomolearn.priors.huber_variation:HuberTotalVariation",
        "tgv": "tomolearn.priors.generalised_variation:TotalGeneralisedVariation",
        "wavelets": "tomolearn.priors.wavelets:Wavelets",
        "shift-invariant-wavelets": "tomolearn.priors.wavelets:ShiftInvariantWavelets",
        "dncnn": "tomolearn.priors.dncnn:DnCNN",
        "drunet": "tomolearn.priors.drunet:DRUNet",
        "gradient-step": "tomolearn.priors.gradient_step:GradientStepDenoiser",
        "diffusion": "tomolearn.priors.diffusion:DiffusionPrior",
        "spectral-denoiser": "tomolearn.priors.spectral_denoiser:SpectralDenoiser",
    },
    group="tomolearn.priors",
    check=subclass_of("prior", Regulariser, Denoiser),
)
"""Regularisers and denoisers by the names that files have for them."""
