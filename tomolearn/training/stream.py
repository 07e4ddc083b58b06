"""The order in which a training sees its pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class StreamBatches(Sampler[list[int]]):
    """Endless batches of indices, from any step on and for any number of processes.

    Step `k` takes the positions ``k n ... (k + 1) n - 1`` of one stream, `n` being the pairs of
    all processes together, and each process its consecutive part of them. So a resumed run
    continues where it was, and two processes see what one with twice the batch would.

    The stream runs through all pairs of a data set of a `size` in a random order, then again in
    another; without a size it counts up, and has no end.
    """

    def __init__(
        self,
        batch_size: int,
        *,
        size: int | None = None,
        seed: int = 0,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch_size, self.size, self.seed = batch_size, size, seed
        self.first_step, self.rank, self.world_size = first_step, rank, world_size
        self._order: tuple[int, np.ndarray] | None = None

    def __iter__(self) -> Iterator[list[int]]:
        step = self.first_step
        while True:
            start = (step * self.world_size + self.rank) * self.batch_size
            yield [self._index(start + k) for k in range(self.batch_size)]
            step += 1

    def _index(self, position: int) -> int:
        if self.size is None:
            return position
        epoch, place = divmod(position, self.size)
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
            self._order = epoch, order
        return int(self._order[1][place])
