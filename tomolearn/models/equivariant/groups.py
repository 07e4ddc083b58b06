"""Finite groups of rotations and reflections of the plane."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tomolearn._core.checks import check_choice, check_int, check_known
from tomolearn._core.errors import TomolearnError

GROUPS = ("C1", "C4", "D4", "C8")
"""Names of the groups: the trivial one, quarter turns without and with flips, turns by 45°."""
REPRESENTATIONS = ("trivial", "regular")
"""How a group acts on the channels of a field: not at all, or by permuting one per element."""


@dataclass(frozen=True)
class Group:
    """Group of rotations about a point, with or without reflections.

    The elements are numbered. Element `e` first mirrors, if `elements[e][1]`, left and right,
    and then turns counter-clockwise by `elements[e][0]` of `rotations` equal parts of a full
    turn. Element 0 is the identity.

    Parameters
    ----------
    name : str
        "C4", for example.
    rotations : int
        Number of rotations.
    reflections : bool
        Whether each rotation also comes with a reflection before it.
    """

    name: str
    rotations: int
    reflections: bool = False

    def __post_init__(self) -> None:
        check_int("rotations", self.rotations, minimum=1)
        if self.rotations > 2 and self.rotations % 4:
            raise TomolearnError(
                f"rotations: expected 1, 2 or a multiple of 4, got {self.rotations}"
            )

    @property
    def order(self) -> int:
        """Number of elements."""
        return self.rotations * (2 if self.reflections else 1)

    @property
    def elements(self) -> tuple[tuple[int, int], ...]:
        """Rotation, as the number of parts of a full turn, and reflection, 0 or 1, of each."""
        return tuple((e % self.rotations, e // self.rotations) for e in range(self.order))

    @property
    def table(self) -> tuple[tuple[int, ...], ...]:
        """Products: ``table[g][h]`` is the element that acts as h and then g do."""
        return tuple(
            tuple(
                self._index(r + (-s if flip else s), flip ^ mirror) for s, mirror in self.elements
            )
            for r, flip in self.elements
        )

    @property
    def inverses(self) -> tuple[int, ...]:
        """Inverse of each element."""
        return tuple(row.index(0) for row in self.table)

    @property
    def exact(self) -> bool:
        """Whether all elements map the pixels of an image to pixels."""
        return self.rotations in (1, 2, 4)

    def is_exact(self, element: int) -> bool:
        """Return whether one element maps the pixels of an image to pixels."""
        return 4 * self._element(element)[0] % self.rotations == 0

    def angle(self, element: int) -> float:
        """Return the angle by which an element turns, in degrees."""
        return 360.0 * self._element(element)[0] / self.rotations

    def act(
        self, element: int, images: torch.Tensor, representation: str = "trivial"
    ) -> torch.Tensor:
        """Apply one element to images, or to the fields of a layer.

        Parameters
        ----------
        element : int
            Number of the element.
        images : torch.Tensor, shape (..., rows, columns)
            For the regular representation (..., fields * order, rows, columns).
        representation : {"trivial", "regular"}
            Whether the element moves the pixels only, or permutes the channels of each field as
            well: ``result[h] = moved[g^-1 h]``.

        Returns
        -------
        torch.Tensor
            Rows and columns are exchanged after an odd number of quarter turns.

        Raises
        ------
        ValueError
            If there is no such element or representation, the element does not map pixels to
            pixels, or the channels are no whole fields.
        """
        turn, mirrored = self._element(element)
        check_choice("representation", representation, REPRESENTATIONS)
        if not self.is_exact(element):
            raise TomolearnError(
                f"element: expected a multiple of a quarter turn, got {self.angle(element):g} "
                f"degrees (element {element} of {self.name}), for which images are interpolated"
            )
        moved = images.flip(-1) if mirrored else images
        moved = torch.rot90(moved, 4 * turn // self.rotations, (-2, -1))
        if representation == "trivial":
            return moved
        return self.permute(element, moved)

    def permute(self, element: int, fields: torch.Tensor) -> torch.Tensor:
        """Permute the channels (..., fields * order, rows, columns) as one element does."""
        self._element(element)
        if fields.ndim < 3 or fields.shape[-3] % self.order:
            raise TomolearnError(
                f"fields: expected a multiple of {self.order} channels (..., channels, rows, "
                f"columns) for {self.name}, got shape {tuple(fields.shape)}"
            )
        sources = list(self.table[self.inverses[element]])
        return fields.unflatten(-3, (-1, self.order))[..., sources, :, :].flatten(-4, -3)

    def _index(self, rotation: int, mirrored: int) -> int:
        return mirrored * self.rotations + rotation % self.rotations

    def _element(self, element: int) -> tuple[int, int]:
        check_int("element", element, minimum=0)
        if element >= self.order:
            raise TomolearnError(f"element: expected one of 0..{self.order - 1}, got {element}")
        return self.elements[element]


_KNOWN = {
    "C1": Group("C1", 1),
    "C4": Group("C4", 4),
    "D4": Group("D4", 4, reflections=True),
    "C8": Group("C8", 8),
}


def get_group(name: str) -> Group:
    """Return the group of a name in `GROUPS`.

    Raises
    ------
    TypeError, ValueError
        If `name` is no string; if there is none of this name.
    """
    return _KNOWN[check_known("group", name, GROUPS)]
