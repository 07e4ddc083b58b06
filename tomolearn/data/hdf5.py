"""HDF5 files: made without a failed write, and read by each process that opens them."""

from __future__ import annotations

import errno
import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomolearn._core.errors import TomolearnError
from tomolearn._core.memory import check_unpacked
from tomolearn._core.signals import uninterrupted

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_WORDS = ("no", "one", "two", "three", "four")
_OF_THE_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO, errno.ENOENT)


class HDF5File:
    """A file to read from, opened when it is first read; a handle does not survive a fork."""

    def __init__(self, path: Path, kind: str = "an HDF5 file") -> None:
        self.path, self._kind = path, kind
        self._file: Any = None
        self._process = 0
        self._datasets: dict[str, Any] = {}

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
            self._process, self._datasets = os.getpid(), {}
        return self._file

    def dataset(self, name: str, ndim: int | None = None) -> Any:
        """Return a data set of it, see `dataset`."""
        file = self.open()
        if name not in self._datasets:
            self._datasets[name] = dataset(file, name, ndim)
        return self._datasets[name]

    def close(self) -> None:
        """Close it; it is opened again when it is read again."""
        if self._file is not None:
            self._file.close()
        self._file, self._process, self._datasets = None, 0, {}

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_file": None, "_process": 0, "_datasets": {}}


def dataset(file: Any, name: str, ndim: int | None = None) -> Any:
    """Return a data set whose values lie in the file itself, and in chunks that can be held.

    Raises
    ------
    ValueError
        If there is none of this name; or if it is made of other files, which a file of a stranger
        must not choose.
    """
    import h5py

    where, axes = f"{file.filename}: {name}", "" if ndim is None else f" with {_WORDS[ndim]} axes"
    elsewhere = f"{where}: expected values that lie in the file itself, got some of another file"
    if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        raise TomolearnError(elsewhere)
    found = file.get(name)
    shape = getattr(found, "shape", None)
    if shape is None or (ndim is not None and len(shape) != ndim):
        kind = "none" if found is None else shape or "a group, or an empty one"
        raise TomolearnError(f"{file.filename}: expected the data set {name}{axes}, got {kind}")
    if found.is_virtual or found.external:
        raise TomolearnError(elsewhere)
    if found.size and not _stored(found):
        raise TomolearnError(f"{where}: expected values, got {shape} of which none is stored")
    if found.chunks is not None:
        check_unpacked(where, math.prod(found.chunks) * found.dtype.itemsize, _stored(found))
    return found


def check_stored(found: Any) -> None:
    """Check that not few bytes stand for very many, before all values are read or counted."""
    where = f"{found.file.filename}: {found.name.strip('/')}"
    check_unpacked(where, math.prod(found.shape) * found.dtype.itemsize, _stored(found))


def _stored(found: Any) -> int:
    return int(found.id.get_storage_size())


class HDF5Maker:
    """A new HDF5 file, changed step by step.

    HDF5 that meets an error while it writes tries again when the file is closed, or at exit, and
    then crashes the process. Here it meets none: they are raised when it has returned.
    """

    def __init__(self, stream: io.BufferedRandom) -> None:
        # without its buffer, which would keep what it could not write
        self._disk = _NeverFailing(stream.raw)
        self._file: Any = None

    @contextmanager
    def step(self) -> Iterator[Any]:
        """Change the open `h5py.File`; what is not on the disk is in memory until this ends.

        Raises
        ------
        OSError
            If it could not be written.
        """
        import h5py

        with uninterrupted():
            if self._file is None:
                self._file = h5py.File(self._disk, "w")
            yield self._file
        self._disk.check()

    def close(self) -> None:
        """Close it, and raise the error that came then."""
        with uninterrupted():
            if self._file is not None:
                self._file.close()
        self._disk.check()


@contextmanager
def new_hdf5(stream: io.BufferedRandom) -> Iterator[HDF5Maker]:
    """Make an HDF5 file in a new one that `complete_files` has opened."""
    made = HDF5Maker(stream)
    try:
        yield made
    finally:
        made.close()


class _NeverFailing(io.RawIOBase):
    """A file that keeps in memory what it cannot write to the disk, and why."""

    def __init__(self, file: io.RawIOBase) -> None:
        super().__init__()
        self._file, self._at = file, 0
        self._kept: list[tuple[int, bytes]] = []
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the error of the first write that failed."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        ends = [self._file.seek(0, os.SEEK_END), *(at + len(data) for at, data in self._kept)]
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: max(ends)}[whence]
        return self._at

    def write(self, content: ReadableBuffer, /) -> int:
        data = memoryview(content).cast("B")
        done = 0
        try:
            self._file.seek(self._at)
            while self._error is None and done < len(data):
                done += self._file.write(data[done:]) or 0
        except OSError as error:
            self._error = error
        if done < len(data):
            self._kept.append((self._at + done, bytes(data[done:])))
        self._at += len(data)
        return len(data)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        data = memoryview(buffer).cast("B")
        n = 0
        try:
            self._file.seek(self._at)
            n = self._file.readinto(data) or 0
        except OSError as error:
            self._error = self._error or error
        data[n:] = bytes(len(data) - n)
        for at, kept in self._kept:
            first, last = max(at, self._at), min(at + len(kept), self._at + len(data))
            if first < last:
                data[first - self._at : last - self._at] = kept[first - at : last - at]
        self._at += len(data)
        return len(data)

    def truncate(self, size: int | None = None, /) -> int:
        size = self._at if size is None else size
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size
