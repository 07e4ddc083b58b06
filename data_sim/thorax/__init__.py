"""Random chests, of which axial CT slices in Hounsfield units can be drawn."""

from data_sim.thorax.anatomy import Thorax
from data_sim.thorax.nodules import Nodule
from data_sim.thorax.patients import random_thorax, random_thorax_slice

__all__ = ["Nodule", "Thorax", "random_thorax", "random_thorax_slice"]
