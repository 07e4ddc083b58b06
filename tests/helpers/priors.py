"""Small regularisers, one line each, on which the laws of all regularisers are tested."""

from collections.abc import Callable
from dataclasses import dataclass

from tomolearn.priors import (
    AdversarialRegulariser,
    Box,
    ConvexRidge,
    DirectionalTotalVariation,
    FittedRegulariser,
    HuberTotalVariation,
    InputConvexRegulariser,
    NetworkTikhonov,
    PatchMixture,
    Regulariser,
    ShiftInvariantWavelets,
    SplineRidge,
    SquaredDifferences,
    SquaredNorm,
    TotalDeepVariation,
    TotalGeneralisedVariation,
    TotalVariation,
    VariationalAutoencoder,
    Wavelets,
    WeaklyConvexRidge,
)


@dataclass(frozen=True)
class Case:
    """A regulariser on images of a shape.

    `kinds` says what it offers: "gradient", "proximal". `accuracy` is that of the proximal map, in
    relation to the norm of the image, `value_accuracy` that of the value. `linear` says whether the
    gradient is linear, so that its Lipschitz constant is the smallest one.
    """

    make: Callable[[], Regulariser]
    shape: tuple[int, ...]
    kinds: tuple[str, ...] = ("proximal",)
    accuracy: float = 1e-12
    value_accuracy: float = 1e-12
    linear: bool = False


BOTH, SMOOTH = ("gradient", "proximal"), ("gradient",)
SMALL = {"channels": (3, 4, 3), "strides": (1, 2, 2), "kernel_size": 3}
FINE = {"tolerance": 1e-3, "max_iterations": 20_000}

REGULARISERS: dict[str, Case] = {
    "spline ridge": Case(lambda: SplineRidge(channels=(3, 4), knots=7, span=0.5), (9, 8), SMOOTH),
    "squared differences": Case(SquaredDifferences, (7, 6), BOTH, linear=True),
    "squared differences, spacing": Case(
        lambda: SquaredDifferences(ndim=3, spacing=(1.0, 0.5, 2.0)), (4, 3, 5), BOTH, linear=True
    ),
    "squared norm": Case(lambda: SquaredNorm(center=0.3), (7, 6), BOTH, linear=True),
    "box": Case(lambda: Box(lower=-0.5, upper=0.7), (7, 6)),
    "half space": Case(lambda: Box(ndim=3), (4, 3, 5)),
    "total variation": Case(lambda: TotalVariation(**FINE), (7, 6), accuracy=1e-3),
    "total variation, weighted": Case(
        lambda: TotalVariation(weights=(1.0, 0.4), spacing=(1.0, 2.0), **FINE),
        (7, 6),
        accuracy=1e-3,
    ),
    "total variation, anisotropic": Case(
        lambda: TotalVariation(norm="anisotropic", **FINE), (7, 6), accuracy=1e-3
    ),
    "total variation of volumes": Case(
        lambda: TotalVariation(ndim=3, **FINE), (4, 3, 5), accuracy=1e-3
    ),
    "directional": Case(
        lambda: DirectionalTotalVariation(angle=0.7, anisotropy=0.3, **FINE), (7, 6), accuracy=1e-3
    ),
    "Huber": Case(lambda: HuberTotalVariation(delta=0.5, **FINE), (7, 6), BOTH, accuracy=1e-3),
    "Huber of volumes": Case(
        lambda: HuberTotalVariation(delta=2.0, ndim=3, weights=(1.0, 1.0, 0.5), **FINE),
        (4, 3, 5),
        BOTH,
        accuracy=1e-3,
    ),
    "generalised variation": Case(
        lambda: TotalGeneralisedVariation(tolerance=1e-2),
        (5, 6),
        accuracy=1e-2,
        value_accuracy=1e-2,
    ),
    "generalised variation of volumes": Case(
        lambda: TotalGeneralisedVariation(ndim=3, spacing=(2.0, 1.0, 1.0), tolerance=1e-2),
        (3, 4, 3),
        accuracy=1e-2,
        value_accuracy=1e-2,
    ),
    "wavelets": Case(lambda: Wavelets(wavelet="db3", levels=2, weights=(1.0, 0.5)), (8, 12)),
    "wavelets of volumes": Case(lambda: Wavelets(wavelet="haar", levels=1, ndim=3), (4, 2, 6)),
    "shift-invariant wavelets": Case(
        lambda: ShiftInvariantWavelets(wavelet="db2", levels=2, **FINE), (7, 6), accuracy=1e-3
    ),
    "adversarial": Case(lambda: AdversarialRegulariser(**SMALL, hidden=5), (11, 14), SMOOTH),
    "input convex": Case(lambda: InputConvexRegulariser(**SMALL, convexity=0.3), (11, 14), SMOOTH),
    "total deep variation": Case(
        lambda: TotalDeepVariation(channels=3, blocks=2), (11, 14), SMOOTH
    ),
    "network Tikhonov": Case(lambda: NetworkTikhonov(channels=3, sparsity=0.1), (11, 14), SMOOTH),
    "variational autoencoder": Case(
        lambda: VariationalAutoencoder(channels=(3, 4, 3), latent_channels=2, scale=1.0),
        (11, 14),
        SMOOTH,
    ),
    "patch mixture": Case(lambda: PatchMixture(size=3, components=4), (11, 14), SMOOTH),
    "fitted": Case(
        lambda: FittedRegulariser(
            regulariser="convex-ridge",
            arguments={"channels": [3, 4], "kernel_size": 3},
            weight=0.5,
            scale=2.0,
        ),
        (9, 8),
        SMOOTH,
    ),
    "convex ridge": Case(lambda: ConvexRidge(channels=(3, 4), kernel_size=3), (9, 8), SMOOTH),
    "weakly convex ridge": Case(
        lambda: WeaklyConvexRidge(channels=(3, 4), kernel_size=3), (9, 8), SMOOTH
    ),
}
