"""Learned computed tomography on exact, fast, differentiable ray transforms.

An argument of another kind or range than documented raises `TomolearnError`, which is a ValueError,
and a TypeError too where the type is wrong. The message names argument, what is expected and what
came. Docstrings tell what else is raised.
"""

import lazy_loader

from tomolearn._core.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
