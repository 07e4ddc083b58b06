"""``python -m data_sim``: synthetic data on disk."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import get_args

from data_sim.lidc.writing import Annotations, Layout, write_lidc

_INTERRUPTED = 130
_WRONG = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands behind the program's name; default that of this process.

    Returns
    -------
    int
        Exit code: 0, 2 after an error, which is one line on stderr, or 130 if interrupted.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        tree = write_lidc(
            options.out,
            options.patients,
            options.slices,
            seed=options.seed,
            layout=options.layout,
            annotations=options.annotations,
            shape=(options.size, options.size),
            resume=options.resume,
            jobs=options.jobs,
            progress=_show if sys.stderr.isatty() else None,
        )
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{parser.prog}: error: {_one_line(error)}\n")
        return _WRONG
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog}: interrupted; --resume continues\n")
        return _INTERRUPTED
    sys.stdout.write(
        f"{tree.root}: {_count(tree.patients, 'patient')}, {_count(tree.slices, 'CT slice')}, "
        f"{_count(tree.radiographs, 'radiograph')}, {_count(tree.annotations, 'XML file')} "
        f"in {time.monotonic() - start:.1f} s\n"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_sim", description="Write synthetic data.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    lidc = commands.add_parser(
        "lidc",
        help="patients with CT series, radiographs and readings, as LIDC-IDRI is published",
        description="Write synthetic patients in the form in which LIDC-IDRI is published.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    lidc.add_argument("out", metavar="OUT", help="folder to write into, empty or missing")
    lidc.add_argument("--patients", type=int, required=True, help="number of patients")
    lidc.add_argument("--slices", type=int, required=True, help="CT slices of each patient")
    lidc.add_argument("--seed", type=int, default=0, help="which patients")
    lidc.add_argument(
        "--layout", choices=get_args(Layout), default="classic", help="names of the folders"
    )
    lidc.add_argument(
        "--annotations",
        choices=get_args(Annotations),
        default="series",
        help="XML files with the images of their series, or in a tree of their own",
    )
    lidc.add_argument("--size", type=int, default=512, help="rows and columns")
    lidc.add_argument("--jobs", type=int, default=_cores(), help="number of processes")
    lidc.add_argument(
        "--resume", action="store_true", help="keep the files that are there, add what is missing"
    )
    return parser


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _show(done: int, patients: int) -> None:
    end = "\n" if done == patients else ""
    sys.stderr.write(f"\r{done} of {patients} patients{end}")
    sys.stderr.flush()


def _one_line(error: Exception) -> str:
    """Return an error's message; one of the system as path and reason, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
