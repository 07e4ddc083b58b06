"""The compiled steps of total variation, for plane images on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tomolearn.kernels import variation as kernels
from tomolearn.kernels.lanes import BLOCK
from tomolearn.kernels.threads import run
from tomolearn.methods.variational.tv_steps import VariationSteps

_SMALL_WORK = 2**19  # pixels of the batch below which starting threads does not pay


class CompiledVariationSteps(VariationSteps):
    """As `VariationSteps`, the same arithmetic in three passes over memory.

    `slope` and `projection` are not overwritten.
    """

    def __init__(self, x: torch.Tensor, y: torch.Tensor, *arguments: Any, **named: Any) -> None:
        super().__init__(x, y, *arguments, **named)
        rows, columns = x.shape[1:]
        number = self._dtype = x.numpy().dtype
        # kernels get scalars in the images' precision, or they would compute in double
        beyond, weight, least = (
            number.type(value)
            for value in (self.relaxation - 1, self.weight, 0.0 if self.nonnegative else -np.inf)
        )
        self._threads = torch.get_num_threads() if x.numel() >= _SMALL_WORK else 1
        primal, data, shrink, gradient = (
            self._flat(steps)
            for steps in (self.primal_step, self.data_step, self.data_shrink, self.gradient_step)
        )
        inner = (np.arange(columns + BLOCK) + 1) % columns != 0
        across = gradient[:, None] * inner.astype(number)
        image, ahead, relaxed = self._flat(self.image), self._ahead.numpy(), self._flat(x)
        q, q_new = self._q.numpy(), self._q_new.numpy()
        sizes = (rows, columns)
        self._image = (relaxed, image, ahead, *q, *sizes, primal, least, beyond)
        self._gradient = (ahead, *q, *q_new, *sizes, gradient, across, weight, beyond)
        duals = (self._flat(tensor) for tensor in (y, self.p, self.p_new))
        self._data = (*duals, data, shrink, beyond)

    def _allocate(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # the kernels look at the pixel after the last one, and at the row before the first
        size, columns = self.x.numel(), self.x.shape[2]
        self._ahead = self.x.new_zeros(size + 1)
        self._q, self._q_new = self.x.new_zeros((2, 2, columns + size))
        ahead = self._ahead[:size].view(self.x.shape)
        q, q_new = (q[:, columns:].unflatten(1, self.x.shape) for q in (self._q, self._q_new))
        return ahead, q, q_new

    def _flat(self, tensor: torch.Tensor) -> np.ndarray:
        """Return a tensor's memory; a copy if its precision or order is not that of the images."""
        return np.ascontiguousarray(tensor.numpy(), self._dtype).reshape(-1)

    def image_step(self, slope: torch.Tensor) -> None:
        """Descend along ``slope + D.T q``."""
        run(kernels.image_step, self._threads, self._flat(slope), *self._image)

    def data_dual_step(self, projection: torch.Tensor) -> None:
        """Ascend along ``projection - y``."""
        run(kernels.data_step, self._threads, self._flat(projection), *self._data)

    def gradient_dual_step(self) -> None:
        """Ascend along the differences of `ahead`, within the ball of radius `weight`."""
        if self.weight > 0:
            run(kernels.gradient_step, self._threads, *self._gradient)
