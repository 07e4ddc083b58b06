"""Tasks that follow publications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tomolearn.data.files import DataFiles, LoDoPaBFiles, PatchFolder, SeriesFolder, SliceCache
from tomolearn.data.lodopab import Recipe
from tomolearn.data.lodopab.recipe import MU_AIR_PER_M, MU_MAX_PER_M, MU_WATER_PER_M
from tomolearn.data.nodules import NoduleCrops
from tomolearn.data.perforated_discs import PerforatedDiscs
from tomolearn.data.phantoms import (
    LODOPAB_UNIT,
    PhantomSource,
    RandomEllipses,
    RandomThorax,
    SheppLogan,
    ThoraxPatches,
)
from tomolearn.geometry import FanBeam, Grid, ParallelBeam
from tomolearn.methods import FBP, TotalVariation
from tomolearn.metrics import CONVENTIONS
from tomolearn.simulation import (
    Acquisition,
    CoveringScan,
    Direct,
    GaussianNoise,
    PhotonNoise,
    PolychromaticNoise,
    Refinement,
)
from tomolearn.tasks.task import Split, Task

_SMALL = Grid((128, 128))
_LARGE = Grid((256, 256))
_HANN = FBP(filter="hann")
_HELSINKI = "Helsinki tomography challenge 2022, doi:10.5281/zenodo.6984868"
_HTC_SOURCE, _HTC_DETECTOR, _HTC_BIN = 410.66, 553.74, 0.2
_HTC_PIXEL = _HTC_BIN * _HTC_SOURCE / _HTC_DETECTOR
_CELLEDONI_HU = 4096.0
_LODOPAB_HU = 1000 * MU_MAX_PER_M / (MU_WATER_PER_M - MU_AIR_PER_M)
_CELLEDONI_NOISE = PhotonNoise(photons=10_000, attenuation=0.08136, floor=1e-8)


# Pixel centres at the border of the phantom's square, as in ODL, with which the published figures
# were made.
_ADLER = RandomEllipses("adler", "centres")
ELLIPSES = Task(
    name="ellipses",
    description="random ellipses, tested on Shepp-Logan: 128 x 128, 30 views, 5 % noise",
    reference="Adler and Öktem, IEEE Trans. Med. Imaging 37 (2018), arXiv:1707.06474",
    grid=_SMALL,
    acquisition=Acquisition(ParallelBeam.covering(_SMALL, 30), GaussianNoise(0.05)),
    splits={
        "train": Split(_ADLER, seed=1),
        "validation": Split(_ADLER, seed=2, size=64),
        "test": Split(SheppLogan("centres"), seed=3, size=100),
    },
    convention=CONVENTIONS["adler"],
    baselines={"fbp": _HANN, "tv": TotalVariation(weight=2.5)},
)

ELLIPSES_DIVAL = Task(
    name="ellipses-dival",
    description="data efficiency on random ellipses: 128 x 128, 30 views, 2.5 % noise",
    reference="Baguer, Leuschner and Schmidt, Inverse Problems 36 (2020), arXiv:2003.04989",
    grid=_SMALL,
    acquisition=Acquisition(
        ParallelBeam.covering(_SMALL, 30),
        GaussianNoise(0.025),
        Refinement("linear", shape=(400, 400)),
    ),
    splits={
        "train": Split(RandomEllipses("dival"), seed=11, size=32_000),
        "validation": Split(RandomEllipses("dival"), seed=12, size=3_200),
        "test": Split(RandomEllipses("dival"), seed=13, size=3_200),
    },
    convention=CONVENTIONS["dival"],
    baselines={
        "fbp": FBP(filter="hann", frequency_scaling=0.705),
        "tv": TotalVariation(weight=3.0),
    },
)


def _ellipses_sparse(n_angles: int, weight: float) -> Task:
    # Filter and weight: the best of a few on validation images.
    source = RandomEllipses("adler")
    return Task(
        name=f"ellipses-{n_angles}",
        description=f"sparse views of random ellipses: 256 x 256, {n_angles} views, no noise",
        reference="Jin et al., IEEE Trans. Image Process. 26 (2017), doi:10.1109/TIP.2017.2713099",
        grid=_LARGE,
        # simulated on finer pixels than reconstructed on
        acquisition=Acquisition(
            ParallelBeam.covering(_LARGE, n_angles), refinement=Refinement("average", 2)
        ),
        splits={
            "train": Split(source, seed=21, size=475),
            "validation": Split(source, seed=22, size=25),
            "test": Split(source, seed=23, size=25),
        },
        convention=CONVENTIONS["dival"],
        baselines={"fbp": _HANN, "tv": TotalVariation(weight=weight)},
    )


def _lidc_style_small(name: str, n_pixels: int, fbp: FBP, weight: float) -> Task:
    # The publication has 512 x 512 pixels, simulated on 1024 x 1024, of LIDC-IDRI, and 5000, 200
    # and 1000 images. Filter and weight: the best of a few on validation images.
    grid = Grid((n_pixels, n_pixels), 360 / n_pixels)
    upright, turned = RandomThorax("upright"), RandomThorax("any")
    return Task(
        name=name,
        description=f"low dose and sparse views of synthetic chests: {n_pixels} x {n_pixels}, "
        "50 views, 10,000 photons",
        reference="Celledoni et al., Inverse Problems 37 (2021), doi:10.1088/1361-6420/ac104f",
        grid=grid,
        acquisition=Acquisition(
            ParallelBeam.covering(grid, 50), _CELLEDONI_NOISE, Refinement("average", 2)
        ),
        splits={
            "train": Split(upright, seed=31, size=500),
            "validation": Split(upright, seed=32, size=50),
            "test": Split(upright, seed=33, size=100),
            # the same patients
            "test-rotated": Split(turned, seed=33, size=100),
        },
        convention=CONVENTIONS["celledoni"],
        hounsfield=_CELLEDONI_HU,
        baselines={"fbp": fbp, "tv": TotalVariation(weight=weight)},
    )


def _celledoni(name: str, drawn: bool, what: str) -> Task:
    # Views at the starts of equal angles, and a detector as wide as the diagonal, as in the
    # authors' script. Sizes are the publication's.
    grid = Grid((512, 512), 360 / 512)
    n_angles, n_detectors = 50, 725
    upright, turned = RandomThorax("upright"), RandomThorax("any")
    return Task(
        name=name,
        description=f"low dose and sparse views of {what}: 512 x 512, 50 views, 10,000 photons",
        reference="Celledoni et al., Inverse Problems 37 (2021), doi:10.1088/1361-6420/ac104f",
        grid=grid,
        acquisition=Acquisition(
            ParallelBeam(
                angles=[k * math.pi / n_angles for k in range(n_angles)],
                n_detectors=n_detectors,
                detector_spacing=math.sqrt(2) * 360 / n_detectors,
            ),
            _CELLEDONI_NOISE,
            Refinement("linear", 2),
        ),
        splits={
            "train": Split(upright if drawn else None, seed=41, size=5000),
            "validation": Split(upright if drawn else None, seed=42, size=200),
            "test": Split(upright if drawn else None, seed=43, size=1000),
            # the same slices
            "test-rotated": Split(turned if drawn else None, seed=43, size=1000),
        },
        convention=CONVENTIONS["celledoni-code"],
        # on two synthetic and two real slices: the best filter of a few, a weight between the best
        baselines={
            "fbp": FBP(filter="hann", frequency_scaling=0.25),
            "tv": TotalVariation(weight=20.0),
        },
        files=SliceCache(resize=drawn),
        hounsfield=_CELLEDONI_HU,
    )


def _lodopab(n_angles: int, weight: float) -> Task:
    # The filter is the publication's; the weight lies between the best two of a few, tried on two
    # synthetic and two real slices.
    recipe = Recipe()
    full = recipe.scan
    sparse = ParallelBeam(
        angles=full.view_angles[:: recipe.n_angles // n_angles].tolist(),
        n_detectors=full.n_detectors,
        detector_spacing=full.detector_spacing,
    )
    is_full = n_angles == recipe.n_angles
    return Task(
        name="lodopab" if is_full else f"lodopab-{n_angles}",
        description=f"low dose of LIDC-IDRI slices (LoDoPaB-CT): 362 x 362, {n_angles} views, "
        "4096 photons",
        reference="Leuschner et al., Sci. Data 8, 109 (2021), doi:10.1038/s41597-021-00893-z",
        grid=recipe.grid,
        acquisition=recipe.acquisition if is_full else replace(recipe.acquisition, scan=sparse),
        splits={
            "train": Split(None, seed=51, size=35_820),
            "validation": Split(None, seed=52, size=3_522),
            "test": Split(None, seed=53, size=3_553),
        },
        convention=CONVENTIONS["lodopab"],
        baselines={
            "fbp": FBP(filter="hann", frequency_scaling=0.641),
            "tv": TotalVariation(weight=weight),
        },
        files=LoDoPaBFiles(n_angles=n_angles),
        hounsfield=_LODOPAB_HU,
    )


def _htc2022(arc: int) -> Task:
    return Task(
        name=f"htc2022-{arc}",
        description=f"limited angle of discs with holes: 512 x 512, {arc} degrees, 0.5 % noise",
        reference=_HELSINKI,
        grid=Grid((512, 512), _HTC_PIXEL),
        acquisition=Acquisition(
            _htc_scan([k / 2 for k in range(2 * arc + 1)], 560),
            GaussianNoise(std=0.005),
            Refinement("average", 2),
        ),
        splits=_htc_splits(PerforatedDiscs(field=512 * _HTC_PIXEL)),
        convention=CONVENTIONS["maximum"],
        baselines={"fbp": _HANN, "tv": TotalVariation(weight=0.2)},
    )


def _htc_scan(degrees: Sequence[float], n_detectors: int) -> FanBeam:
    # the scanner as the organisers state it
    return FanBeam(
        angles=[math.radians(one) for one in degrees],
        n_detectors=n_detectors,
        detector_spacing=_HTC_BIN * 560 / n_detectors,
        source_to_isocenter=_HTC_SOURCE,
        source_to_detector=_HTC_DETECTOR,
    )


def _htc_splits(discs: PerforatedDiscs) -> dict[str, Split]:
    return {
        "train": Split(discs, seed=81),
        "validation": Split(discs, seed=82, size=16),
        "test": Split(discs, seed=83, size=21),
    }


def _denoising(
    name: str, source: PhantomSource, what: str, noise: float, files: DataFiles | None = None
) -> Task:
    size = 64
    # objectives that add noise of their own ignore the task's
    return Task(
        name=name,
        description=f"denoising of {what}: {size} x {size}",
        reference="images alone, for priors that are trained without a scanner",
        grid=Grid((size, size)),
        acquisition=Acquisition(Direct(), GaussianNoise(std=noise)),
        splits={
            "train": Split(source, seed=61),
            "validation": Split(source, seed=62, size=64),
            "test": Split(source, seed=63, size=100),
        },
        convention=CONVENTIONS["adler"],
        files=files,
    )


_CHESTS = ThoraxPatches()
# about the error of a reconstruction of chest-60, to which priors are trained for
CHEST_PATCHES = _denoising(
    "chest-patches", _CHESTS, "parts of synthetic chest slices", 0.05, PatchFolder(_CHESTS)
)
ELLIPSE_PATCHES = _denoising("ellipses-64", _ADLER, "random ellipses", 0.02)
_TRUTHS = Grid((362, 362))
CHEST_60 = Task(
    name="chest-60",
    description="few views of chests: 362 x 362 pixels in [0, 1], 60 views, noise 0.7",
    reference="comparative study of learned regularisers, arXiv:2510.01755",
    grid=_TRUTHS,
    acquisition=Acquisition(ParallelBeam.covering(_TRUTHS, 60), GaussianNoise(std=0.7)),
    splits={
        "train": Split(_CHESTS, seed=71),
        "validation": Split(_CHESTS, seed=72, size=16),
        "test": Split(_CHESTS, seed=73, size=100),
    },
    convention=CONVENTIONS["maximum"],
    baselines={"fbp": _HANN, "tv": TotalVariation(weight=14.0)},
    files=SeriesFolder(),
    hounsfield=_LODOPAB_HU,
)
_CLINICAL_GRID = Grid((512, 512), 0.7)
CHEST_FAN = Task(
    name="chest-fan",
    description="low dose of chests by fan beam: 512 x 512 pixels, 1000 views, 10,000 photons",
    reference="the scan that tomolearn dicom simulates, of synthetic chests",
    grid=_CLINICAL_GRID,
    acquisition=Acquisition(
        CoveringScan("fan", 1000), PhotonNoise(10_000, attenuation=LODOPAB_UNIT)
    ),
    splits={
        "train": Split(ThoraxPatches(size=512), seed=91),
        "validation": Split(ThoraxPatches(16, 512, first=1000), seed=92, size=4),
        "test": Split(ThoraxPatches(64, 512, first=2000), seed=93, size=50),
    },
    convention=CONVENTIONS["maximum"],
    # the weight that suits the noise of training sinograms, see methods.photon_tv_weight
    baselines={"fbp": _HANN, "tv": TotalVariation(weight=28.0)},
    files=SeriesFolder(),
    hounsfield=_LODOPAB_HU,
)
_QUARTER = Grid((96, 96))
# as many views per pixel across, and as much noise in a pixel, as the task of four times the size
CHEST_16 = replace(
    CHEST_60,
    name="chest-16",
    description="few views of parts of chests: chest-60 with 96 x 96 pixels and 16 views",
    grid=_QUARTER,
    acquisition=Acquisition(ParallelBeam.covering(_QUARTER, 16), GaussianNoise(std=0.36)),
    files=None,
)
_CROPS = Grid((48, 48))
CHEST_NODULES = Task(
    name="chest-nodules",
    description="few views of parts of chests with labelled nodules: 48 x 48 pixels, 12 views",
    reference="task adapted reconstruction, arXiv:1809.00948, whose task is another one",
    grid=_CROPS,
    acquisition=Acquisition(ParallelBeam.covering(_CROPS, 12), GaussianNoise(std=0.3)),
    splits={
        "train": Split(NoduleCrops(400), seed=81),
        "validation": Split(NoduleCrops(60, first=1000), seed=82, size=60),
        "test": Split(NoduleCrops(200, first=2000), seed=83, size=200),
    },
    hounsfield=_LODOPAB_HU,
    convention=CONVENTIONS["maximum"],
    # filter and weight: the best of a few on validation images
    baselines={
        "fbp": FBP(filter="hann", frequency_scaling=0.6),
        "tv": TotalVariation(weight=2.0),
    },
)
ELLIPSES_50 = _ellipses_sparse(50, 2.0)
ELLIPSES_143 = _ellipses_sparse(143, 4.0)
LIDC_STYLE_50 = _lidc_style_small("lidc-style-50", 128, _HANN, 28.0)
LIDC_STYLE_50_SMALL = _lidc_style_small(
    "lidc-style-50-small", 64, FBP(filter="shepp-logan", frequency_scaling=0.8), 50.0
)
LIDC_STYLE = _celledoni("lidc-style", True, "synthetic chests, or of slices of your own")
LIDC_50 = _celledoni("lidc-50", False, "LIDC-IDRI slices")
LODOPAB = _lodopab(1000, 50.0)
LODOPAB_200 = _lodopab(200, 24.0)
HTC2022_90, HTC2022_60, HTC2022_30 = (_htc2022(arc) for arc in (90, 60, 30))
# acrylic in thin layers: its line integrals are those of two energies, 0.47 and 1.53 times as much
_ACRYLIC = 0.0466
HTC2022_SMALL = Task(
    name="htc2022-small",
    description="limited angle of discs with holes: 64 x 64, 90 degrees, beam hardening",
    reference=_HELSINKI,
    grid=Grid((64, 64), 8 * _HTC_PIXEL),
    acquisition=Acquisition(
        _htc_scan(range(-45, 46), 70),
        PolychromaticNoise(hardening=(0.35, 0.65), std=0.006),
    ),
    splits=_htc_splits(
        PerforatedDiscs(field=512 * _HTC_PIXEL, attenuation=_ACRYLIC, holes=12, cells=0.5)
    ),
    convention=CONVENTIONS["maximum"],
    baselines={"fbp": _HANN, "tv": TotalVariation(weight=0.2)},
)
