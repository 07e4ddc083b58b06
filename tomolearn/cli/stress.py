"""``tomolearn stress``: methods under conditions that a task was not made for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tomolearn._core.files import complete_file
from tomolearn._core.progress import progress_bars
from tomolearn.cli.output import check_target, print_table, write_text


def stress(
    methods: Annotated[
        str,
        typer.Argument(
            help="Names of methods and of weights, with commas between them, as for `evaluate`."
        ),
    ],
    task: Annotated[str, typer.Option(help="Task, see `tomolearn tasks`.")],
    images: Annotated[int, typer.Option(min=1, help="Pairs of each condition.")] = 3,
    split: Annotated[str, typer.Option(help="test, validation, or another of the task.")] = "test",
    radius: Annotated[
        float, typer.Option(help="Norm of perturbations as a part of the noise's.")
    ] = 0.5,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the search for the worst.")] = 10,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Table to write: .json or .md.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Picture (.png) of all conditions.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Try methods with less dose, other views, a moved scanner, unseen images, perturbed data."""
    if out is not None:
        check_target(out, force=force, suffixes=(".json", ".md"))
    if figure is not None:
        check_target(figure, force=force, suffixes=(".png",))

    from tomolearn._core.checks import check_choice
    from tomolearn.catalogue.names import split_names
    from tomolearn.evaluation import stress as tried
    from tomolearn.evaluation.stress import ALL
    from tomolearn.tasks import get_task

    chosen, names = get_task(task), split_names("methods", methods)
    check_choice("--split", split, tuple(chosen.splits))
    with progress_bars() as progress:
        bars = {name: progress.add_task(name, total=len(ALL), unit="conditions") for name in names}
        found = tried(
            chosen,
            names,
            images=images,
            split=split,
            radius=radius,
            steps=steps,
            device=device,
            progress=lambda name, done: progress.update(bars[name], completed=done),
        )
    if figure is not None:
        drawn = found.draw()
        with complete_file(figure) as stream:
            drawn.savefig(stream, format="png")
    if out is not None:
        as_json = json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_text(out, as_json if out.suffix.lower() == ".json" else found.markdown())
    heads, rows = found.rows()
    print_table(heads, rows, right=heads[1:], title=f"Stress on {task}", caption=found.note())
    for path in (out, figure):
        if path is not None:
            typer.echo(f"wrote {path}", err=True)
