"""A small reconstruction problem with a known matrix, and regularisers that say little."""

import numpy as np
import torch
from builders import DenseOperator, matrix_of

import tomolearn as tl
from tomolearn.priors import Regulariser

SHAPE = (6, 5)
# Algorithms of smooth priors.
SMOOTH = ("fista", "nmapg", "lbfgs", "chambolle-pock", "admm", "condat-vu")
DIFFERENCES = matrix_of(tl.FiniteDifferences(SHAPE), SHAPE, torch.float64)


def small_matrix(rows, columns):
    """A matrix that is not negative and not too badly conditioned, so that few iterations do."""
    noise = np.random.default_rng(1).uniform(0, 0.15, (rows, columns))
    return np.eye(rows, columns) + np.eye(rows, columns, columns - rows) + noise


class Quartic(Regulariser):
    """A smooth convex function that says nothing of itself but its convexity."""

    def __init__(self, *, convex: bool = True) -> None:
        super().__init__({"convex": convex})
        self.convex = convex

    @property
    def convexity(self):
        return 0.0 if self.convex else None

    def value(self, image):
        return image.pow(4).sum((-2, -1)) / 4

    def gradient(self, image):
        return image.pow(3)


class Magnitudes(Regulariser):
    """The sum of absolute values, by its proximal map."""

    def __init__(self) -> None:
        super().__init__({})

    @property
    def convexity(self):
        return 0.0

    def value(self, image):
        return image.abs().sum((-2, -1))

    def proximal(self, image, step):
        t = self._per_image("step", step, image)
        return image.sign() * (image.abs() - t).clamp(min=0)


def small_operator():
    return DenseOperator(small_matrix(24, 30), SHAPE, (4, 6))


def noisy_data(operator, rng):
    x = torch.rand(3, *SHAPE, generator=rng, dtype=torch.float64)
    y = operator(x) + 0.1 * torch.randn(3, 4, 6, generator=rng, dtype=torch.float64)
    # of very different size: a step length common to all would show
    return y * torch.tensor([1.0, 30.0, 0.1], dtype=torch.float64)[:, None, None]


def distance(x, exact):
    return float(((x - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).max())
