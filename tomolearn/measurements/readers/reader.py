"""What a format of files is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tomolearn.measurements.readers.recording import Recording


@dataclass(frozen=True)
class Reader:
    """A format of files.

    Parameters
    ----------
    suffixes : tuple of str
        How names of its files end, in lower case.
    opened : callable
        ``opened(path)`` is a context manager of the `Recording`, whose frames are read in it.
    recognises : callable, optional
        ``recognises(path)`` says whether a file with a suffix of several formats is of this one.
    """

    suffixes: tuple[str, ...]
    opened: Callable[[Path], AbstractContextManager[Recording]]
    recognises: Callable[[Path], bool] | None = None
