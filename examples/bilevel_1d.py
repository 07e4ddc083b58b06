"""Bilevel learning of the weight of total variation: how much accuracy does it need?

The test problem of M. J. Ehrhardt, L. Roberts, "Inexact derivative-free optimization for bilevel
learning", J. Math. Imaging Vis. 63 (2021), arXiv:2006.12674: ten boxes of 256 pixels with noise are
denoised by smoothed total variation, and the weight alpha is sought for which the squared errors
are the smallest. At log10 alpha = -0.315 their sum is 1.3715.

An algorithm that solves the lower level as accurately as the moment needs does a fraction of the
work of one that always solves it accurately. One that always takes 200 iterations is wrong: the
denoised boxes are not those of the model, its best alpha is another one, and the exact value there
is larger.

    python bilevel_1d.py [STARTS]     # of ten first values of alpha, by default all
"""

import sys
from collections.abc import Callable
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch

from tomolearn.numerics.bilevel import (
    BilevelProblem,
    BilevelResult,
    Evaluator,
    SmoothedVariation,
    derivative_free,
    dfo_ls,
    hoag,
    lbfgsb,
    maid,
)
from tomolearn.operators import Identity, LinearOperator

BOXES, PIXELS, NOISE = 10, 256, 0.1
BOUNDS = [(-7.0, 7.0)]
GOAL = 1.3720
STARTS = np.linspace(-2.0, 2.0, 10)
ALGORITHMS: dict[str, Callable[..., BilevelResult]] = {
    "L-BFGS-B, accuracy 1e-8": lbfgsb,
    "HOAG": hoag,
    "MAID": maid,
    "trust region, dynamic": derivative_free,
    "trust region, accuracy 1e-6": partial(derivative_free, accuracy=1e-6),
    "trust region, 2000 steps": partial(derivative_free, iterations=2000),
    "trust region, 200 steps": partial(derivative_free, iterations=200),
    "DFO-LS, 2000 steps": partial(dfo_ls, iterations=2000, max_evaluations=20),
}


class DifferencesFromZero(LinearOperator):
    """Differences of each pixel and the one before it; before the first one there is a zero."""

    def __init__(self, pixels: int) -> None:
        super().__init__((pixels,), (1, pixels))

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return torch.diff(x, dim=1, prepend=x.new_zeros(len(x), 1))[:, None]

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return -torch.diff(y[:, 0], dim=1, append=y.new_zeros(len(y), 1))


def boxes() -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy boxes and the boxes, with the random numbers of the paper."""
    rng = np.random.RandomState(0)
    place = np.linspace(-2.0, 2.0, PIXELS)
    truths = []
    for _ in range(BOXES):
        centre, radius = rng.uniform(-1.0, 1.0), rng.uniform(-0.5, -1.0)
        truths.append(((place - centre) ** 2 < radius**2).astype(float))
    noisy = [truth + NOISE * rng.standard_normal(PIXELS) for truth in truths]
    return torch.from_numpy(np.stack(noisy)), torch.from_numpy(np.stack(truths))


def problem() -> BilevelProblem:
    """Return the test problem with one parameter, log10 alpha."""
    lower = SmoothedVariation(
        Identity((PIXELS,)),
        free=("alpha",),
        nu=1e-3,
        xi=1e-3,
        differences=DifferencesFromZero(PIXELS),
    )
    return BilevelProblem(lower, *boxes())


def main() -> None:
    # number of starts, and words of the algorithms that are to run; all take long
    count = int(sys.argv[1]) if len(sys.argv) > 1 else len(STARTS)
    words = sys.argv[2:] or [""]
    learning = problem()
    exact = Evaluator(learning, [0.0], BOUNDS)
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    print(
        f"{'':28} log10 alpha   f found   f exactly   work until f <= {GOAL}   in all   "
        f"(means of {count} starts; work: iterations and products with Hessians, all boxes)"
    )
    for name, algorithm in ALGORITHMS.items():
        if not any(word in name for word in words):
            continue
        results = [algorithm(learning, [start], bounds=BOUNDS) for start in STARTS[:count]]
        alphas = [float(result.theta[0]) for result in results]
        values = [exact.evaluate(result.theta, tolerance=1e-8).value for result in results]
        until = [result.work_until(GOAL) for result in results]
        reached = [work for work in until if work is not None]
        middle = int(np.argsort(values)[len(values) // 2])
        print(
            f"{name:28} {np.mean(alphas):11.4f} {np.mean([r.value for r in results]):9.4f} "
            f"{np.mean(values):11.4f} "
            + (
                f"{np.mean(reached):12,.0f} ({len(reached)} of {count})"
                if reached
                else f"{'never':>22}"
            )
            + f" {np.mean([r.inner_iterations + r.linear_iterations for r in results]):12,.0f}",
            flush=True,
        )
        result = results[middle]
        best = np.minimum.accumulate([evaluation.upper for evaluation in result.history])
        axis.step(result.work, best, where="post", label=name)
    axis.axhline(1.3715, color="black", linewidth=0.5)
    axis.set(
        xscale="log",
        yscale="log",
        ylim=(1.2, 30),
        xlabel="iterations of the lower level and products with its Hessian",
        ylabel="smallest certified value",
    )
    axis.legend()
    figure.savefig("bilevel_1d.png", dpi=100)


if __name__ == "__main__":
    main()
