"""Random streams of one simulated pair, one for the image and one for the noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Streams(NamedTuple):
    """Independent random generators of a simulated pair.

    Attributes
    ----------
    image : numpy.random.Generator
        For the phantom, or what is random about an image.
    noise : numpy.random.Generator
        For the noise of its measurement.
    """

    image: np.random.Generator
    noise: np.random.Generator


def independent_streams(seed: int, key: int) -> Streams:
    """Return the generators of a pair, which depend on its seed and key alone.

    Parameters
    ----------
    seed : int
        Of the data set; not negative.
    key : int
        Of the pair within it: an index, or a digest of an identifier. Not negative.
    """
    image, noise = (np.random.default_rng((seed, key, purpose)) for purpose in range(2))
    return Streams(image, noise)
