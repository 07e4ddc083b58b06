"""``tomolearn tasks``: the benchmarks that come with the package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tomolearn.cli.output import print_table

if TYPE_CHECKING:
    from tomolearn.metrics import MetricConvention
    from tomolearn.tasks import Task


def tasks(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A task, to show all of it: a name, file.py:name, or the folder of a training.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List the tasks, or show one: grid, scan, noise, data, metric convention, baselines."""
    from tomolearn.tasks import TASKS, get_task

    if name is not None:
        task = get_task(name)
        if as_json:
            typer.echo(json.dumps(task.to_dict(), indent=2, ensure_ascii=False))
        else:
            _print_task(task)
    elif as_json:
        found = {task.name: task.to_dict() for task in TASKS.values()}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print_list(list(TASKS.values()))


def _print_list(found: list[Task]) -> None:
    from rich.text import Text

    rows = []
    for task in found:
        scan = "none"
        if task.scan is not None:
            scan = f"{type(task.scan).__name__} {_by(task.scan.shape)}"
        sizes = ", ".join(f"{_size(task, name)} ({name})" for name in task.splits)
        lines = (
            task.description,
            f"image {_by(task.grid.shape)}, scan {scan}, noise: {task.acquisition.noise or 'none'}",
            f"pairs: {sizes}; metrics: {task.convention.name}",
            *([] if task.files is None else [_data(task)]),
        )
        rows.append((Text(task.name, style="bold"), "\n".join(lines)))
    print_table(("task", "what"), rows, title="Tasks", no_wrap=True, show_lines=True)


def _print_task(task: Task) -> None:
    refinement = task.acquisition.refinement
    rows = {
        "what": task.description,
        "reference": task.reference,
        "grid": str(task.grid),
        "scan": str(task.scan or "none"),
        "simulated on": "the same grid"
        if refinement is None
        else f"{refinement.grid(task.grid)} ({refinement.interpolation})",
        "noise": str(task.acquisition.noise or "none"),
    }
    rows |= {
        f"{name} pairs": f"{_size(task, name)}, {part.source or 'stored'}, seed {part.seed}"
        for name, part in task.splits.items()
    }
    if task.files is not None:
        rows["data"] = _data(task)
    rows["metrics"] = _conventions(task.convention)
    rows |= {f"baseline {name}": str(method) for name, method in task.baselines.items()}
    print_table(("", ""), rows.items(), title=task.name, show_header=False)


def _data(task: Task) -> str:
    need = "needs" if task.needs_data else "may have"
    return f"{need} --data PATH, {task.files.hint if task.files else 'pairs'}"


def _size(task: Task, split: str) -> str:
    size = task.splits[split].size
    return "no end" if size is None else f"{size:,}"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _conventions(convention: MetricConvention) -> str:
    clip = "" if convention.clip is None else f", images clipped to {convention.clip}"
    return (
        f"{convention.name}: data range {convention.psnr_range} for PSNR, "
        f"{convention.ssim_range} for SSIM{clip}"
    )
