from .comparison import Comparison as Comparison, Row as Row, compare as compare
from .methods import TrainedElsewhereWarning as TrainedElsewhereWarning
