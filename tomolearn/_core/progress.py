"""Progress bars on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_SPEED_PERIOD = 120.0  # seconds over which a speed is averaged


def progress_bars(shown: bool | None = None) -> Progress:
    """Progress bars on stderr: how much is done, how fast, since when, and for how long to go.

    The context's ``add_task(description, total=n, unit="slices")`` adds a bar. They are drawn where
    stderr is a terminal, and in notebooks, unless `shown` says otherwise.
    """
    # here, since rich takes a tenth of a second to load
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """What is counted, and how many of it a second."""

        def render(self, task: Task) -> Text:
            unit = str(task.fields.get("unit", ""))
            speed = "" if task.speed is None else f"{task.speed:.3g} / s"
            return Text(", ".join(filter(None, (unit, speed))))

    console = Console(stderr=True)
    if shown is None:
        shown = console.is_terminal or console.is_jupyter
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("to go:"),
        TimeRemainingColumn(),
        console=console,
        disable=not shown,
        speed_estimate_period=_SPEED_PERIOD,
    )


@contextmanager
def progress_bar(
    description: str, total: int, *, unit: str = "", shown: bool = True
) -> Iterator[Callable[[], None]]:
    """Yield a function that moves one bar on by one; rich is not loaded for a bar not shown."""
    if not shown:
        yield lambda: None
        return
    with progress_bars(shown) as bars:
        task = bars.add_task(description, total=total, unit=unit)
        yield lambda: bars.advance(task)
