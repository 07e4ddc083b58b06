"""LoDoPaB-CT: its files as pairs, and the generation of such files from LIDC-IDRI."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
