"""Pairs (sinogram, image) as torch datasets."""

from tomolearn.data.lidc import LIDCSlices
from tomolearn.data.lodopab import LoDoPaBPairs
from tomolearn.data.noise import GaussianNoise, PhotonNoise
from tomolearn.data.phantoms import RandomEllipses, RandomThorax, SheppLogan
from tomolearn.data.simulated import Pair, SimulatedPairs, n_pairs
from tomolearn.data.stored import StoredPairs, store_pairs

__all__ = [
    "GaussianNoise",
    "LIDCSlices",
    "LoDoPaBPairs",
    "Pair",
    "PhotonNoise",
    "RandomEllipses",
    "RandomThorax",
    "SheppLogan",
    "SimulatedPairs",
    "StoredPairs",
    "n_pairs",
    "store_pairs",
]
