from .comparison import compare as compare
from .results import Comparison as Comparison, Row as Row
