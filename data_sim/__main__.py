"""``python -m data_sim``: synthetic data on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_sim.lidc.writing import Annotations, Layout, write_lidc
from tomolearn._core.errors import TomolearnError
from tomolearn._core.progress import progress_bars

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Write synthetic data.")

_EXIT_CODE = 2


@app.callback()
def _commands() -> None:
    # with a callback, the only command keeps its name
    pass


@app.command()
def lidc(
    out: Annotated[Path, typer.Argument(help="Folder to write into, empty or missing.")],
    patients: Annotated[int, typer.Option(help="Number of patients.")],
    slices: Annotated[int, typer.Option(help="CT slices of each patient.")],
    seed: Annotated[int, typer.Option(help="Which patients.")] = 0,
    layout: Annotated[Layout, typer.Option(help="Names of the folders.")] = "classic",
    annotations: Annotated[
        Annotations,
        typer.Option(help="XML files with the images of their series, or in a tree of their own."),
    ] = "series",
    size: Annotated[int, typer.Option(help="Rows and columns.")] = 512,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the files that are there, add what is missing.")
    ] = False,
) -> None:
    """Write patients with CT series, radiographs and readings, as LIDC-IDRI is published."""
    try:
        with progress_bars() as bars:
            task = bars.add_task("writing", total=patients, unit="patients")
            files = write_lidc(
                out,
                patients,
                slices,
                seed=seed,
                layout=layout,
                annotations=annotations,
                shape=(size, size),
                resume=resume,
                progress=lambda done, _: bars.update(task, completed=done),
            )
    except (TomolearnError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.strerror and error.filename:
            text = f"{error.filename}: {error.strerror}"
        typer.echo(f"error: {text}", err=True)
        raise typer.Exit(_EXIT_CODE) from error
    radiographs = sum(one.radiograph is not None for one in files)
    typer.echo(
        f"{out}: {patients} patients, {patients * slices} CT slices, {radiographs} radiographs"
    )


if __name__ == "__main__":
    app(prog_name="python -m data_sim")
