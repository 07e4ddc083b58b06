from .annotations import (
    CHARACTERISTICS as CHARACTERISTICS,
    Annotations as Annotations,
    Contour as Contour,
    Nodule as Nodule,
    NonNodule as NonNodule,
    read_annotations as read_annotations,
)
from .cache import (
    CacheReport as CacheReport,
    SliceSelection as SliceSelection,
    write_slices as write_slices,
)
from .download import (
    Download as Download,
    select_series as select_series,
)
from .index import (
    LIDCIndex as LIDCIndex,
    SeriesRecord as SeriesRecord,
    build_index as build_index,
)
from .masks import (
    Consensus as Consensus,
    SlicePositions as SlicePositions,
    cluster_nodules as cluster_nodules,
    consensus as consensus,
    outline_mask as outline_mask,
    slice_mask as slice_mask,
)
from .preparation import Preparation as Preparation
from .slices import LIDCSlices as LIDCSlices
from .splits import (
    FRACTIONS as FRACTIONS,
    SPLITS as SPLITS,
    PatientSplits as PatientSplits,
    read_patients as read_patients,
)
