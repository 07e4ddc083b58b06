"""Steps of equal size in all directions of a convolution's weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

# Coefficients of the quintic iteration that takes all singular values near 1; chosen by its
# authors for speed: the values end in about [0.7, 1.2].
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# Root mean square of an entry of the step, in learning rates, as is usual of Adam's steps.
_RMS = 0.2

_Learned = tuple[torch.Tensor, torch.Tensor]  # a parameter and its gradient


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal [1]_, for convolutions.

    A kernel (out, in, rows, columns) is a matrix (out, in rows columns). Its momentum is replaced
    by the nearest matrix with orthonormal rows or columns, so that directions in which gradients
    are small are learned as fast as the others; that suits unrolled schemes, whose first
    iterations get small gradients. Steps have the size of Adam's at the same learning rate [2]_.
    Biases, slopes and whatever else is no kernel are learned by Adam, at `vector_lr` and `betas`;
    `momentum` is the decay of the kernels', after Nesterov.

    `torch.optim.Muon` takes matrices only, no kernels, and one after the other; here all kernels
    of one shape are made orthogonal at once.

    References
    ----------
    .. [1] K. Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024),
       https://kellerjordan.github.io/posts/muon
    .. [2] J. Liu et al., Muon is Scalable for LLM Training (2025), arXiv:2502.16982
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor],
        lr: float,
        *,
        vector_lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        parameters = list(parameters)
        kernels = [p for p in parameters if p.ndim >= 3]
        vectors = [p for p in parameters if p.ndim < 3]
        groups = [{"params": kernels, "lr": lr}, {"params": vectors, "lr": vector_lr}]
        settings = {
            "momentum": momentum,
            "betas": betas,
            "weight_decay": weight_decay,
            "eps": eps,
        }
        super().__init__([group for group in groups if group["params"]], settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            learned = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if learned and learned[0][0].ndim >= 3:
                self._step_kernels(learned, group)
            else:
                self._step_vectors(learned, group)
        return loss

    def _step_kernels(self, kernels: list[_Learned], group: dict[str, Any]) -> None:
        decay = group["momentum"]
        shapes: dict[tuple[int, ...], list[_Learned]] = {}
        for kernel, gradient in kernels:
            shapes.setdefault(tuple(kernel.shape), []).append((kernel, gradient))
        for shape, alike in shapes.items():
            directions = []
            for kernel, gradient in alike:
                state = self.state[kernel]
                if not state:
                    state["momentum"] = torch.zeros_like(kernel)
                state["momentum"].lerp_(gradient, 1 - decay)
                directions.append(torch.lerp(gradient, state["momentum"], decay).flatten(1))
            steps = orthogonal(torch.stack(directions))
            size = group["lr"] * _RMS * math.sqrt(max(steps.shape[1:]))
            for (kernel, _), step in zip(alike, steps, strict=True):
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.add_(step.reshape(shape), alpha=-size)

    def _step_vectors(self, vectors: list[_Learned], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        for vector, gradient in vectors:
            state = self.state[vector]
            if not state:
                state["step"] = 0
                state["mean"] = torch.zeros_like(vector)
                state["square"] = torch.zeros_like(vector)
            state["step"] += 1
            state["mean"].lerp_(gradient, 1 - first)
            state["square"].lerp_(gradient.square(), 1 - second)
            root = (state["square"] / (1 - second ** state["step"])).sqrt() + group["eps"]
            vector.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - first ** state["step"]))


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return nearly orthogonal matrices of the same singular vectors, (n, rows, columns)."""
    a, b, c = _QUINTIC
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    wide = wide / (torch.linalg.matrix_norm(wide, keepdim=True) + 1e-20)
    for _ in range(_ITERATIONS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    return wide if matrices.shape[1] <= matrices.shape[2] else wide.mT
