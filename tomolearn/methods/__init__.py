"""Reconstruction methods: ``f(sinogram, operator) -> image``.

Each is a function for users and a value with settings, see `Method`; `METHODS` has the values by
name. No torch is loaded before a method is called.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
