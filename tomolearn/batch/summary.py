"""Summary of a batch as an HTML page."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tomolearn._core.files import complete_file
from tomolearn._core.optional import optional_import
from tomolearn._core.version import __version__
from tomolearn.batch.ledger_records import skipped_record
from tomolearn.batch.settings import BatchSettings
from tomolearn.dicom import SeriesIndex

_TEMPLATE = "summary.html.jinja"
# A page with more rows is slow to show; the ledger has them all.
_MOST_FILES = 500


def write_summary(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    series_index: SeriesIndex,
    settings: BatchSettings,
    thumbnails: str,
    superseded: Sequence[Mapping[str, Any]] = (),
    *,
    private: bool = False,
) -> None:
    """Write the page: every series with status, reason, errors and thumbnail; skipped files.

    `records` are those of the series, `superseded` those of earlier results that are still there,
    `thumbnails` is a folder next to the page. A `private` page can be read by its owner only.
    """
    rows = []
    for record in records:
        thumbnail = f"{thumbnails}/{record['derived']}.png"
        shown = thumbnail if (path.parent / thumbnail).exists() else None
        rows.append({**record, "thumbnail": shown})
    shown_files = series_index.skipped[:_MOST_FILES]
    text = _template().render(
        settings=str(settings),
        version=__version__,
        source=str(series_index.root),
        n_files=series_index.n_files,
        n_series=len(series_index.series),
        rows=rows,
        counts=sorted((str(reason), n) for reason, n in series_index.counts.items()),
        skipped=[skipped_record(one, series_index.root) for one in shown_files],
        superseded=superseded,
        n_skipped=len(series_index.skipped),
    )
    with complete_file(path) as stream:
        if private and hasattr(os, "fchmod"):
            os.fchmod(stream.fileno(), 0o600)
        stream.write(text.encode(errors="backslashreplace"))


@functools.cache
def _template() -> Any:
    jinja2 = optional_import(
        "jinja2", purpose="the summary of a batch", install="pip install 'tomolearn[dicom]'"
    )
    source = resources.files("tomolearn.batch").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)
