"""Results of a benchmark as text: cells of tables, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

Values = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]
"""Heads, and the cells of each row."""

_NONE = "–"


def number(value: float | None, digits: int) -> str:
    """Return a number with so many digits, or a dash."""
    return _NONE if value is None else f"{value:,.{digits}f}"


def significant(value: float | None) -> str:
    """Return a number with three significant digits, or a dash."""
    if value is None:
        return _NONE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def interval(metric: Values, digits: int) -> str:
    """Return the ends of a confidence interval, empty where there is none."""
    if metric.get("low") is None:
        return ""
    return f"{number(metric['low'], digits)} to {number(metric['high'], digits)}"


def published_of(values: Values, row: Values) -> Values | None:
    """Return the row of a publication that belongs to a row, None if there is none."""
    return next(
        (
            one
            for one in values["published"]
            if one["name"] is not None and one["name"] == row["network"]
        ),
        None,
    )


def scores(one: Values) -> str:
    """Return PSNR and SSIM of a row of a publication."""
    found = [number(one["psnr"], 2)] if one["psnr"] is not None else []
    return " / ".join([*found, *([number(one["ssim"], 3)] if one["ssim"] is not None else [])])


def main_table(values: Values) -> Table:
    """Return the methods with the main metrics, their intervals, published figures and costs."""
    columns = [column for column in values["columns"] if column["main"]]
    heads = ["method"]
    for column in columns:
        unit = f" in {column['unit']}" if column["unit"] else ""
        heads += [f"{column['head']}{unit}", "95 %"]
    heads += ["to the best, 95 %"]
    has_published = bool(values["published"])
    heads += ["published"] if has_published else []
    heads += ["ms", "parameters", "MiB"]
    digits = next(one["digits"] for one in values["columns"] if one["metric"] == values["score"])
    rows = []
    for row in values["rows"]:
        cells = [row["method"]]
        for column in columns:
            metric = row["metrics"][column["metric"]]
            cells += [_mean(metric, column["digits"]), interval(metric, column["digits"])]
        best = row["to_best"]
        cells.append(
            "the best" if best["best"] == row["method"] else interval(best, digits) or _NONE
        )
        if has_published:
            found = published_of(values, row)
            cells.append(_NONE if found is None else scores(found))
        cells += [
            significant(row["milliseconds"]),
            f"{row['parameters']:,}",
            significant(row.get("peak_mib")),
        ]
        rows.append(cells)
    return heads, rows


def all_metrics(values: Values) -> Table:
    """Return means and standard deviations of every metric."""
    columns = values["columns"]
    heads = ["method", *(f"{c['head']}{' in ' + c['unit'] if c['unit'] else ''}" for c in columns)]
    rows = [
        [
            row["method"],
            *(_mean(row["metrics"][column["metric"]], column["digits"]) for column in columns),
        ]
        for row in values["rows"]
    ]
    return heads, rows


def physics_table(values: Values) -> Table | None:
    """Return noise, resolution and contrast of inserts, None where nothing was measured."""
    measured = [row for row in values["rows"] if "mtf" in (row.get("physics") or {})]
    if not measured:
        return None
    hounsfield = values["task"]["hounsfield"]
    unit, factor = ("HU", hounsfield) if hounsfield else ("% of the disc", None)
    contrasts = list(measured[0]["physics"]["cnr"])
    heads = [
        "method",
        f"noise in {unit}",
        "mean frequency of noise in 1/mm",
        "MTF 50 % in 1/mm",
        "MTF 10 % in 1/mm",
        *(f"CNR of {one}" for one in contrasts),
    ]
    rows = []
    for row in measured:
        found = row["physics"]
        noise, mtf = found["nps"], found["mtf"]
        scale = factor or 100 / found["level"]
        rows.append(
            [
                row["method"],
                significant(None if noise is None else scale * noise["std"]),
                significant(None if noise is None else noise["mean_frequency"]),
                *(_below(mtf, name) for name in ("f50", "f10")),
                *(significant(found["cnr"][one]) for one in contrasts),
            ]
        )
    return heads, rows


def _below(mtf: Values, name: str) -> str:
    """Return where the modulation falls below a level, or that it does not up to Nyquist's."""
    nyquist = mtf["frequencies"][-1] if "frequencies" in mtf else mtf["nyquist"]
    return f"> {nyquist:.3g}" if mtf[name] >= nyquist else significant(mtf[name])


def settings_table(values: Values) -> Table | None:
    """Return what was found on validation images, None where nothing was searched."""
    rows = [
        [
            row["method"],
            ", ".join(f"{key} = {value}" for key, value in found["settings"].items()),
            number(max(one["psnr"] for one in found["tried"] if one["psnr"] is not None), 2),
            ", ".join(
                f"{'/'.join(str(v) for v in one['settings'].values())}: {number(one['psnr'], 2)}"
                for one in found["tried"]
            ),
        ]
        for row in values["rows"]
        if (found := row.get("search")) is not None
    ]
    heads = ["method", "chosen", "PSNR on validation images in dB", "tried"]
    return (heads, rows) if rows else None


def published_table(values: Values) -> Table | None:
    """Return all rows of publications, None if there are none."""
    rows = [
        [
            one["method"],
            number(one["psnr"], 2),
            number(one["ssim"], 3),
            significant(one["milliseconds"]),
            _NONE if one["parameters"] is None else f"{one['parameters']:,}",
            one["source"],
        ]
        for one in values["published"]
    ]
    heads = ["published", "PSNR in dB", "SSIM", "ms there", "parameters", "source"]
    return (heads, rows) if rows else None


def each_table(values: Values) -> Table | None:
    """Return the score of each image, where images have names; None where they have numbers."""
    labels = values["labels"]
    if all(one.isdigit() for one in labels):
        return None
    digits = next(one["digits"] for one in values["columns"] if one["metric"] == values["score"])
    rows = [
        [
            label,
            *(number(r["metrics"][values["score"]]["values"][n], digits) for r in values["rows"]),
        ]
        for n, label in enumerate(labels)
    ]
    return ["image", *(row["method"] for row in values["rows"])], rows


def note(values: Values) -> str:
    """Return in words what the numbers mean."""
    settings, task = values["settings"], values["task"]
    n = len(values["labels"])
    data = f", read from {values['data']}" if values["data"] else ""
    seed = "" if settings.get("seed") is None else f", seed {settings['seed']}"
    some = settings.get("timed_images", n)
    timed = f" of the first {some}" if some < n else ""
    text = (
        f"Means ± standard deviations over {n} pairs of the {settings['split']} split of "
        f"{task['name']}{data}{seed}. Intervals are of the mean, by paired bootstrap; "
        "“to the best” is the difference to the best method. L is the data range. Time is the "
        f"median per image{timed}, one at a time after a warm-up call; MiB is the most memory that "
        "one reconstruction took."
    )
    if settings.get("search_images"):
        text += (
            f" Settings of methods that have some were searched on {settings['search_images']} "
            "validation images, never on those that are judged here."
        )
    if (took := values.get("took")) is not None:
        text += (
            f" All of it took {_minutes(took['seconds'])} minutes, "
            f"{_minutes(took['processor_seconds'])} of processor time."
        )
    text += _busy(values)
    for row in values["rows"]:
        if row["failures"]:
            reasons = ", ".join(f"{k} ({why})" for k, why in list(row["failures"].items())[:3])
            text += f" {row['method']} has no image of {len(row['failures'])}: {reasons}."
    return text


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def _busy(values: Values) -> str:
    load, cores = values["machine"]["load"], values["machine"]["cores"]
    if load is None or load <= cores:
        return ""
    return f" The machine was busy, with a load of {load:g} on {cores} cores: times are too long."


def environment(values: Values) -> str:
    """Return processor and versions in words."""
    found = values["machine"]
    versions = ", ".join(f"{name} {one}" for name, one in found["versions"].items() if one)
    return (
        f"{found['processor']}, {found['threads']} of {found['cores']} threads, "
        f"{found['system']}; {versions}."
    )


def markdown(table: Table, *, left: Sequence[int] = (0,)) -> str:
    """Return a table in Markdown."""
    heads, rows = table
    rule = ["---" if n in left else "---:" for n in range(len(heads))]
    cells = ([text.replace("|", "\\|") for text in line] for line in (heads, rule, *rows))
    return "".join("| " + " | ".join(line) + " |\n" for line in cells)


def csv_text(values: Values) -> str:
    """Return all means, standard deviations and intervals as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [column["metric"] for column in values["columns"]]
    parts = ("mean", "std", "low", "high")
    heads = [f"{name}_{part}" for name in names for part in parts]
    writer.writerow(["method", "pairs", *heads, "milliseconds", "parameters", "peak_mib"])
    for row in values["rows"]:
        metrics = [row["metrics"][name][part] for name in names for part in parts]
        pairs = row["metrics"][values["score"]]["n"]
        costs = [row["milliseconds"], row["parameters"], row.get("peak_mib")]
        writer.writerow([row["method"], pairs, *metrics, *costs])
    return stream.getvalue()


def _mean(metric: Values, digits: int) -> str:
    if metric["mean"] is None:
        return _NONE
    spread = f" ± {number(metric['std'], digits)}" if metric["n"] > 1 else ""
    return number(metric["mean"], digits) + spread
