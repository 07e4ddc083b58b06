from .comparison import compare as compare
from .metrics import METRICS as METRICS
from .results import Comparison as Comparison, Row as Row
