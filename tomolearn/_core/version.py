"""The version of the package, for files and reports."""

__version__ = "0.1.0"
