"""Images as lanes: the flipped and turned copies of a batch next to each other."""

from __future__ import annotations

import numpy as np

from tomolearn.kernels import layout
from tomolearn.kernels.lanes import aligned_empty, lane_dtype
from tomolearn.kernels.threads import run
from tomolearn.operators.backends.joseph.symmetry import placement

_FEW = 2  # images of which copies are summed by eights of pixels; for more it is slower (measured)


def lanes_of(batch: int) -> int:
    """Return how many lanes a batch of images has: the next power of two, the last ones empty."""
    return 1 << (batch - 1).bit_length()


class ImageLanes:
    """Memory for the lanes of a batch of images, and the ways into it and out of it.

    `elements` says per copy whether it is transposed, its rows and its columns flipped. `padding`
    columns of zeros are on both sides of each row of lanes; as many elements are in front of all,
    and a few behind. `lanes` has one vector per pixel, copy by copy and in each image by image; the
    lanes behind those, see `lanes_of`, are zeros.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        elements: np.ndarray,
        padding: int,
        batch: int,
        dtype: np.dtype,
        threads: int,
    ) -> None:
        # either none of the copies is transposed, or half of them, or (non-square) all
        rows, columns = shape[::-1] if elements[0, 0] else shape
        copies, items = len(elements), lanes_of(batch)
        self.shape, self.elements, self.padding, self.items = shape, elements, padding, items
        self.rows, self.columns, self.dtype = rows, columns, dtype
        length = rows * (columns + 2 * padding) + 4 * padding
        self.lanes = aligned_empty(length, lane_dtype(dtype, copies * items))
        self.flat = self.lanes.view(dtype).reshape(-1)
        self.flat[:] = 0
        self._transposed = bool(elements[:, 0].any())
        # blocks of eight pixels and eight lanes can be transposed in registers
        self._eights = copies * items % 8 == 0 and min(shape) >= 8
        pixels = items * rows * columns * (2 if self._transposed else 1)
        self._copies = np.zeros(pixels if self._eights else 0, dtype)
        item = lane_dtype(dtype, items)
        places = [placement(shape, tuple(element), padding) for element in elements]
        self._placements = np.array(places, np.int64)
        self._by_item = self.lanes.view(item)
        self._tile = aligned_empty(threads * layout.TILE_PIXELS, item)
        self._tile_values = self._tile.view(dtype).reshape(len(self._tile), -1)
        self._tile_values[:] = 0

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        kept = (self.lanes, self._copies, self._tile)
        return sum(array.nbytes for array in kept)

    def fill(self, images: np.ndarray, threads: int) -> None:
        """Copy images (batch, rows, columns) into the lanes."""
        if not self._eights:
            run(
                layout.expand,
                threads,
                images,
                self._placements,
                self._tile,
                self._tile_values,
                self._by_item,
            )
            return
        size = self.items * images[0].size
        straight, turned = self._copies[:size], self._copies[size:]
        straight[: images.size].reshape(images.shape)[:] = images
        if self._transposed:
            run(layout.turn, threads, straight, len(images), *self.shape, turned)
        run(
            layout.expand_eights,
            threads,
            self._copies,
            self.items,
            self.elements,
            self.rows,
            self.columns,
            self.padding,
            self.flat,
        )

    def sum_into(self, images: np.ndarray, threads: int, accumulate: bool) -> None:
        """Write the sum of all copies, turned back, to images or add it to them."""
        if self._eights and self.items <= _FEW:
            self._sum_eights_into(images, threads, accumulate)
            return
        run(
            layout.collapse,
            threads,
            self._by_item,
            self._placements,
            accumulate,
            self._tile,
            self._tile_values,
            images,
        )

    def _sum_eights_into(self, images: np.ndarray, threads: int, accumulate: bool) -> None:
        geometry = (self.items, self.elements, self.rows, self.columns, self.padding)
        run(layout.collapse_eights, threads, self.flat, *geometry, self._copies)
        size = self.items * images[0].size
        straight, turned = self._copies[:size], self._copies[size:]
        if not self.elements[:, 0].all():
            summed = straight[: images.size].reshape(images.shape)
            if accumulate:
                images += summed
            else:
                images[:] = summed
            accumulate = True
        if self._transposed:
            # the place of the straight sums is free now
            run(layout.turn, threads, turned, len(images), self.rows, self.columns, straight)
            summed = straight[: images.size].reshape(images.shape)
            if accumulate:
                images += summed
            else:
                images[:] = summed
