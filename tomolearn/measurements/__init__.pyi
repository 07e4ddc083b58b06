from .measurement import Measurement as Measurement
from .preprocessing import Preprocessed as Preprocessed, preprocess as preprocess
from .report import MeasurementWarning as MeasurementWarning, PreprocessReport as PreprocessReport
