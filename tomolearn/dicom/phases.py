"""Division of a series by time, energy, kernel and acquisition into stacks of slices.

A dimension divides a series if slices that differ in it lie in one place, or between each other. So
a scan of table positions one after the other, each with an AcquisitionNumber of its own, is one
stack, and two acquisitions of the same part of the body are two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tomolearn.dicom.dimensions import AXIS_KEYWORDS, Axis, Value, axis_of
from tomolearn.dicom.elements import tag_name
from tomolearn.dicom.slices import SliceInfo

Placed = tuple[int, SliceInfo]
"""A slice, and the number of its place along the normal."""

_MOST_VALUES: Final = 6  # that a finding names


@dataclass(frozen=True)
class Division:
    """Stacks of a series, and what tells them apart.

    Parameters
    ----------
    stacks : tuple of tuple of SliceInfo
        In the order of their dimensions; each in the order of places.
    by : mapping of str to tuple
        Elements and other properties by which they were divided, with the values found.
    """

    stacks: tuple[tuple[SliceInfo, ...], ...]
    by: Mapping[str, tuple[Value, ...]]

    @property
    def axes(self) -> dict[Axis, str]:
        """Kinds of dimensions by which stacks differ, with a sentence on their values."""
        sizes = sorted({len(stack) for stack in self.stacks})
        slices = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        found: dict[Axis, list[str]] = {}
        for name, values in self.by.items():
            axis = Axis.PHASE if name in _ORDERS else axis_of(name)
            found.setdefault(axis, []).append(_said(name, values))
        stacks = f"{len(self.stacks)} stacks of {slices} slices in one place differ"
        return {axis: f"{stacks} in {' and '.join(said)}." for axis, said in found.items()}


def divided(placed: Sequence[Placed]) -> Division:
    """Return the stacks of slices, which are in the order of their places."""
    by: dict[str, dict[Value, None]] = {}
    stacks = _divided(placed, 0, by)
    return Division(
        tuple(tuple(one for _, one in stack) for stack in stacks),
        {name: tuple(values) for name, values in by.items()},
    )


def values_of(slices: Iterable[SliceInfo], keywords: tuple[str, ...]) -> list[Value]:
    """Return the different values of one dimension, in order; none where a slice has none."""
    found = {_value(one, keywords) for one in slices}
    return sorted((value for value in found if value is not None), key=_order)


def _divided(
    placed: Sequence[Placed], level: int, by: dict[str, dict[Value, None]]
) -> list[list[Placed]]:
    """Divide slices by all dimensions from one level on, and note by which it was."""
    for place, keywords in enumerate(AXIS_KEYWORDS[level:], start=level):
        parts = _parts(placed, keywords)
        if len(parts) > 1:
            values = by.setdefault(_keyword(placed, keywords), {})
            values.update(dict.fromkeys(values_of((one for _, one in placed), keywords)))
            return [stack for part in parts for stack in _divided(part, place + 1, by)]
    return _in_order(placed, by)


def _parts(placed: Sequence[Placed], keywords: tuple[str, ...]) -> list[list[Placed]]:
    """Divide slices by the values of one dimension, as far as these cover the same places."""
    alike: dict[Value | None, list[Placed]] = {}
    for one in placed:
        alike.setdefault(_value(one[1], keywords), []).append(one)
    if len(alike) == 1:
        return [list(placed)]
    parts: list[_Part] = []
    n_extended = 0
    for value in sorted(alike, key=_order):
        group = _Part(alike[value], {place for place, _ in alike[value]}, [])
        if len(group.places) > 1:
            group.ranges.append((min(group.places), max(group.places)))
            n_extended += len(group.slices)
        free = next((part for part in parts if not _overlap(part, group)), None)
        if free is None:
            parts.append(group)
        else:
            free.slices.extend(group.slices)
            free.places.update(group.places)
            free.ranges.extend(group.ranges)
    # values that hardly any two slices share, such as a time, are only an order in each place
    if 2 * n_extended < len(placed) and len(parts) != _most_in_one_place(placed):
        return [list(placed)]
    return [sorted(part.slices, key=_place) for part in parts]


class _Part(NamedTuple):
    """Slices with values that do not overlap: their places, and from where to where each is."""

    slices: list[Placed]
    places: set[int]
    ranges: list[tuple[int, int]]


def _overlap(part: _Part, group: _Part) -> bool:
    """Return whether slices lie in places of a part, or between them and the part between them."""
    return not part.places.isdisjoint(group.places) or any(
        start < last and first < end for start, end in part.ranges for first, last in group.ranges
    )


def _in_order(placed: Sequence[Placed], by: dict[str, dict[Value, None]]) -> list[list[Placed]]:
    """Divide slices of which several lie in each place, by time, number, identifier or file.

    A stack ends where a place comes again. Where the order goes through all stacks at one place
    after the other, the first of each place are the first stack.
    """
    most = _most_in_one_place(placed)
    counts = Counter(place for place, _ in placed)
    full = sum(count == most for count in counts.values())
    if most == 1 or 2 * full < len(counts):
        return [sorted(placed, key=_place)]
    for name, key in _ORDERS.items():
        keys = [key(one) for _, one in placed]
        if None in keys:
            continue
        stacks = _runs(placed, key)
        if len(stacks) != most:
            stacks = _ranks(placed, key)
        if len(stacks) == most:
            by.setdefault(name, {})
            return [sorted(stack, key=_place) for stack in stacks]
    return [sorted(placed, key=_place)]


def _runs(placed: Sequence[Placed], key: Callable[[SliceInfo], Any]) -> list[list[Placed]]:
    """Divide slices where a place comes again in their order; not at all if it is none."""
    stacks: list[list[Placed]] = [[]]
    seen: dict[int, Any] = {}
    for place, one in sorted(placed, key=lambda item: (key(item[1]), item[0])):
        if place in seen:
            if seen[place] == key(one):
                return []
            stacks.append([])
            seen = {}
        seen[place] = key(one)
        stacks[-1].append((place, one))
    return stacks


def _ranks(placed: Sequence[Placed], key: Callable[[SliceInfo], Any]) -> list[list[Placed]]:
    """Divide slices by their order in each place, if all places have as many, in an order."""
    columns: dict[int, list[Placed]] = {}
    for one in placed:
        columns.setdefault(one[0], []).append(one)
    keys = {place: {key(one) for _, one in column} for place, column in columns.items()}
    depths = {len(column) for column in columns.values()}
    if len(depths) > 1 or any(len(keys[place]) < len(columns[place]) for place in columns):
        return []
    ordered = [sorted(column, key=lambda item: key(item[1])) for column in columns.values()]
    return [list(rank) for rank in zip(*ordered, strict=True)]


def _numeric(uid: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else -1 for part in uid.split("."))


# What puts images in an order that are alike otherwise, the best evidence first.
_ORDERS: Final[Mapping[str, Callable[[SliceInfo], Hashable | None]]] = {
    "time of acquisition": lambda one: one.dimensions.acquired or None,
    "InstanceNumber": lambda one: one.instance_number,
    "time of content": lambda one: one.dimensions.made or None,
    "frame": lambda one: one.frame,
    "folder and name": lambda one: (one.path.parent, one.path.name),
}


def _most_in_one_place(placed: Sequence[Placed]) -> int:
    return max(Counter(place for place, _ in placed).values())


def _place(item: Placed) -> tuple[int, float, int, tuple[int, ...]]:
    place, one = item
    number = float("inf") if one.instance_number is None else one.instance_number
    frame = -1 if one.frame is None else one.frame
    return place, number, frame, _numeric(one.sop_instance_uid)


def _value(one: SliceInfo, keywords: tuple[str, ...]) -> Value | None:
    return next((value for key, value in one.dimensions.values if key in keywords), None)


def _keyword(placed: Sequence[Placed], keywords: tuple[str, ...]) -> str:
    stated = {key for _, one in placed for key, _ in one.dimensions.values}
    return next(keyword for keyword in keywords if keyword in stated)


def _order(value: Value | None) -> tuple[bool, bool, Any]:
    return value is None, isinstance(value, str), 0 if value is None else value


def _said(name: str, values: tuple[Value, ...]) -> str:
    shown = [value if isinstance(value, str) else f"{value:g}" for value in values]
    rest = ", ..." if len(shown) > _MOST_VALUES else ""
    if name in _ORDERS:
        return f"nothing but {tag_name(name) if name == 'InstanceNumber' else name}"
    return f"{tag_name(name)}: {', '.join(shown[:_MOST_VALUES])}{rest}"
