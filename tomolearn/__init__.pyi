from . import (
    batch as batch,
    catalogue as catalogue,
    data as data,
    dicom as dicom,
    evaluation as evaluation,
    geometry as geometry,
    measurements as measurements,
    methods as methods,
    metrics as metrics,
    models as models,
    operators as operators,
    priors as priors,
    simulation as simulation,
    tasks as tasks,
    training as training,
    viewer as viewer,
)
from ._core.errors import (
    ConvergenceWarning as ConvergenceWarning,
    DivergenceError as DivergenceError,
    SkippedImagesWarning as SkippedImagesWarning,
    TomolearnError as TomolearnError,
    TrainedElsewhereWarning as TrainedElsewhereWarning,
    UnitWarning as UnitWarning,
    UnknownConvergenceWarning as UnknownConvergenceWarning,
)
from ._core.version import __version__ as __version__
from .catalogue import get_method as get_method
from .evaluation import choose_weight as choose_weight
from .geometry import (
    ConeBeam as ConeBeam,
    CoverageWarning as CoverageWarning,
    FanBeam as FanBeam,
    Grid as Grid,
    ParallelBeam as ParallelBeam,
    Views as Views,
    field_of_view as field_of_view,
    load_geometry as load_geometry,
    save_geometry as save_geometry,
)
from .measurements import calibrate as calibrate
from .methods import (
    Variational as Variational,
    cgls as cgls,
    dds as dds,
    diffpir as diffpir,
    dip as dip,
    dps as dps,
    fbp as fbp,
    generative as generative,
    kaczmarz as kaczmarz,
    landweber as landweber,
    mlem as mlem,
    pnp as pnp,
    sample_prior as sample_prior,
    sirt as sirt,
    tikhonov as tikhonov,
    total_variation as total_variation,
    tsvd as tsvd,
    variational as variational,
)
from .operators import (
    Diagonal as Diagonal,
    FiniteDifferences as FiniteDifferences,
    LinearOperator as LinearOperator,
    OperatorLayer as OperatorLayer,
    RayTransform as RayTransform,
)
from .simulation import Acquisition as Acquisition
from .training import adapt as adapt, load as load, save as save
