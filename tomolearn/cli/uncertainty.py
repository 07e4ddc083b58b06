"""``tomolearn uncertainty``: whether what a method says of its errors is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file
from tomolearn._core.progress import progress_bars
from tomolearn.cli.output import check_target, print_table, write_text

if TYPE_CHECKING:
    from rich.progress import TaskID

    from tomolearn.evaluation import CalibratedUncertainty


def uncertainty(
    task: Annotated[str, typer.Option(help="Task, see `tomolearn tasks`.")],
    method: Annotated[
        str,
        typer.Option(
            help="A method that samples, 'ensemble(members=[lpd-ellipses,lgd-ellipses])', or "
            "weights of a heteroscedastic network."
        ),
    ],
    images: Annotated[
        int, typer.Option(min=1, help="Pairs of the validation split to calibrate with.")
    ] = 40,
    level: Annotated[float, typer.Option(help="Part of the pixels that is to be covered.")] = 0.9,
    by_pixel: Annotated[
        bool, typer.Option("--by-pixel", help="A factor for each pixel, not one for the image.")
    ] = False,
    by_region: Annotated[
        bool,
        typer.Option(
            "--by-region",
            help="A factor for each organ, of tasks that know them: synthetic chests.",
        ),
    ] = False,
    floor: Annotated[
        float,
        typer.Option(help="What standard deviations are at least, as a part of the largest value."),
    ] = 0.01,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(help="Calibration to write (.json), for `reconstruct --calibration`."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Picture (.png) of coverage and length by level.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Calibrate a method's uncertainty by conformal prediction, and count what it covers.

    Intervals are calibrated on the validation split. They are judged on as many other images of
    its kind, where the coverage is guaranteed, at half the dose and on the test split, where it is
    not.
    """
    if out is not None:
        check_target(out, force=force, suffixes=(".json",))
    if figure is not None:
        check_target(figure, force=force, suffixes=(".png",))

    if by_pixel and by_region:
        raise TomolearnError("--by-region: expected without --by-pixel, got both")

    from tomolearn.evaluation import calibrate_uncertainty, draw_calibration
    from tomolearn.tasks import get_task

    bars: dict[str, TaskID] = {}
    with progress_bars() as progress:

        def told(what: str, done: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=images, unit="images")
            progress.update(bars[what], completed=done)

        found = calibrate_uncertainty(
            method,
            get_task(task),
            images=images,
            level=level,
            regions="pixels" if by_pixel else "labels" if by_region else None,
            floor=floor,
            device=device,
            progress=told,
        )
    if figure is not None:
        drawn = draw_calibration(found.reports)
        with complete_file(figure) as stream:
            drawn.savefig(stream, format="png")
    if out is not None:
        write_text(out, json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n")
    _print(found)
    for path in (out, figure):
        if path is not None:
            typer.echo(f"wrote {path}", err=True)


def _print(found: CalibratedUncertainty) -> None:
    heads = ("images", "n", "level", "covered", "not calibrated", "length", "one width", "NLL")
    rows = [
        (
            name,
            str(report.n),
            f"{100 * at.level:g} %",
            f"{100 * at.coverage:.1f} %",
            f"{100 * at.raw_coverage:.1f} %",
            f"{at.length:.3g}",
            f"{at.constant_length:.3g}",
            f"{report.nll:.2f}",
        )
        for name, report in found.reports.items()
        for at in report.levels
    ]
    title = f"{found.method} on {found.task.name}"
    caption = (
        f"Calibrated by {found.calibration.by} on {found.calibration.n} validation images. Lengths "
        "are means in the image's unit; one width: intervals of one length for all pixels, "
        "calibrated alike; NLL in nats per pixel."
    )
    print_table(heads, rows, right=heads[1:], title=title, caption=caption)
    _print_regions(found)


def _print_regions(found: CalibratedUncertainty) -> None:
    source = found.task.splits["validation"].source
    names = getattr(source, "region_names", ())
    level = found.calibration.level
    rows = [
        (
            name,
            names[one.label] if one.label < len(names) else str(one.label),
            str(one.n),
            f"{100 * one.coverage:.1f} %",
            f"{one.length:.3g}",
            f"{one.constant_length:.3g}",
        )
        for name, report in found.reports.items()
        for at in report.levels
        if at.level == level
        for one in at.regions
    ]
    if rows:
        heads = ("images", "region", "n", "covered", "length", "one width")
        print_table(heads, rows, right=heads[2:], title=f"by region, level {100 * level:g} %")
