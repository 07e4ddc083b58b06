"""The command line, ``tomolearn ...``.

One module per command. A command's module is loaded with the application, so it imports at module
level only what its options need; everything slow is imported when the command runs.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tomolearn._core.signals import terminable
from tomolearn.cli.bench import bench
from tomolearn.cli.benchmark import benchmark
from tomolearn.cli.calibrate import calibrate
from tomolearn.cli.ct_pd import ct_pd
from tomolearn.cli.demo import demo
from tomolearn.cli.dicom import dicom
from tomolearn.cli.errors import CleanErrors
from tomolearn.cli.evaluate import evaluate
from tomolearn.cli.info import info
from tomolearn.cli.lidc import lidc
from tomolearn.cli.method_options import MethodCommand
from tomolearn.cli.models import models
from tomolearn.cli.node import node
from tomolearn.cli.reconstruct import reconstruct
from tomolearn.cli.simulate import simulate
from tomolearn.cli.stress import stress
from tomolearn.cli.tasks import tasks
from tomolearn.cli.train import train
from tomolearn.cli.uncertainty import uncertainty
from tomolearn.cli.view import view
from tomolearn.cli.warm import warm

__all__ = ["app", "main"]

# The commands in the order of `--help`.
COMMANDS = (
    demo,
    reconstruct,
    calibrate,
    dicom,
    node,
    ct_pd,
    tasks,
    simulate,
    train,
    models,
    evaluate,
    benchmark,
    uncertainty,
    stress,
    view,
    info,
    warm,
)

# Those whose options are the settings of a method.
METHOD_COMMANDS = (reconstruct, dicom, node)

app = typer.Typer(
    cls=CleanErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0, done; 1, dicom has lost slices or found none; 2, a mistake, or a fault "
    "of the machine such as a full disk; 70, an unexpected error; 130 and 143, stopped.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import tomolearn

        typer.echo(f"tomolearn {tomolearn.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Learned computed tomography: an exact, differentiable ray transform and what uses it."""


for _command in COMMANDS:
    app.command(cls=MethodCommand if _command in METHOD_COMMANDS else None)(_command)
app.add_typer(bench, name="bench")
app.add_typer(lidc, name="lidc")


def main() -> None:
    """Run the command that ``sys.argv`` asks for, and exit."""
    # Torch's idle threads spin for some milliseconds by default, and our kernels run meanwhile.
    # It has to be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # A name of a patient that the terminal cannot show must not end a run.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        Path.cwd()
    except FileNotFoundError:  # torch and others end without a word about it
        typer.echo("error: the working directory was removed; change to another", err=True)
        sys.exit(2)
    with terminable():
        app(prog_name="tomolearn")
