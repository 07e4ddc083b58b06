"""``tomolearn view``: slices, windows and comparisons on a local web page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from tomolearn._core.signals import terminable
from tomolearn.cli.output import echo


def view(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER...",
            help="Images (.npy, .npz, .h5, .nii, .mrc, pictures), DICOM, results of a batch, or a "
            "report (.html). Several images are compared.",
        ),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0: any that is free.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Show images slice by slice in a browser, with windows, zoom and differences.

    The page is served on this machine, to this machine alone, until Ctrl-C. Of a batch's results
    the summary comes first; a click on a result shows its source, itself and the difference.
    """
    from tomolearn.batch import LEDGER, SUMMARY
    from tomolearn.viewer import ViewerServer, open_comparisons

    report = None
    if len(paths) == 1 and paths[0].suffix.lower() in (".html", ".htm"):
        report = paths[0]
        report.stat()
        batch = report.name == SUMMARY and (report.parent / LEDGER).is_file()
        comparisons = open_comparisons([report.parent]) if batch else []
    else:
        comparisons = open_comparisons(paths)
        if len(paths) == 1 and (paths[0] / LEDGER).is_file() and (paths[0] / SUMMARY).is_file():
            report = paths[0] / SUMMARY
    with terminable(), ViewerServer(comparisons, report=report, port=port) as server:
        echo(server.url)
        if browser:
            import webbrowser

            webbrowser.open(server.url)
        while True:
            time.sleep(3600)
