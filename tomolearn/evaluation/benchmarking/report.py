"""Report of a benchmark in HTML, Markdown, CSV and JSON."""

from __future__ import annotations

import base64
import functools
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._core.files import complete_file, write_bytes
from tomolearn._core.optional import optional_import
from tomolearn.evaluation.benchmarking import text
from tomolearn.evaluation.benchmarking.figures import draw_all, png, svg
from tomolearn.evaluation.benchmarking.run import BenchmarkResults
from tomolearn.evaluation.figures import detailed_region, draw_images, middle_slice
from tomolearn.evaluation.methods import TRUTH

_TEMPLATE = "report.html.jinja"
_ERRORS = 0.25  # of the truth's range: what errors are fully coloured at


def write_report(results: BenchmarkResults, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``report.html``, ``report.md``, ``results.csv``, ``results.json`` and ``figures/``.

    The page holds all its figures itself and needs no network. Files that are there are replaced.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OSError
        If a file cannot be written.
    ImportError
        Without jinja2.
    """
    place = Path(folder)
    figures = place / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    values = results.values
    page = _template()
    written = []
    drawn = draw_all(values)
    for name, (_, figure) in drawn.items():
        written.append(figures / f"{name}.png")
        with complete_file(written[-1]) as stream:
            figure.savefig(stream, format="png")
    if results.truth is not None and results.images:
        written.append(figures / "images.png")
        with complete_file(written[-1]) as stream:
            _images_figure(results).savefig(stream, format="png")
    titles = {name: title for name, (title, _) in drawn.items()}
    html = page.render(
        values=values,
        main=text.main_table(values),
        metrics=text.all_metrics(values),
        each=text.each_table(values),
        physics=text.physics_table(values),
        settings=text.settings_table(values),
        published=text.published_table(values),
        note=text.note(values),
        environment=text.environment(values),
        best=max(
            values["rows"], key=lambda row: row["metrics"][values["score"]]["mean"] or -np.inf
        )["method"],
        cards=_cards(results),
        figures=[(title, svg(figure, name)) for name, (title, figure) in drawn.items()],
    )
    content = {
        "report.html": html,
        "report.md": markdown_report(results, titles),
        "results.csv": text.csv_text(values),
        "results.json": json.dumps(values, indent=1, ensure_ascii=False) + "\n",
    }
    for name, one in content.items():
        written.append(place / name)
        write_bytes(written[-1], one.encode(errors="backslashreplace"))
    return written


def markdown_report(results: BenchmarkResults, figures: dict[str, str]) -> str:
    """Return the report in Markdown, with links to its figures, whose titles are given by name."""
    values = results.values
    task = values["task"]
    parts = [f"# {task['name']}\n", f"{task['description']}. After {task['reference']}.\n"]
    parts += [text.markdown(text.main_table(values)), text.note(values) + "\n"]
    if results.truth is not None and results.images:
        parts.append("![Reconstructions of the first pair, a detail, errors](figures/images.png)\n")
    further = {
        "Each image": (text.each_table(values), (0,)),
        "Published figures": (text.published_table(values), (0, 5)),
        "All metrics": (text.all_metrics(values), (0,)),
        "Noise and resolution": (text.physics_table(values), (0,)),
        "Settings": (text.settings_table(values), (0, 1, 3)),
    }
    for title, (table, left) in further.items():
        if table is not None:
            parts += [f"## {title}\n", text.markdown(table, left=left)]
    if figures:
        parts.append("## Figures\n")
        parts += [f"![{title}](figures/{name}.png)\n" for name, title in figures.items()]
    parts.append(text.environment(values) + "\n")
    return "\n".join(parts)


def _images_figure(results: BenchmarkResults) -> Any:
    truth = results.truth.numpy()  # type: ignore[union-attr]
    low, high = float(truth.min()), float(truth.max())
    error = _ERRORS * (high - low)
    return draw_images(
        {TRUTH: truth} | {name: image.numpy() for name, image in results.images.items()},
        unit="image value",
        notes=_notes(results),
        reference=TRUTH,
        difference_window=(-error, error),
        zoom=detailed_region(truth),
        spacing=results.spacing,
    )


def _notes(results: BenchmarkResults) -> dict[str, str]:
    column = next(
        one for one in results.values["columns"] if one["metric"] == results.values["score"]
    )
    found = {}
    for row in results.values["rows"]:
        value = next(iter(row["metrics"][column["metric"]]["values"]), None)
        if row["method"] in results.images and value is not None:
            found[row["method"]] = f"{value:.{column['digits']}f} {column['unit']}".strip()
    return found


def _cards(results: BenchmarkResults) -> list[dict[str, Any]]:
    """Return the images of each method for the page: whole, a detail, and the error.

    Of a volume they are its middle slice.
    """
    if results.truth is None or not results.images:
        return []
    truth = middle_slice(results.truth.numpy())
    slices = {name: middle_slice(image.numpy()) for name, image in results.images.items()}
    low, high = float(truth.min()), float(truth.max())
    top, bottom, left, right = detailed_region(truth)
    notes = _notes(results)
    found = []
    for name, image in {TRUTH: truth, **slices}.items():
        error = None
        if name != TRUTH:
            most = _ERRORS * (high - low)
            error = _data(png(image - truth, low=-most, high=most, colours="RdBu_r"))
        found.append(
            {
                "name": name,
                "note": notes.get(name, ""),
                "image": _data(png(image, low=low, high=high)),
                "detail": _data(png(image[top:bottom, left:right], low=low, high=high)),
                "error": error,
            }
        )
    return found


def _data(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


@functools.cache
def _template() -> Any:
    jinja2 = optional_import(
        "jinja2", purpose="the report of a benchmark", install="pip install 'tomolearn[report]'"
    )
    place = resources.files("tomolearn.evaluation.benchmarking").joinpath(_TEMPLATE)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(place.read_text(encoding="utf-8"))
