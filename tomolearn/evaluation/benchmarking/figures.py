"""Figures of a benchmark: scores per image, noise power, MTF, convergence, data efficiency."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

Values = Mapping[str, Any]
_SIZE = (4.6, 3.4)  # inches: letters stay legible on a phone
_COLOURS = 10


def draw_all(values: Values) -> dict[str, tuple[str, Figure]]:
    """Return titles and figures by their names, as far as there is something to draw."""
    drawn = {
        "scores": ("Score of each image, mean and 95 % interval", _scores),
        "mtf": ("Modulation transfer function across an edge", _mtf),
        "nps": ("Noise power spectrum in a uniform disc", _nps),
        "convergence": ("Error over the iterations, first image", _convergence),
        "curves": ("Published PSNR by the amount of training data", _curves),
    }
    found = {}
    for name, (title, draw) in drawn.items():
        figure = _drawn(values, draw)
        if figure is not None:
            found[name] = (title, figure)
    return found


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an element for a page, with letters as text; ids begin with its name."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # a page has several figures, whose ids must differ
    text = re.sub(r'id="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1).replace(
        'width="', 'data-width="', 1
    )


def png(image: NDArray[Any], *, low: float, high: float, colours: str = "gray") -> bytes:
    """Return an image as PNG, one pixel for one."""
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, image, cmap=colours, vmin=low, vmax=high, format="png")
    return stream.getvalue()


def _drawn(values: Values, draw: Callable[[Axes, Values], bool]) -> Figure | None:
    from matplotlib.figure import Figure

    height = _SIZE[1]
    if draw is _curves:
        height += 0.18 * (len(values["curves"]) + len(values["rows"]))
    if draw is _scores:
        height = max(height, 0.9 + 0.33 * len(values["rows"]))
    figure = Figure(figsize=(_SIZE[0], height), dpi=150, layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)
    return figure if draw(axis, values) else None


def _colour(values: Values, row: Values) -> Any:
    import matplotlib

    number = [one["method"] for one in values["rows"]].index(row["method"])
    return matplotlib.colormaps["tab10"](number % _COLOURS)


def _style(values: Values, row: Values) -> dict[str, Any]:
    number = [one["method"] for one in values["rows"]].index(row["method"])
    return {
        "color": _colour(values, row),
        "label": row["method"],
        "linestyle": "-" if number < _COLOURS else "--",
        "linewidth": 1.5,
    }


def _scores(axis: Axes, values: Values) -> bool:
    column = next(one for one in values["columns"] if one["metric"] == values["score"])
    rng = np.random.default_rng(0)
    rows = list(reversed(values["rows"]))
    for height, row in enumerate(rows):
        metric = row["metrics"][values["score"]]
        known = [value for value in metric["values"] if value is not None]
        if not known:
            continue
        colour = _colour(values, row)
        spread = height + rng.uniform(-0.2, 0.2, len(known))
        axis.plot(known, spread, ".", color=colour, alpha=0.5, markersize=5, markeredgewidth=0)
        if metric["low"] is not None:
            axis.plot([metric["low"], metric["high"]], [height] * 2, color=colour, linewidth=2.5)
        axis.plot(metric["mean"], height, "o", color=colour, markersize=6, markeredgecolor="white")
    for height, row in enumerate(rows):
        found = [
            one for one in values["published"] if one["name"] and one["name"] == row["network"]
        ]
        for one in found[:1]:
            if one["psnr"] is not None and values["score"] == "psnr":
                axis.plot(one["psnr"], height, "D", color="none", markeredgecolor="black", zorder=3)
    axis.set_yticks(range(len(rows)), [row["method"] for row in rows])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    unit = f" in {column['unit']}" if column["unit"] else ""
    published = "; diamonds: published" if values["published"] else ""
    axis.set_xlabel(f"{column['head']}{unit}{published}")
    return True


def _mtf(axis: Axes, values: Values) -> bool:
    rows = [row for row in values["rows"] if (row.get("physics") or {}).get("mtf")]
    for row in rows:
        found = row["physics"]["mtf"]
        axis.plot(found["frequencies"], found["values"], **_style(values, row))
    axis.set(xlabel="spatial frequency in cycles per mm", ylabel="modulation", ylim=(0, None))
    axis.axhline(0.5, color="grey", linewidth=0.6)
    axis.axhline(0.1, color="grey", linewidth=0.6)
    if rows:
        axis.legend(fontsize=8, frameon=False)
    return bool(rows)


def _nps(axis: Axes, values: Values) -> bool:
    rows = [row for row in values["rows"] if (row.get("physics") or {}).get("nps")]
    hounsfield = values["task"].get("hounsfield")
    factor = (hounsfield or 1.0) ** 2
    for row in rows:
        found = row["physics"]["nps"]
        axis.semilogy(
            found["frequencies"],
            [max(factor * one, 1e-30) for one in found["power"]],
            **_style(values, row),
        )
    unit = "HU²" if hounsfield else "(image value)²"
    axis.set(xlabel="spatial frequency in cycles per mm", ylabel=f"power in {unit} mm²")
    if rows:
        axis.legend(fontsize=8, frameon=False)
    return bool(rows)


def _convergence(axis: Axes, values: Values) -> bool:
    rows = [row for row in values["rows"] if (row.get("trace") or {}).get("error")]
    for row in rows:
        found = row["trace"]
        axis.loglog(found["iterations"], found["error"], **_style(values, row))
    axis.set(xlabel="iteration", ylabel="‖x − truth‖ / ‖truth‖")
    if rows:
        axis.legend(fontsize=8, frameon=False)
    return bool(rows)


def _curves(axis: Axes, values: Values) -> bool:
    for number, curve in enumerate(values["curves"]):
        label = f"{curve['method']}, {curve['data']}, published"
        # colours are those of the methods that were measured
        marker, grey = "os^Dv"[number % 5], str(0.15 + 0.2 * (number % 4))
        axis.semilogx(curve["amounts"], curve["psnr"], f"{marker}-", color=grey, label=label)
        axis.set_xlabel(curve["unit"])
    networks = [row for row in values["rows"] if row["parameters"]]
    for row in networks if values["curves"] else []:
        mean = row["metrics"][values["score"]]["mean"]
        if mean is not None:
            style = _style(values, row) | {"linestyle": ":", "label": f"{row['method']}, measured"}
            axis.axhline(mean, **style)
    axis.set_ylabel("PSNR in dB")
    if values["curves"]:
        axis.figure.legend(loc="outside lower center", fontsize=7, frameon=False)
        sources = "; ".join(sorted({curve["source"] for curve in values["curves"]}))
        axis.set_title(f"Published: {sources}", fontsize=6, loc="left")
    return bool(values["curves"])
