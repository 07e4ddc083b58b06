"""``tomolearn evaluate``: how good several methods are on a task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file
from tomolearn._core.progress import progress_bars
from tomolearn.cli.output import check_target, print_table, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tomolearn.evaluation import Comparison
    from tomolearn.tasks import Task

_PAIRS = 10


def evaluate(
    task: Annotated[str, typer.Option(help="Task, see `tomolearn tasks`.")],
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names of methods and of weights (`tomolearn models`), paths of weights, "
            "file.py:function, with commas between them and settings in parentheses: "
            "'fbp,tv(weight=0.1),my.py:f'. Default: the task's baselines and the weights trained "
            "for it.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="More metrics: rmse, file.py:function of (image, truth); with commas between."
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            "--seeds",
            min=1,
            help="Number of pairs: images, or noise seeds where a task has one image. "
            f"Default: {_PAIRS}.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="test, validation, train or another of the task.")
    ] = "test",
    data: Annotated[
        Path | None,
        typer.Option(help="Data of the task, if it takes any; `tomolearn tasks` tells."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the pairs. Default: the split's own.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Table to write: .csv, .json (with all values) or .md.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Picture (.png) of the first image by each method.")
    ] = None,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Black and white of the picture. Default: the range of the truth."),
    ] = None,
    zoom: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(
            help="Detail in the picture: first row, row after the last, the same for columns. "
            "Default: where there are most edges."
        ),
    ] = None,
    convergence: Annotated[
        Path | None,
        typer.Option(
            help="Picture (.png) of objective and error over the iterations, for the first pair."
        ),
    ] = None,
    stability: Annotated[
        bool,
        typer.Option(
            "--stability",
            help="Estimate how much a change of the data changes the image, for the first pair: a "
            "lower bound of the Lipschitz constant, by some 30 more reconstructions of each.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Compare methods on a task: PSNR, SSIM, time per image, learned parameters.

    Every method sees the same pairs. Metrics are in the task's convention and with data range 1,
    as means and standard deviations over the pairs. Time is the median per image, one at a time,
    after a call that does not count.
    """
    if out is not None:
        check_target(out, force=force, suffixes=(".csv", ".json", ".md"))
    for picture in (figure, convergence):
        if picture is not None:
            check_target(picture, force=force, suffixes=(".png",))
    for option, value in (("--window", window), ("--zoom", zoom)):
        if value is not None and figure is None:
            raise TomolearnError(f"{option}: expected with --figure only")

    from tomolearn._core.checks import check_choice
    from tomolearn.catalogue.names import split_names
    from tomolearn.data import n_pairs
    from tomolearn.evaluation import compare
    from tomolearn.evaluation.methods import default_methods
    from tomolearn.tasks import get_task

    chosen = get_task(task)
    names = default_methods(chosen) if methods is None else split_names("methods", methods)
    more = [] if metrics is None else split_names("metrics", metrics)
    check_choice("--split", split, tuple(chosen.splits))
    if images is None:
        size = n_pairs(chosen.pairs(split, data=data))
        images = _PAIRS if size is None else min(_PAIRS, size)
    with progress_bars() as progress:
        bars = {name: progress.add_task(name, total=images, unit="images") for name in names}
        comparison = compare(
            chosen,
            names,
            metrics=more,
            split=split,
            data=data,
            images=images,
            seed=seed,
            device=device,
            progress=lambda name, done: progress.update(bars[name], completed=done),
        )
    if figure is not None:
        # before the table, so that a wrong --zoom leaves no file
        drawn = comparison.draw(window=window, zoom=zoom)
        with complete_file(figure) as stream:
            drawn.savefig(stream, format="png")
    constants: dict[str, float] = {}
    if convergence is not None or stability:
        first = _FirstPair(chosen, names, split, data, images, seed, device, comparison)
        if convergence is not None:
            drawn = first.convergence()
            with complete_file(convergence) as stream:
                drawn.savefig(stream, format="png")
        if stability:
            constants = first.stability()
    if out is not None:
        write_text(out, _rendered(comparison, out.suffix.lower(), constants))
    print_comparison(comparison)
    if constants:
        rows = [(name, f"{one:.4g}") for name, one in constants.items()]
        heads = ("method", "Lipschitz constant, lower bound")
        print_table(heads, rows, right=heads[1:], title="Stability at the first pair's data")
    for path in (out, figure, convergence):
        if path is not None:
            typer.echo(f"wrote {path}", err=True)


class _FirstPair:
    """What is looked at beside the metrics, for the first pair that counts."""

    def __init__(
        self,
        task: Task,
        names: list[str],
        split: str,
        data: Path | None,
        images: int,
        seed: int | None,
        device: str,
        comparison: Comparison,
    ) -> None:
        from tomolearn._core.tensors import check_device

        self._task, self._names = task, names
        self._place = check_device("device", device)
        first = next(n for n in range(images) if n not in comparison.skipped)
        self._pair = task.pairs(split, data=data, size=images, seed=seed)[first]

    def convergence(self) -> Figure:
        """Return the figure of the methods that iterate."""
        from tomolearn.evaluation import draw_traces, trace
        from tomolearn.evaluation.convergence import iterates

        sinogram, truth = (one[None].to(self._place) for one in self._pair)
        operator = self._task.operator()
        methods = self._methods()
        chosen = {name: method for name, method in methods.items() if iterates(method)}
        if not chosen:
            raise TomolearnError(
                f"--convergence: expected a method that iterates, got {', '.join(methods)}"
            )
        return draw_traces(
            {name: trace(one, sinogram, operator, truth) for name, one in chosen.items()}
        )

    def stability(self) -> dict[str, float]:
        """Return the Lipschitz constants that were found, by method."""
        from tomolearn.evaluation import stability

        sinogram, operator = self._pair[0][None].to(self._place), self._task.operator()
        return {
            name: stability(method, sinogram, operator, rounds=3).constant
            for name, method in self._methods().items()
        }

    def _methods(self) -> dict[str, Any]:
        from tomolearn.evaluation.methods import choose_methods

        return dict(choose_methods(self._task, self._names, self._place))


def _rendered(comparison: Comparison, suffix: str, constants: dict[str, float]) -> str:
    from tomolearn.evaluation.tables import csv_table, markdown_table

    if suffix == ".csv":
        return csv_table(comparison)
    if suffix == ".md":
        return markdown_table(comparison)

    import torch

    from tomolearn._core.version import versions

    found = {
        "versions": versions(),
        "threads": torch.get_num_threads(),
        **comparison.to_dict(),
        **({"lipschitz_lower_bounds": constants} if constants else {}),
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def print_comparison(comparison: Comparison) -> None:
    """Show a comparison as a table on the screen."""
    from tomolearn.evaluation.tables import headings, note, text_rows

    title = f"{comparison.task.name}: {comparison.task.description}"
    heads, rows = headings(comparison), text_rows(comparison)
    print_table(heads, rows, right=heads[1:], title=title, caption=note(comparison))
