from .comparison import compare as compare
from .results import Comparison as Comparison, Row as Row
from .weight_choice import WeightChoice as WeightChoice, choose_weight as choose_weight
