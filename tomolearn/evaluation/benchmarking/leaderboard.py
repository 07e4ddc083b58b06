"""Leaderboard: one JSON file per task, and the tables of documents that are made of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import write_bytes
from tomolearn._core.reading import read_json
from tomolearn.evaluation.benchmarking import text
from tomolearn.evaluation.benchmarking.run import FORMAT, BenchmarkResults

_LONG = ("trace", "seconds", "skipped")


def write_entry(results: BenchmarkResults, folder: str | os.PathLike[str], command: str) -> Path:
    """Write ``TASK.json`` of a leaderboard: the results without what only a report shows.

    Parameters
    ----------
    results : BenchmarkResults
        What was measured.
    folder : path-like
        The leaderboard's folder.
    command : str
        The command that measured it.
    """
    rows = []
    for row in results.values["rows"]:
        kept = {key: value for key, value in row.items() if key not in _LONG}
        if "mtf" in (kept.get("physics") or {}):
            kept["physics"] = _without_curves(kept["physics"])
        rows.append(kept)
    values = {"command": command} | results.values | {"rows": rows}
    path = Path(folder) / f"{values['task']['name']}.json"
    content = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    write_bytes(path, content.encode())
    return path


def _without_curves(physics: Mapping[str, Any]) -> dict[str, Any]:
    curves = ("frequencies", "power", "values")
    found = dict(physics)
    found["mtf"] = physics["mtf"] | {"nyquist": physics["mtf"]["frequencies"][-1]}
    for name in ("nps", "mtf"):
        if found[name] is not None:
            found[name] = {key: one for key, one in found[name].items() if key not in curves}
    return found


def entries(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the entries of a leaderboard, by the names of their tasks.

    Raises
    ------
    ValueError
        If a file is none that `write_entry` writes.
    """
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        values = read_json(path)
        if not isinstance(values, dict) or values.get("format") != FORMAT or "rows" not in values:
            raise TomolearnError(
                f"{path}: expected results of `tomolearn benchmark` in format {FORMAT}"
            )
        found.append(values)
    return found


def leaderboard(folder: str | os.PathLike[str]) -> str:
    """Return all entries in Markdown: a heading, a table, the command and the machine of each."""
    parts = []
    for values in entries(folder):
        task = values["task"]
        parts += [
            f"### {task['name']}\n",
            f"{task['description']}. After {task['reference']}.\n",
            text.markdown(text.main_table(values)),
        ]
        physics = text.physics_table(values)
        parts += [] if physics is None else [text.markdown(physics)]
        sources = sorted({one["source"] for one in values["published"]})
        parts.append(
            f"`{values['command']}`. {text.note(values)} "
            + (f"Published: {'; '.join(sources)}. " if sources else "")
            + text.environment(values)
            + "\n"
        )
    return "\n".join(parts)


def short_table(folder: str | os.PathLike[str], task: str) -> str:
    """Return the scores of a task in Markdown beside published ones, without costs.

    Raises
    ------
    ValueError
        If the leaderboard has no such task.
    """
    for values in entries(folder):
        if values["task"]["name"] == task:
            heads, rows = text.main_table(values)
            left_out = ("ms", "MiB", "to the best, 95 %")
            kept = [n for n, head in enumerate(heads) if head not in left_out]
            table = ([heads[n] for n in kept], [[row[n] for n in kept] for row in rows])
            return text.markdown(table)
    raise TomolearnError(f"task: expected one of the leaderboard in {folder}, got {task!r}")
