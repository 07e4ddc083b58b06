"""Compound files of Microsoft, as [MS-CFB] describes them, for tests: olefile only reads them.

Version 3, sectors of 512 bytes. Storages are lists without balance, which readers must take.
"""

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

_SECTOR, _SMALL, _CUT_OFF = 512, 64, 4096
_FREE, _END, _TABLE, _NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF
_STORAGE, _STREAM, _ROOT = 1, 2, 5


class _Chain:
    """Sectors of one size, and of each which one follows."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sectors: list[bytes] = []
        self.following: list[int] = []

    def put(self, content: bytes) -> int:
        start = len(self.sectors)
        if not content:
            return _END
        for place in range(0, len(content), self.size):
            self.sectors.append(content[place : place + self.size].ljust(self.size, b"\0"))
            self.following.append(len(self.sectors))
        self.following[-1] = _END
        return start


def _numbers(values: Sequence[int]) -> bytes:
    """Return a table of sectors, filled up to whole ones."""
    filled = [*values, *[_FREE] * (-len(values) % (_SECTOR // 4))]
    return struct.pack(f"<{len(filled)}I", *filled)


def write_compound_file(path: Path, streams: Mapping[str, bytes]) -> None:
    """Write streams, by names such as ``ImageInfo/Angles``; none may be empty."""
    # entries of the directory: name, kind, content; children by the storage's number
    entries: list[tuple[str, int, bytes]] = [("Root Entry", _ROOT, b"")]
    children: dict[int, list[int]] = {0: []}
    folders: dict[str, int] = {}
    for name, content in streams.items():
        folder, _, last = name.rpartition("/")
        parent = 0
        if folder:
            if folder not in folders:
                folders[folder] = len(entries)
                children[0].append(len(entries))
                children[len(entries)] = []
                entries.append((folder, _STORAGE, b""))
            parent = folders[folder]
        children[parent].append(len(entries))
        entries.append((last, _STREAM, content))

    sectors, chain = _Chain(_SECTOR), _Chain(_SMALL)
    starts = [
        (chain if len(content) < _CUT_OFF else sectors).put(content) for _, _, content in entries
    ]
    # small streams lie one after the other in that of the root
    small = b"".join(chain.sectors)
    entries[0] = ("Root Entry", _ROOT, small)
    starts[0] = sectors.put(small)
    small_table = sectors.put(_numbers(chain.following))
    # siblings to the right, sorted as readers that search expect them: by length, then by name
    right, first = [_NONE] * len(entries), [_NONE] * len(entries)
    for parent, members in children.items():
        ordered = sorted(members, key=lambda k: (len(entries[k][0]), entries[k][0].upper()))
        for one, following in pairwise(ordered):
            right[one] = following
        first[parent] = ordered[0] if ordered else _NONE
    directory = b"".join(
        (name + "\0").encode("utf-16-le").ljust(64, b"\0")
        + struct.pack("<HBBIII", 2 * len(name) + 2, kind, 1, _NONE, right[k], first[k])
        + bytes(16 + 4 + 16)
        + struct.pack("<IQ", starts[k], len(content))
        for k, (name, kind, content) in enumerate(entries)
    )
    place = sectors.put(directory)
    # the table lists its own sectors as well
    following, count = sectors.following, 1
    while count * _SECTOR // 4 < len(following) + count:
        count += 1
    first_of_table = len(following)
    packed = _numbers([*following, *[_TABLE] * count])
    header = bytes.fromhex("D0CF11E0A1B11AE1") + bytes(16)
    header += struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    n_small = -(-len(chain.following) * 4 // _SECTOR)
    header += struct.pack("<9I", 0, count, place, 0, _CUT_OFF, small_table, n_small, _END, 0)
    listed = [*range(first_of_table, first_of_table + count)]
    header += struct.pack("<109I", *(listed + [_FREE] * (109 - len(listed))))
    path.write_bytes(header + b"".join(sectors.sectors) + packed)
