"""Output folder of a batch: locked for one run, results that appear when they are complete.

Within the output folder lies a hidden one with the lock and with the unfinished series. A series
gets its place by renaming its folder. Unfinished work of an earlier run, which may have been
killed, is taken over by renaming that run's folder: a process that outlived it can no longer write
into anything that counts.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from tomolearn._core.files import locked, sync_folder

HIDDEN = ".tomolearn"
_LOCK = "lock"
_FILES = "files"
_REMOVED = "removed-"
_REPLACED = "replaced"
_LONGEST_UID = 64


class Workspace:
    """The output folder, made if missing, locked while a run works in it.

    If it is `private`, the hidden folder can be entered by its owner only.
    """

    def __init__(self, out: Path, *, private: bool = False) -> None:
        self.out, self._private = out, private
        self._hidden = out / HIDDEN
        self._held = ExitStack()
        self._run = self._hidden / f"run-{uuid.uuid4().hex}"

    def __enter__(self) -> Self:
        self._hidden.mkdir(parents=True, exist_ok=True)
        if self._private:
            # what is unfinished names the files of the source
            self._hidden.chmod(0o700)
        if (self._hidden / _LOCK).is_dir():
            shutil.rmtree(self._hidden / _LOCK)
        with ExitStack() as stack:
            stack.enter_context(locked(self._hidden / _LOCK, self.out))
            self._take_over()
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._held:
            # an empty folder has nothing for a later run to take over
            if not any(self._run.iterdir()):
                self._run.rmdir()

    def _take_over(self) -> None:
        """Take over unfinished work, without what cannot be part of it."""
        for path in self._hidden.glob(f"{_REMOVED}*"):
            _remove(path)
        earlier = [path for path in sorted(self._hidden.glob("run-*")) if _is_folder(path)]
        if not earlier:
            self._run.mkdir()
            return
        earlier[0].rename(self._run)
        # Only by hand can there have come to be more than one.
        for other in earlier[1:]:
            self._discard(other)
        for folder in list(self._run.iterdir()):
            if not self.is_unfinished(folder.name):
                # its series has got its place, and the rest was being removed
                self._discard(folder)
                continue
            for path in list(folder.iterdir()):
                # a folder where a file should be, or what was replaced
                if path.name != _FILES and (path.is_dir() or path.name == _REPLACED):
                    self._discard(path)
            for path in list(files_of(folder).iterdir()):
                if path.name.startswith(".") or path.is_dir():
                    _remove(path)

    def _discard(self, path: Path) -> None:
        """Remove something that must not be found again, be it by and by."""
        removed = path.rename(self._hidden / f"{_REMOVED}{uuid.uuid4().hex}")
        _remove(removed)

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
            self._discard(folder)

    def finish(self, key: str, target: Path) -> None:
        """Give a complete series its place, of what is there, and remove its unfinished folder."""
        folder = self._run / key
        files = folder / _FILES
        # half files, and what systems leave in folders
        for path in list(files.glob(".*")):
            _remove(path)
        sync_folder(files)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(folder / _REPLACED)
        files.rename(target)
        sync_folder(target.parent)
        self._discard(folder)

    def remove(self, result: Path) -> None:
        """Remove a finished series, and the folders above it that are empty then."""
        self._discard(result)
        with suppress(OSError):
            for folder in itertools.takewhile(lambda one: one != self.out, result.parents):
                folder.rmdir()


def folder_name(study_uid: str) -> str:
    """Return the name of a study's folder; a damaged identifier may be anything, such as a path."""
    if re.fullmatch(r"\d+(\.\d+)*", study_uid, re.ASCII) and len(study_uid) <= _LONGEST_UID:
        return study_uid
    return hashlib.sha256(study_uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def files_of(folder: Path) -> Path:
    """Return where the files of an unfinished series lie."""
    return folder / _FILES


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    """Remove a file or folder as far as that can be done now: a later run removes the rest.

    On NFS a file that some process has open stays under a hidden name, and so does its folder.
    """
    if _is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
