from .lidc import LIDCSlices as LIDCSlices
from .lodopab import LoDoPaBPairs as LoDoPaBPairs
from .nodules import NoduleCrops as NoduleCrops
from .perforated_discs import PerforatedDiscs as PerforatedDiscs
from .phantoms import (
    LabelledSource as LabelledSource,
    RandomEllipses as RandomEllipses,
    RandomEllipsoids as RandomEllipsoids,
    RandomThorax as RandomThorax,
    SheppLogan as SheppLogan,
    ThoraxPatches as ThoraxPatches,
    ThoraxVolumes as ThoraxVolumes,
)
from .simulated import Pair as Pair, SimulatedPairs as SimulatedPairs, n_pairs as n_pairs
from .stored import StoredPairs as StoredPairs, store_pairs as store_pairs
from .volumes import read_volume as read_volume, write_volume as write_volume
