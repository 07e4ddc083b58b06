from .weights import load as load, save as save, shipped as shipped
