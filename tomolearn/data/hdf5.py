"""HDF5 files that each process which reads them opens for itself."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from tomolearn._core.errors import TomolearnError

_OF_THE_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO, errno.ENOENT)


class HDF5File:
    """A file to read from, opened when it is first read; a handle does not survive a fork."""

    def __init__(self, path: Path, kind: str = "an HDF5 file") -> None:
        self.path, self._kind = path, kind
        self._file: Any = None
        self._process = 0

    def open(self) -> Any:
        """Return the open `h5py.File` of this process."""
        if self._file is None or self._process != os.getpid():
            import h5py

            if self.path.is_dir():
                raise IsADirectoryError(f"{self.path}: expected {self._kind}, got a folder")
            if not self.path.exists():
                raise FileNotFoundError(f"{self.path}: there is no such file")
            try:
                self._file = h5py.File(self.path, "r")
            except OSError as error:
                if error.errno in _OF_THE_SYSTEM:
                    raise
                raise TomolearnError(f"{self.path}: expected an HDF5 file ({error})") from error
            self._process = os.getpid()
        return self._file

    def close(self) -> None:
        """Close it; it is opened again when it is read again."""
        if self._file is not None:
            self._file.close()
        self._file, self._process = None, 0

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_file": None, "_process": 0}
