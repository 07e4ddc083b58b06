"""Output folder of a batch: locked for one run, results that appear when they are complete.

Within the output folder lies a hidden one with the lock and with the unfinished series. A series
gets its place by renaming its folder. Unfinished work of an earlier run, which may have been
killed, is taken over by renaming that run's folder: a process that outlived it can no longer write
into anything that counts.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tomolearn._core.files import locked

HIDDEN = ".tomolearn"
_FILES = "files"
_REPLACED = "replaced"
_LONGEST_UID = 64


class Workspace:
    """The output folder, made if missing, locked while a run works in it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._hidden = out / HIDDEN
        self._held = ExitStack()
        self._run = self._hidden / f"run-{uuid.uuid4().hex}"

    def __enter__(self) -> Self:
        self._hidden.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(locked(self._hidden / "lock", self.out))
            self._take_over()
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._held:
            # an empty folder has nothing for a later run to take over
            if not any(self._run.iterdir()):
                self._run.rmdir()

    def _take_over(self) -> None:
        earlier = sorted(self._hidden.glob("run-*"))
        if not earlier:
            self._run.mkdir()
            return
        earlier[0].rename(self._run)
        # Only by hand can there have come to be more than one.
        for other in earlier[1:]:
            shutil.rmtree(other)
        _remove_partial(self._run.glob("*/**/.*.partial"))
        for folder in list(self._run.iterdir()):
            if not self.is_unfinished(folder.name):
                # its series has got its place, and the rest was being removed
                shutil.rmtree(folder)
            elif (folder / _REPLACED).exists():
                shutil.rmtree(folder / _REPLACED)

    def place(self, study_uid: str, series_uid: str) -> Path:
        """Return the folder of a finished series."""
        return self.out / folder_name(study_uid) / series_uid

    def is_unfinished(self, key: str) -> bool:
        """Return whether there is work on a series that has not got its place."""
        return (self._run / key / _FILES).is_dir()

    def unfinished(self) -> list[str]:
        """Return the keys of all unfinished series."""
        return [one.name for one in self._run.iterdir() if self.is_unfinished(one.name)]

    def begin(self, key: str) -> Path:
        """Return the folder of an unfinished series, with what there is of it."""
        folder = self._run / key
        (folder / _FILES).mkdir(parents=True, exist_ok=True)
        return folder

    def discard(self, key: str) -> None:
        """Remove what there is of an unfinished series."""
        folder = self._run / key
        if folder.exists():
            shutil.rmtree(folder)

    def finish(self, key: str, target: Path) -> None:
        """Give a complete series its place, of what is there, and remove its unfinished folder."""
        folder = self._run / key
        files = folder / _FILES
        _remove_partial(files.glob(".*.partial"))
        _sync(files)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(folder / _REPLACED)
        files.rename(target)
        _sync(target.parent)
        shutil.rmtree(folder)


def folder_name(study_uid: str) -> str:
    """Return the name of a study's folder; a damaged identifier may be anything, such as a path."""
    if re.fullmatch(r"\d+(\.\d+)*", study_uid, re.ASCII) and len(study_uid) <= _LONGEST_UID:
        return study_uid
    return hashlib.sha256(study_uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def files_of(folder: Path) -> Path:
    """Return where the files of an unfinished series lie."""
    return folder / _FILES


def _remove_partial(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
