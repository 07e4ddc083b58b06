"""Random streams of one simulated pair, one for the image and one for the noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Streams(NamedTuple):
    """Independent random generators of a simulated pair."""

    image: np.random.Generator  # for the phantom, or what is random about an image
    noise: np.random.Generator  # for the noise of its measurement


def independent_streams(seed: int, key: int) -> Streams:
    """Return the generators of a pair, which depend on two numbers alone, not negative.

    They are the data set's seed, and the pair's key in it: an index, or an identifier's digest.
    """
    image, noise = (np.random.default_rng((seed, key, purpose)) for purpose in range(2))
    return Streams(image, noise)
