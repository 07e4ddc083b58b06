from .calibration.calibrate import Calibration as Calibration, calibrate as calibrate
from .calibration.figure import draw_calibration as draw_calibration
from .hardening import (
    HardeningCorrection as HardeningCorrection,
    HardeningCurve as HardeningCurve,
    correct_hardening as correct_hardening,
)
from .helix import (
    SHIFT_READINGS as SHIFT_READINGS,
    HelicalProjections as HelicalProjections,
    reconstruct_helix as reconstruct_helix,
    shift_inconsistency as shift_inconsistency,
)
from .measurement import Measurement as Measurement
from .prepared import Prepared as Prepared, default_grid as default_grid, prepare as prepare
from .preprocessing import Preprocessed as Preprocessed, preprocess as preprocess
from .readers.table import READERS as READERS, read as read
from .report import MeasurementWarning as MeasurementWarning, PreprocessReport as PreprocessReport
from .rings import RingOffsets as RingOffsets, remove_stripes as remove_stripes
