"""Joseph's projection on CPUs, compiled by numba. The package's own fast backend."""

from tomolearn.operators.backends.joseph.backend import JosephBackend

__all__ = ["JosephBackend"]
