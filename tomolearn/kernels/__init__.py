"""Compiled loops: the only room with numba."""
