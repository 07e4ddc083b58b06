from .ensemble import Ensemble as Ensemble
from .from_weights import FromWeights as FromWeights, WeightsChangedError as WeightsChangedError
from .names import (
    get_clinical_method as get_clinical_method,
    get_method as get_method,
    method_kind as method_kind,
    method_names as method_names,
    methods_table as methods_table,
)
from .priors_table import (
    priors_table as priors_table,
    shipped_priors_commands as shipped_priors_commands,
    shipped_priors_table as shipped_priors_table,
)
from .trained import (
    Trained as Trained,
    TrainedElsewhereWarning as TrainedElsewhereWarning,
    TrainedHeteroscedastic as TrainedHeteroscedastic,
)
from .trained_prior import TrainedPrior as TrainedPrior
