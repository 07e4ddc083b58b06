"""Random chests, of which axial CT slices in Hounsfield units can be drawn."""

from data_sim.thorax.anatomy import REGIONS, Thorax
from data_sim.thorax.nodules import Nodule
from data_sim.thorax.patients import random_thorax, random_thorax_regions, random_thorax_slice

__all__ = [
    "REGIONS",
    "Nodule",
    "Thorax",
    "random_thorax",
    "random_thorax_regions",
    "random_thorax_slice",
]
