from .adaptation import (
    Adaptation as Adaptation,
    adapt as adapt,
    reuse_and_regularise as reuse_and_regularise,
)
from .others import LAYOUTS as LAYOUTS, read_published as read_published
from .weights import load as load, save as save, shipped as shipped
