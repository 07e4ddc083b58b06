"""The version of the package, for files and reports."""

__all__ = ["__version__"]

__version__ = "0.1.0"
