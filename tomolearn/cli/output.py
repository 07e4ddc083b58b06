"""What commands leave: files that appear only when they are complete, and tables."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn._core.files import complete_file, write_bytes
from tomolearn._core.printable import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tomolearn.geometry import Grid


def check_target(path: Path, *, force: bool, suffixes: tuple[str, ...] = ()) -> None:
    """Check that a file can be written, before the work whose result it is to hold."""
    if suffixes and not path.name.lower().endswith(suffixes):
        raise TomolearnError(
            f"{path}: expected a name that ends in {', '.join(suffixes)}, got {path.suffix!r}"
        )
    if not path.parent.exists():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if not path.parent.is_dir():
        raise NotADirectoryError(f"{path}: {path.parent} is not a folder")
    if path.is_dir():
        raise FileExistsError(f"{path}: expected the name of a file, got a folder")
    if path.exists() and not force:
        raise FileExistsError(f"{path}: exists already; --force overwrites it")


def published_command(arguments: list[str]) -> str:
    """Return a command for documents, without the files and folders of whoever ran it."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name in ("--out", "--results", "--data"):
            if not value:
                next(words, None)
            kept += ["--data", "DATA"] if name == "--data" else []
        elif word != "--force":
            kept.append(word)
    return shlex.join(["tomolearn", *kept])


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    write_bytes(path, text.encode())


def write_array(path: Path, array: NDArray[Any], grid: Grid | None = None) -> None:
    """Write an array as ``.npy``, or under the name "image" into a ``.npz`` or HDF5 file.

    With the grid of a volume the name may also be that of a format that says where voxels are.
    """
    import numpy as np

    if grid is not None:
        from tomolearn.data.volumes import is_volume_name, write_volume

        if is_volume_name(path):
            write_volume(path, array, grid)
            return
    suffix = path.suffix.lower()
    with complete_file(path) as stream:
        if suffix == ".npy":
            np.save(stream, array, allow_pickle=False)
        elif suffix == ".npz":
            np.savez(stream, image=array)
        else:
            from tomolearn.data.hdf5 import new_hdf5

            with new_hdf5(stream) as made, made.step() as file:
                file.create_dataset("image", data=array)


def echo(text: str, *, err: bool = False) -> None:
    """Write a line in which there may be text of files, on stdout or stderr."""
    typer.echo(printable(text), err=err)


@contextmanager
def log_file(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Yield a function that adds a line with its time to a file, or nothing where there is none."""
    if path is None:
        yield lambda _: None
        return
    from datetime import UTC, datetime

    with path.open("a", encoding="utf-8", errors="backslashreplace") as stream:

        def add(line: str) -> None:
            time = datetime.now(UTC).isoformat(timespec="seconds")
            stream.write(f"{time} {printable(line)}\n")
            stream.flush()

        yield add


def print_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Collection[str] = (),
    title: str = "",
    caption: str = "",
    no_wrap: bool = False,
    **options: Any,
) -> None:
    """Show a table, with the columns of numbers on the `right`; `options` are rich's."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # as text, since rich takes words in brackets for its own markup
    table = Table(
        title=Text(printable(title), "table.title") if title else None,
        caption=Text(printable(caption), "table.caption") if caption else None,
        **options,
    )
    for number, head in enumerate(heads):
        table.add_column(
            Text(head),
            justify="right" if head in right else "left",
            no_wrap=no_wrap and number == 0,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    Console().print(table)
