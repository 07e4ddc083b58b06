"""Learned computed tomography on exact, fast, differentiable ray transforms."""

import lazy_loader

from tomolearn._core.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
