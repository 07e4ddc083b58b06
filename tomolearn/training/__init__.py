"""Training and weights. Importing this loads no Lightning; its modules wait for their use."""

from tomolearn.training.weights import load, save, shipped

__all__ = ["load", "save", "shipped"]
