"""Actions of a group on square filters."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.models.equivariant.groups import Group


def filter_basis(group: Group, kernel_size: int) -> np.ndarray:
    """Return the filters that a layer combines, moved by each element of the group.

    Where all elements map pixels to pixels, there is one filter for each pixel. Where not, for
    turns by 45 degrees, these would leave the grid, and the filters are samples of functions that
    can be turned by any angle: real and imaginary parts of ``r^(m + 2 j) exp(i m φ)``, times the
    Gaussian ``exp(-r^2 / 2 σ^2)`` with σ^2 = 0.06 + 0.1 `kernel_size`. Their degree m + 2 j is at
    most ``(kernel_size + 1) / 2``:

    - 3x3: 6 filters. Two without direction, two each of angular frequencies 1 and 2. A ring of
      eight pixels cannot tell frequency 3 from a turn of frequency 1 in the other direction, and
      sees but one of the two filters of frequency 4. With this σ the Gaussian is nearly as
      16 : 4 : 1 on the three rings of pixels, which makes the Laplacian and the gradient among
      the filters isotropic to fourth order.
    - 5x5: 10 filters, up to frequency 3: richer, and turned as well as those of 3x3.
    - 7x7: 15 filters, up to frequency 4, turned better.

    Parameters
    ----------
    group : Group
        The group.
    kernel_size : int
        Rows and columns of a filter, an odd number.

    Returns
    -------
    numpy.ndarray, shape (group.order, kernel_size**2, filters)
        Entry [e, :, j] is filter j after element e, row by row. Quarter turns and flips permute
        the entries, and are exact.

    Raises
    ------
    TypeError, ValueError
        If `kernel_size` is no integer; if it is even or not positive.
    """
    return _filter_basis(group, check_kernel_size(kernel_size)).copy()


def filter_action(group: Group, kernel_size: int) -> np.ndarray:
    """Return the matrices M_g that move a filter, written row by row, as each element does.

    They are permutations where the elements map pixels to pixels. Otherwise they are those of a
    change to the basis B of `filter_basis`, ``M_g = B R(g) B^+`` with rotations R(g), so that
    M_g M_h = M_gh holds exactly; M_e is then the projection onto the filters that can be turned.

    Returns
    -------
    numpy.ndarray, shape (group.order, kernel_size**2, kernel_size**2)
        One matrix per element.
    """
    moved = filter_basis(group, kernel_size)
    return moved @ np.linalg.pinv(moved[0])


def check_kernel_size(kernel_size: int) -> int:
    """Return an odd positive int, or raise a TypeError or ValueError."""
    kernel_size = check_int("kernel_size", kernel_size, minimum=1)
    if kernel_size % 2 == 0:
        raise TomolearnError(f"kernel_size: expected an odd number, got {kernel_size}")
    return kernel_size


@functools.lru_cache
def _filter_basis(group: Group, size: int) -> np.ndarray:
    moved = []
    for e, (turn, mirrored) in enumerate(group.elements):
        if group.exact:
            filters, exact = np.eye(size**2), e
        else:
            # What the quarter turns leave to be done is sampled, the quarter turns permute, so
            # that they are exact in all precisions.
            rest = turn % (group.rotations // 4)
            filters = _harmonics(size, (-1) ** mirrored * 2 * math.pi * rest / group.rotations)
            exact = mirrored * group.rotations + turn - rest
        images = torch.from_numpy(filters.T.reshape(-1, size, size))
        moved.append(group.act(exact, images).reshape(-1, size**2).T.numpy())
    return np.stack(moved)


def _harmonics(size: int, angle: float) -> np.ndarray:
    """Sample the filters (size**2, filters), turned counter-clockwise."""
    reach = size // 2
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # rows count downwards
    z = (columns - 1j * rows).ravel()
    squared = np.abs(z) ** 2
    window = np.exp(-squared / (2 * (0.06 + 0.1 * size)))
    degree = (size + 1) // 2 if size > 1 else 0
    parts = []
    for m in range(degree + 1):
        profiles = np.stack([squared**j for j in range((degree - m) // 2 + 1)], 1)
        filters = (window * z**m)[:, None] * profiles
        # the same change of basis for real and imaginary parts: it must commute with rotations
        gram = (filters.conj().T @ filters).real / (2 if m else 1)
        filters = filters @ np.linalg.inv(np.linalg.cholesky(gram)).T
        filters = filters * np.exp(-1j * m * angle)
        parts += [filters.real, filters.imag] if m else [filters.real]
    return np.concatenate(parts, 1)
