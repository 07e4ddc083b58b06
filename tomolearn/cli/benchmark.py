"""``tomolearn benchmark ...``: scores of methods on measured data with a truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tomolearn.cli.errors import CleanErrors
from tomolearn.cli.output import check_target, print_table, write_text

if TYPE_CHECKING:
    from tomolearn.benchmarks.htc2022 import Score

benchmark = typer.Typer(
    cls=CleanErrors,
    no_args_is_help=True,
    help="Score methods on measured data with a truth.",
)


@benchmark.callback()
def _group() -> None:
    """Keep the only command's name on the command line."""


@benchmark.command()
def htc2022(
    data: Annotated[
        Path, typer.Option(help="Folder of htc2022_DISC_*.mat or .npz and htc2022_DISC_truth.png.")
    ],
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names of methods and of weights, paths of weights, with commas between them. "
            "Default: FBP, total variation, directional total variation and the U-Net that was "
            "trained for it.",
            show_default=False,
        ),
    ] = None,
    arc: Annotated[
        list[float] | None,
        typer.Option(help="Length in degrees; may be given again. Default: 90, 60 and 30."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the scores.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the JSON file.")] = False,
) -> None:
    """Score limited arcs of the Helsinki tomography challenge 2022: Matthews correlations."""
    if out is not None:
        check_target(out, force=force, suffixes=(".json",))
    from tomolearn.benchmarks.htc2022 import ARCS, DEFAULT, find_arcs, measure
    from tomolearn.catalogue.names import split_names

    names = list(DEFAULT) if methods is None else split_names("methods", methods)
    scores = []
    for score in measure(find_arcs(data, arc or ARCS), names):
        typer.echo(f"{score.disc}, {score.degrees:g} degrees, {score.method}", err=True)
        scores.append(score)
    _print(scores, names)
    if out is not None:
        from tomolearn.cli.info import versions

        found = {"versions": versions(), "scores": [asdict(score) for score in scores]}
        write_text(out, json.dumps(found, indent=2) + "\n")
        typer.echo(f"wrote {out}", err=True)


def _print(scores: list[Score], names: list[str]) -> None:
    rows: dict[tuple[str, float], list[str]] = {}
    for score in scores:
        rows.setdefault((score.disc, score.degrees), []).append(f"{score.matthews:.3f}")
    print_table(
        ("disc", "degrees", *names),
        [(disc, f"{degrees:g}", *cells) for (disc, degrees), cells in rows.items()],
        right=("degrees", *names),
        title="Matthews correlations of the segmented images with the truth",
    )
