from .comparison import compare as compare
from .convergence import Trace as Trace, draw_traces as draw_traces, trace as trace
from .results import Comparison as Comparison, Row as Row
from .stability import Stability as Stability, stability as stability
from .weight_choice import WeightChoice as WeightChoice, choose_weight as choose_weight
