"""The log of a run, put together from its parts."""

from __future__ import annotations

import os
from pathlib import Path

from tomolearn._core.errors import TomolearnError
from tomolearn._core.reading import parse_csv, read_text


def read_log(directory: str | os.PathLike[str], name: str = "loss") -> dict[int, float]:
    """Return a logged quantity, for example "loss" or "val_psnr", by step.

    A run that was resumed has one file per part; where a later part did a step again that was
    lost, because no checkpoint had it, the later one counts.
    """
    parts = sorted(
        Path(directory).glob("csv/part-*/metrics.csv"),
        key=lambda path: int(path.parent.name.removeprefix("part-")),
    )
    if not parts:
        raise FileNotFoundError(f"{directory}: there is no csv/part-*/metrics.csv")
    values: dict[int, float] = {}
    columns: set[str] = set()
    for part in parts:
        # the last line may be cut off where a run was killed
        complete, _, _ = read_text(part).rpartition("\n")
        names, *rows = parse_csv(part, complete.splitlines()) or [[]]
        for row in (dict(zip(names, one, strict=False)) for one in rows):
            columns |= set(row)
            if row.get(name):
                values[int(row["step"])] = float(row[name])
    if name not in columns:
        raise TomolearnError(f"name: expected one of {', '.join(sorted(columns))}, got {name!r}")
    return values
