"""LoDoPaB-CT: its files as pairs, and the generation of such files from LIDC-IDRI."""

from tomolearn.data.lodopab.generation import make_lodopab
from tomolearn.data.lodopab.pairs import SAMPLES_PER_FILE, LoDoPaBPairs
from tomolearn.data.lodopab.recipe import MU_AIR_PER_M, MU_MAX_PER_M, MU_WATER_PER_M, Recipe
from tomolearn.data.lodopab.samples import Sample, SampleList, read_series_list, select_samples

__all__ = [
    "MU_AIR_PER_M",
    "MU_MAX_PER_M",
    "MU_WATER_PER_M",
    "SAMPLES_PER_FILE",
    "LoDoPaBPairs",
    "Recipe",
    "Sample",
    "SampleList",
    "make_lodopab",
    "read_series_list",
    "select_samples",
]
