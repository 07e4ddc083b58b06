"""Measured scans: counts, flat fields and dark fields, and what becomes of them before an image."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
