"""``tomolearn benchmark``: a task's report, from the search of settings to figures."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn.cli.output import echo, print_table, published_command

if TYPE_CHECKING:
    from tomolearn.evaluation import BenchmarkResults

MEASURED = "htc2022"
_ONLY_TASKS = ("images", "split", "seed", "search", "train", "workers")


def benchmark(
    context: typer.Context,
    task: Annotated[
        str,
        typer.Argument(
            help="Task, see `tomolearn tasks`; or htc2022, the measured discs of the Helsinki "
            "tomography challenge, scored over limited arcs."
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data of the task, if it takes any; for lodopab and lodopab-200 also a folder of "
            "LIDC-IDRI, of which they are made; for htc2022 the challenge's files."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="As for `tomolearn evaluate`. Default: baselines, weights trained for the task, "
            "priors trained on images like its own, and what --train names.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report. Default: benchmark-TASK.", show_default=False),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of pairs. Default: 10, or all there are.", show_default=False
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Part of the data. Default: test.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the pairs. Default: the split's own.")
    ] = None,
    search: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Validation images that filters, weights and numbers of iterations are searched "
            "on; 0: as task and cards have them. Default: 2.",
            show_default=False,
        ),
    ] = None,
    physics: Annotated[
        bool, typer.Option(help="Measure noise power, edge MTF and contrast to noise.")
    ] = True,
    train: Annotated[
        str | None,
        typer.Option(
            help="Networks to be trained first, or .toml files of settings, with commas between."
        ),
    ] = None,
    train_time: Annotated[str, typer.Option(help="Length of each training.")] = "10m",
    every: Annotated[int, typer.Option(min=1, help="Of LIDC-IDRI, take one slice of so many.")] = 3,
    fractions: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            help="Of LIDC-IDRI, parts of the patients for training, validation and test. Default: "
            "0.8 0.1 0.1.",
            show_default=False,
        ),
    ] = None,
    arc: Annotated[
        list[float] | None,
        typer.Option(
            help="With htc2022: length in degrees; may be given again. Default: 90, 60 and 30.",
            show_default=False,
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of a leaderboard, in which TASK.json is replaced."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that reconstruct what is not timed. Default: one per core.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Benchmark methods on a task, and write a report: HTML, Markdown, CSV, JSON, figures.

    Settings are searched on validation images, never on those that are judged. Results of methods
    are kept in the folder, and images until then: a run that was stopped goes on, and methods can
    be added.
    """
    from tomolearn.evaluation.benchmarking.leaderboard import write_entry
    from tomolearn.evaluation.benchmarking.report import write_report

    folder = out or Path(f"benchmark-{Path(task).name}")
    if folder.exists() and not folder.is_dir():
        raise TomolearnError(f"out: expected a folder, or a name for one, got the file {folder}")
    if results is not None and not results.is_dir():
        there = "a file" if results.exists() else "missing"
        raise TomolearnError(
            f"results: expected the folder of a leaderboard, got {results}, which is {there}; make "
            f"a folder first (mkdir -p NAME), or leave the option out for a report alone"
        )
    given = {name for name in _ONLY_TASKS if context.params[name] is not None}
    if task == MEASURED:
        if given:
            raise TomolearnError(f"{sorted(given)[0]}: expected none with {MEASURED}")
        found = _measured_discs(data, methods, arc)
    else:
        if arc:
            raise TomolearnError(f"arc: expected it with {MEASURED} only, got {task}")
        found = _task(
            task,
            data,
            methods,
            folder,
            images=images,
            split=split or "test",
            seed=seed,
            search=(0 if split == "validation" else 2) if search is None else search,
            physics=physics,
            train=train,
            train_time=train_time,
            every=every,
            fractions=fractions,
            workers=workers,
            device=device,
        )
    paths = write_report(found, folder)
    if results is not None:
        paths.append(write_entry(found, results, published_command(sys.argv[1:])))
    print_results(found)
    for path in paths:
        if path.parent != folder / "figures":
            echo(f"wrote {path}", err=True)


def _task(
    task: str,
    data: Path | None,
    methods: str | None,
    folder: Path,
    *,
    images: int | None,
    split: str,
    seed: int | None,
    search: int,
    physics: bool,
    train: str | None,
    train_time: str,
    every: int,
    fractions: tuple[float, float, float] | None,
    workers: int | None,
    device: str,
) -> BenchmarkResults:
    from tomolearn._core.checks import check_choice
    from tomolearn.batch.process_executor import n_cores
    from tomolearn.catalogue.names import split_names
    from tomolearn.data import n_pairs
    from tomolearn.evaluation import BenchmarkSettings, run_benchmark
    from tomolearn.evaluation.benchmarking.preparation import prepared_data, trained_networks
    from tomolearn.evaluation.methods import default_methods
    from tomolearn.tasks import data_of_others, get_task

    chosen = get_task(task)
    check_choice("--split", split, tuple(chosen.splits))
    if data is not None:
        data = prepared_data(
            chosen, data, folder / "data", every=every, fractions=fractions, told=_told
        )
    size = n_pairs(chosen.pairs(split, data=data))
    count = images or (10 if size is None else min(10, size))
    settings = BenchmarkSettings(
        split=split,
        images=count,
        seed=seed,
        search_images=search,
        physics=physics,
        device=device,
    )
    if methods is None:
        names = {name: name for name in default_methods(chosen, priors=True)}
    else:
        names = {name: name for name in split_names("methods", methods)}
    if train is not None:
        names |= trained_networks(
            split_names("train", train),
            task,
            data_of_others(data),
            folder / "runs",
            max_time=train_time,
            command=shlex.join(["tomolearn", *sys.argv[1:]]),
            told=_told,
        )
    return run_benchmark(
        chosen,
        names,
        cache=folder / "cache",
        data=data,
        settings=settings,
        workers=workers or n_cores(),
        told=_told,
    )


def _measured_discs(
    data: Path | None, methods: str | None, arc: list[float] | None
) -> BenchmarkResults:
    from tomolearn.benchmarks.htc2022 import ARCS, DEFAULT, find_arcs, measure, results_of
    from tomolearn.catalogue.names import split_names

    if data is None:
        raise TomolearnError(
            "data: expected the folder of htc2022_DISC_*.mat or .npz and htc2022_DISC_truth.png, "
            "got none"
        )
    names = list(DEFAULT) if methods is None else split_names("methods", methods)
    scores = []
    for score in measure(find_arcs(data, arc or ARCS), names):
        _told(score.method, f"{score.disc}, {score.degrees:g} degrees")
        scores.append(score)
    return results_of(scores, data.name)


def _told(name: str, what: str) -> None:
    echo(f"{name}: {what}", err=True)


def print_results(found: BenchmarkResults) -> None:
    """Show the main table on the screen, without intervals."""
    from tomolearn.evaluation.benchmarking.text import main_table, note

    heads, rows = main_table(found.values)
    kept = [n for n, head in enumerate(heads) if "95 %" not in head]
    title = f"{found.values['task']['name']}: {found.values['task']['description']}"
    shown = [heads[n] for n in kept]
    print_table(
        shown,
        [[row[n] for n in kept] for row in rows],
        right=shown[1:],
        title=title,
        caption=note(found.values),
        no_wrap=True,
    )
