"""``tomolearn train``: train a network on a task."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError

if TYPE_CHECKING:
    from tomolearn.training.config import TrainingConfig

__all__ = ["train"]


def train(
    model: Annotated[
        str | None, typer.Argument(help="Network, by name; the file of settings may have it.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task, see `tomolearn tasks`.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Data of the task, or a file that `tomolearn simulate` wrote."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: runs/TASK-MODEL-SEED.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML or JSON file of settings.", exists=True)
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting, name=value; may be given again."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length in steps.")] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Length in time, such as 90m; the schedule is fitted to it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Processes per node.")] = None,
    num_nodes: Annotated[int | None, typer.Option(min=1, help="Nodes.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder.")
    ] = False,
    test: Annotated[
        int, typer.Option(min=0, help="Test pairs to measure the result on, for its card.")
    ] = 10,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train a network on a task; leaves logs, checkpoints and weights in a folder."""
    from tomolearn._core.optional import optional_import

    for package in ("lightning", "tensorboard"):
        optional_import(package, purpose="training", install="pip install 'tomolearn[train]'")
    from tomolearn.training.config import read_config, with_overrides
    from tomolearn.training.folder import CHECKPOINT, CONFIG
    from tomolearn.training.run import train as run

    given = {
        "model": model,
        "task": task,
        "data": None if data is None else str(data),
        "steps": steps,
        "max_time": max_time,
        "seed": seed,
        "devices": devices,
        "num_nodes": num_nodes,
    }
    values: dict[str, Any] = {} if config is None else read_config(config)
    values |= {name: value for name, value in given.items() if value is not None}
    directory = out or _default_folder(values)
    if resume:
        if not (directory / CONFIG).exists():
            raise FileNotFoundError(f"{directory}: there is no run to resume, {CONFIG} is missing")
        values = read_config(directory / CONFIG) | values
    for name in ("model", "task"):
        if name not in values:
            raise TomolearnError(f"{name}: expected one, as an argument or in the file of settings")
    settings = with_overrides(values, override or [])
    try:
        result = run(
            settings,
            directory,
            resume=resume,
            progress=progress and sys.stdout.isatty(),
            command=shlex.join(["tomolearn", *sys.argv[1:]]),
        )
    except SystemExit as stop:
        typer.echo(f"interrupted; --out {directory} --resume continues the run", err=True)
        raise typer.Exit(stop.code if isinstance(stop.code, int) else 1) from stop
    if not result.is_first:
        return
    typer.echo(
        f"{result.steps} steps in {result.hours:.2f} h, validation PSNR {result.val_psnr:.2f} dB"
    )
    if test:
        typer.echo(f"test PSNR {_tested(settings, result.weights, test):.2f} dB")
    typer.echo(f"wrote {result.weights} (resumable: {directory / CHECKPOINT})")


def _default_folder(values: dict[str, Any]) -> Path:
    names = [str(values.get(name, "?")) for name in ("task", "model")]
    if "?" in names:
        raise TomolearnError(
            "--out: expected the folder of the run, or a task and a model to find it by"
        )
    return Path("runs") / "-".join([*names, str(values.get("seed", 0))])


def _tested(settings: TrainingConfig, weights: Path, pairs: int) -> float:
    """Measure weights on the task's test split, write it into their card, and return the PSNR."""
    from tomolearn.data import n_pairs
    from tomolearn.evaluation import compare
    from tomolearn.evaluation.tables import card_metrics
    from tomolearn.tasks import data_of_others, get_task
    from tomolearn.training.weights import annotate

    data = data_of_others(settings.data)
    size = n_pairs(get_task(settings.task).pairs("test", data=data))
    pairs = pairs if size is None else min(pairs, size)
    comparison = compare(settings.task, {"network": str(weights)}, data=data, images=pairs)
    annotate(weights, metrics=card_metrics(comparison))
    return comparison.rows[0].metrics["psnr"].mean
