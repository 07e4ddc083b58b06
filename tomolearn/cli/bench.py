"""``tomolearn bench ...``: speed and memory on this machine, as ratios within one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn.cli.errors import CleanErrors
from tomolearn.cli.output import check_target, print_table, published_command, write_text

if TYPE_CHECKING:
    from tomolearn.benchmarks.timing import Timing

bench = typer.Typer(
    cls=CleanErrors,
    no_args_is_help=True,
    help="Measure speed and memory on this machine, as ratios within one run.",
)

Rounds = Annotated[int, typer.Option(min=1, help="Measurements per figure; their median counts.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Rivals = Annotated[bool, typer.Option(help="Measure other libraries, too, if they are installed.")]
Out = Annotated[Path | None, typer.Option(help="JSON file for the figures.")]
Memory = Annotated[
    bool, typer.Option("--memory", help="Measure memory, not time (on CPUs: Linux only).")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the JSON file.")]


@bench.command()
def projectors(
    case: Annotated[
        list[str] | None,
        typer.Option(help="A scan to measure, by name; may be given again. Default: all."),
    ] = None,
    rounds: Rounds = 5,
    device: Device = "cpu",
    rivals: Rivals = True,
    space: Annotated[
        bool,
        typer.Option("--space", help="Cone beams, FDK too, in processor time; ratios to RTK."),
    ] = False,
    out: Out = None,
    force: Force = False,
) -> None:
    """Measure projection and back-projection by all backends, as ratios to ASTRA."""
    _check(out, force, device)
    from tomolearn._core.checks import check_known
    from tomolearn.benchmarks.projectors import CASES, measure_projectors

    if space:
        from tomolearn.benchmarks.space import SPACE_CASES, measure_space
        from tomolearn.benchmarks.space_rivals import installed_versions

        if device != "cpu":
            raise TomolearnError(f"device: expected cpu for scans in space, got {device!r}")
        chosen = [check_known("case", name, tuple(SPACE_CASES)) for name in case or SPACE_CASES]
        found = (
            timing
            for name in chosen
            for timing in measure_space(SPACE_CASES[name], rounds=rounds, rivals=rivals)
        )
        versions = installed_versions() if rivals else {}
        title = "Medians of processor time; ratios to RTK"
        _report(found, title, out, rounds=rounds, rivals=versions)
        return
    names = [check_known("case", name, tuple(CASES)) for name in case or CASES]
    timings = (
        timing
        for name in names
        for timing in measure_projectors(CASES[name], rounds=rounds, device=device, rivals=rivals)
    )
    _report(timings, "Medians; ratios to ASTRA", out, device=device, rounds=rounds)


@bench.command()
def methods(
    rounds: Rounds = 5,
    iterations: Annotated[int, typer.Option(min=1, help="Of total variation.")] = 1000,
    out: Out = None,
    force: Force = False,
) -> None:
    """Measure FBP against ASTRA's and total variation against ODL's, on CPUs."""
    _check(out, force)
    from tomolearn.benchmarks.methods import measure_methods

    timings = measure_methods(rounds=rounds, iterations=iterations)
    _report(timings, "Medians; ratios to ASTRA (FBP) and ODL (TV)", out, rounds=rounds)


@bench.command()
def training(
    rounds: Rounds = 5,
    device: Device = "cpu",
    rivals: Rivals = True,
    memory: Memory = False,
    volume: Annotated[
        bool, typer.Option("--volume", help="With --memory: that of a network of 128^3 voxels.")
    ] = False,
    out: Out = None,
    force: Force = False,
) -> None:
    """Measure training steps of learned primal-dual, as ratios to ODL's torch layer in float32.

    It compiles the network's blocks, too, which needs a C++ compiler. Memory is that at 512 x 512,
    or of a volume, computed as a whole and in blocks.
    """
    _check(out, force, device)
    from tomolearn.benchmarks.training import (
        measure_training,
        measure_training_memory,
        measure_volume_memory,
    )

    if volume and not memory:
        raise TomolearnError("--volume: expected with --memory, got it alone")
    if volume:
        timings = measure_volume_memory(device=device)
    elif memory:
        timings = measure_training_memory(device=device)
    else:
        timings = measure_training(rounds=rounds, device=device, rivals=rivals)
    title = "Medians; ratios to ODL's torch layer in float32"
    _report(timings, title, out, device=device, rounds=rounds)


@bench.command()
def equilibrium(
    rounds: Rounds = 5,
    device: Device = "cpu",
    memory: Memory = False,
    out: Out = None,
    force: Force = False,
) -> None:
    """Measure the backward modes of degrad-ellipses, or the memory of few and many iterations."""
    _check(out, force, device)
    from tomolearn.benchmarks.equilibrium import measure_backward, measure_equilibrium_memory
    from tomolearn.training import load

    if memory:
        timings = measure_equilibrium_memory(device=device)
    else:
        model: Any = load("degrad-ellipses")
        timings = measure_backward(model, rounds=rounds, device=device)
    title = "Medians; ratios to implicit gradients by Anderson's iteration"
    _report(timings, title, out, device=device, rounds=rounds)


@bench.command()
def batch(
    source: Annotated[Path, typer.Argument(help="Folder of CT series.")],
    rounds: Annotated[
        int, typer.Option(min=1, help="Runs of FBP; their median counts, of TV there is one.")
    ] = 5,
    tv: Annotated[bool, typer.Option(help="Measure total variation, too: minutes.")] = True,
    out: Out = None,
    force: Force = False,
) -> None:
    """Measure `tomolearn dicom` on a folder, and its memory; ratios to one worker on one core."""
    _check(out, force)
    from tomolearn.benchmarks.batch import measure_batch

    timings = measure_batch(source, rounds=rounds, tv=tv)
    _report(timings, "Medians; ratios to one worker on one core", out, rounds=rounds)


def _check(out: Path | None, force: bool, device: str = "cpu") -> None:
    from tomolearn._core.tensors import check_device

    check_device("device", device)
    if out is not None:
        check_target(out, force=force, suffixes=(".json",))


def _report(timings: Iterable[Timing], title: str, out: Path | None, **settings: Any) -> None:
    """Measure, show the figures as a table, and write them with command, machine and settings."""
    from tomolearn.evaluation.benchmarking.run import machine

    on = machine()  # its load is that before this run
    found = []
    for timing in timings:
        typer.echo(f"measured {timing.case}, {timing.what}, {timing.contender}", err=True)
        found.append(timing)
    heads = ("scan", "batch", "what", "who", "figure", "ratio")
    print_table(heads, map(_cells, found), right=heads[-2:], title=title)
    if out is not None:
        figures = {
            "command": published_command(sys.argv[1:]),
            "machine": on,
            **settings,
            "timings": [timing.to_dict() for timing in found],
        }
        write_text(out, json.dumps(figures, indent=2) + "\n")
        typer.echo(f"wrote {out}", err=True)


def _cells(timing: Timing) -> list[str]:
    ratio = "" if timing.ratio is None else f"{timing.ratio:.1f}x"
    # three digits, without an exponent
    figure = f"{float(f'{timing.value:.3g}'):g} {timing.unit}".strip()
    return [timing.case, str(timing.batch), timing.what, timing.contender, figure, ratio]
