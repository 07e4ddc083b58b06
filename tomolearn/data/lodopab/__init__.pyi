from .generation import make_lodopab as make_lodopab
from .pairs import (
    SAMPLES_PER_FILE as SAMPLES_PER_FILE,
    LoDoPaBPairs as LoDoPaBPairs,
)
from .recipe import (
    MU_AIR_PER_M as MU_AIR_PER_M,
    MU_MAX_PER_M as MU_MAX_PER_M,
    MU_WATER_PER_M as MU_WATER_PER_M,
    Recipe as Recipe,
)
from .samples import (
    Sample as Sample,
    SampleList as SampleList,
    read_series_list as read_series_list,
    select_samples as select_samples,
)
