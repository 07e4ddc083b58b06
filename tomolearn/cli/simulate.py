"""``tomolearn simulate``: the pairs of a task as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tomolearn._core.progress import progress_bars
from tomolearn.cli.output import check_target


def simulate(
    task: Annotated[str, typer.Option(help="Task, see `tomolearn tasks`.")],
    pairs: Annotated[int, typer.Option(min=1, help="Number of pairs, from the first on.")],
    out: Annotated[Path, typer.Option(help="HDF5 file to write, .h5 or .hdf5.")],
    split: Annotated[
        str, typer.Option(help="train, validation, test or another of the task.")
    ] = "train",
    data: Annotated[
        Path | None,
        typer.Option(help="Data of the task, if it takes any; `tomolearn tasks` tells."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the pairs. Default: the split's own.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Store labels of the pixels, too, such as nodules.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write pairs (sinogram, image) of a task to an HDF5 file, for training from disk.

    `tomolearn train ... --data FILE` reads it.
    """
    from tomolearn.data import store_pairs
    from tomolearn.tasks import get_task

    definition = get_task(task)
    drawn = definition.pairs(split, data=data, size=pairs, seed=seed, labels=labels)
    check_target(out, force=force, suffixes=(".h5", ".hdf5"))
    with progress_bars() as progress:
        bar = progress.add_task(f"{task}, {split}", total=pairs, unit="pairs")
        store_pairs(
            drawn,
            out,
            pairs,
            attributes={"task": json.dumps(definition.to_dict()), "split": split},
            progress=lambda n: progress.advance(bar, n),
        )
    typer.echo(f"wrote {out}: {pairs} pairs")
