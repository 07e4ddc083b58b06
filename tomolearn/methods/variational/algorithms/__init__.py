"""Algorithms of variational methods, each in its file; `table` has them by name."""
