"""All methods by name: those of the table, trained weights, and functions of a user.

Nothing here loads torch before a method is called.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
