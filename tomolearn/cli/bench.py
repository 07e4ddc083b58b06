"""``tomolearn bench``: how fast the backends on this machine are, and training with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn.cli.output import check_target, write_text

if TYPE_CHECKING:
    from tomolearn.benchmarks.timing import Timing

__all__ = ["bench"]


def bench(
    case: Annotated[
        list[str] | None,
        typer.Option(help="A scan to measure, by name; may be given again. Default: all."),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Measurements per figure; their median counts.")
    ] = 5,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    peers: Annotated[
        bool, typer.Option(help="Measure other libraries, too, if they are installed.")
    ] = True,
    projectors: Annotated[
        bool, typer.Option(help="Measure projection and back-projection.")
    ] = True,
    methods: Annotated[
        bool, typer.Option(help="Measure FBP and total variation, too (CPU only).")
    ] = True,
    training: Annotated[
        bool,
        typer.Option(
            "--training",
            help="Measure steps of training learned primal-dual, too; needs a C++ compiler.",
        ),
    ] = False,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory",
            help="Measure the memory of a training step at 512 x 512, too (on CPUs: Linux only).",
        ),
    ] = False,
    equilibrium: Annotated[
        bool,
        typer.Option(
            "--equilibrium",
            help="Measure the backward modes of the deep-equilibrium network degrad-ellipses, and "
            "with --memory the memory of its iterations, too.",
        ),
    ] = False,
    batch: Annotated[
        Path | None,
        typer.Option(
            help="Measure `tomolearn dicom` on this folder of CT series, too, and its memory."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the JSON file.")] = False,
) -> None:
    """Measure projection and back-projection of all backends, as ratios to ASTRA in one run.

    On request it measures the training of a network, too, and how much memory that takes.
    """
    import torch

    from tomolearn.benchmarks.equilibrium import (
        measure_backward,
        measure_equilibrium_memory,
    )
    from tomolearn.benchmarks.speed import CASES, measure_methods, measure_projectors
    from tomolearn.benchmarks.training import measure_training, measure_training_memory
    from tomolearn.cli.info import versions
    from tomolearn.training import load

    names = list(CASES) if case is None else case
    for name in names:
        if name not in CASES:
            raise TomolearnError(f"--case: expected one of {'; '.join(CASES)}, got {name!r}")
    if device not in ("cpu", "cuda"):
        raise TomolearnError(f"--device: expected cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise TomolearnError("--device: expected a device of this machine, but torch sees no GPU")
    if case is not None and not projectors:
        raise TomolearnError("--case: expected none with --no-projectors, got " + "; ".join(case))
    asked = (projectors, training, memory, equilibrium, batch, methods and device == "cpu")
    if not any(asked):
        raise TomolearnError(
            "bench: expected something to measure, got --no-projectors without --training, "
            "--memory, --equilibrium, --batch or, on a CPU, --methods"
        )
    if out is not None:
        check_target(out, force=force, suffixes=(".json",))
    memories = [measure_training_memory(device=device)] if memory else []
    if memory and equilibrium:
        memories.append(measure_equilibrium_memory(device=device))
    timings: list[Timing] = []
    for name in names if projectors else ():
        typer.echo(f"measuring {name} ...", err=True)
        timings += measure_projectors(CASES[name], rounds=rounds, device=device, peers=peers)
    if methods and device == "cpu":
        typer.echo("measuring FBP and total variation ...", err=True)
        timings += measure_methods(rounds=rounds)
    if training:
        typer.echo("measuring training ...", err=True)
        timings += measure_training(rounds=rounds, device=device, peers=peers)
    if equilibrium:
        typer.echo("measuring deep-equilibrium networks ...", err=True)
        model: Any = load("degrad-ellipses")
        timings += measure_backward(model, rounds=rounds, device=device)
    if batch is not None:
        from tomolearn.benchmarks.batch import measure_batch

        typer.echo("measuring batches ...", err=True)
        timings += measure_batch(batch, rounds=rounds)
    for measured in memories:
        typer.echo("measuring the memory of training ...", err=True)
        timings += measured
    _print_table(timings)
    if out is not None:
        found = {
            "versions": versions(),
            "device": device,
            "threads": torch.get_num_threads(),
            "rounds": rounds,
            "timings": [timing.to_dict() for timing in timings],
        }
        write_text(out, json.dumps(found, indent=2) + "\n")
        typer.echo(f"wrote {out}", err=True)


def _print_table(timings: list[Timing]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        *("scan", "batch", "what", "who"),
        title="Medians; ratios to ASTRA (TV: ODL; training: ODL's torch layer in float32; "
        "backward modes: implicit, anderson; batches: one worker on one core)",
    )
    table.add_column("figure", justify="right")
    table.add_column("ratio", justify="right")
    for timing in timings:
        ratio = "" if timing.ratio is None else f"{timing.ratio:.1f}x"
        # three digits, without an exponent
        figure = f"{float(f'{timing.value:.3g}'):g} {timing.unit}".strip()
        table.add_row(timing.case, str(timing.batch), timing.what, timing.contender, figure, ratio)
    Console().print(table)
