"""Iterative methods for the least-squares misfit, regularised by stopping."""
