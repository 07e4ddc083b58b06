"""Pairs (sinogram, image) as torch datasets."""

from tomolearn.data.noise import GaussianNoise, PhotonNoise
from tomolearn.data.phantoms import RandomEllipses, RandomThorax, SheppLogan
from tomolearn.data.simulated import SimulatedPairs
from tomolearn.data.stored import StoredPairs, store_pairs

__all__ = [
    "GaussianNoise",
    "PhotonNoise",
    "RandomEllipses",
    "RandomThorax",
    "SheppLogan",
    "SimulatedPairs",
    "StoredPairs",
    "store_pairs",
]
