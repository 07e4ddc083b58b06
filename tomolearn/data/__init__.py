"""Pairs (sinogram, image) as torch datasets."""

from tomolearn.data.noise import GaussianNoise
from tomolearn.data.phantoms import RandomEllipses, SheppLogan
from tomolearn.data.simulated import SimulatedPairs
from tomolearn.data.stored import StoredPairs, store_pairs

__all__ = [
    "GaussianNoise",
    "RandomEllipses",
    "SheppLogan",
    "SimulatedPairs",
    "StoredPairs",
    "store_pairs",
]
