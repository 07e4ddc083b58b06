from .server import ViewerServer as ViewerServer
from .stacks import (
    Comparison as Comparison,
    Stack as Stack,
    array_stack as array_stack,
    open_comparisons as open_comparisons,
    series_stack as series_stack,
)
