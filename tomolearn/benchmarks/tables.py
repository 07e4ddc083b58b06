"""Tables of documents, of JSON files of `tomolearn bench --out` and of what commands printed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from tomolearn._core.errors import TomolearnError
from tomolearn._core.reading import read_json
from tomolearn.evaluation.benchmarking.text import environment, markdown

_NAMES = {
    "joseph": "`joseph`",
    "astra": "ASTRA",
    "odl": "ODL",
    "rtk": "RTK",
    "leap": "LEAP",
    "fdk": "FDK",
}


def speed_table(path: str | os.PathLike[str]) -> str:
    """Return the figures of a file in Markdown: a column for each contender.

    In brackets is how many times as good as the reference one was. Below stand the command that
    measured them, the machine with its load when it began, and the versions of what was measured
    beside our own.

    Raises
    ------
    ValueError
        If the file is none of `tomolearn bench`.
    """
    values = read_json(path)
    if not isinstance(values, dict) or not {"command", "machine", "timings"} <= values.keys():
        raise TomolearnError(f"{path}: expected figures of `tomolearn bench --out`")
    timings = values["timings"]
    contenders = list(dict.fromkeys(one["contender"] for one in timings))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in timings:
        key = (one["case"], one["batch"], one["what"], one["unit"])
        found.setdefault(key, {})[one["contender"]] = one
    heads = ["scan", "batch", "what", "", *(_NAMES.get(one, one) for one in contenders)]
    rows = [
        [case, str(batch), _NAMES.get(what, what), unit, *(_figure(by.get(c)) for c in contenders)]
        for (case, batch, what, unit), by in found.items()
    ]
    table = markdown((heads, rows), left=(0, 2, 3))
    others = [f"{_NAMES.get(name, name)} {one}" for name, one in values.get("rivals", {}).items()]
    beside = f" Beside it {', '.join(others)}." if others else ""
    load = values["machine"]["load"]
    busy = "" if load is None else f"Load when it began: {load:g}. "
    return f"{table}\n`{values['command']}`. {busy}{environment(values)}{beside}\n"


def output_block(path: str | os.PathLike[str]) -> str:
    """Return a command and what it printed in Markdown, of a file of `docs/record.py`.

    Lines of tables in Markdown stay tables, others are shown as they are. Below stand the time that
    it took, and the machine.

    Raises
    ------
    ValueError
        If the file is none of `docs/record.py`.
    """
    values = read_json(path)
    if not isinstance(values, dict) or not {"command", "machine", "printed"} <= values.keys():
        raise TomolearnError(f"{path}: expected what `docs/record.py` kept of a command")
    blocks = []
    for is_table, lines in groupby(values["printed"], lambda line: line.startswith("|")):
        text = "\n".join(lines).strip("\n")
        if text:
            blocks.append(text if is_table else f"```text\n{text}\n```")
    on = values["machine"]
    busy = "" if on["load"] is None else f", load {on['load']:g} when it began"
    seconds = values["seconds"]
    took = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} minutes"
    version = on["versions"]["tomolearn"]
    last = f"It took {took} on {on['processor']}, {on['threads']} of {on['cores']} threads{busy}; "
    last += f"tomolearn {version}.\n"
    return "\n\n".join([f"```bash\n{values['command']}\n```", *blocks, last])


def _figure(timing: Mapping[str, Any] | None) -> str:
    if timing is None:
        return "–"
    value = float(f"{timing['value']:.3g}")  # three digits, without an exponent
    ratio = timing["ratio"]
    return f"{value:g}" if ratio in (None, 1) else f"{value:g} ({ratio:.1f}x)"
