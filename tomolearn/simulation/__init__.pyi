from .acquisition import Acquisition as Acquisition
from .covering import CoveringScan as CoveringScan
from .direct import Direct as Direct
from .noise import (
    GaussianNoise as GaussianNoise,
    Noise as Noise,
    PhotonNoise as PhotonNoise,
    PolychromaticNoise as PolychromaticNoise,
)
from .refinement import Refinement as Refinement
from .spectrum import Spectrum as Spectrum
from .streams import Streams as Streams, independent_streams as independent_streams
