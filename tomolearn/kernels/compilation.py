"""Compilation of loops, with a cache on the disk that nobody has to have."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import stat
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.ma  # noqa: F401 - by numba at the first call else, when threads may be forked
from llvmlite.binding import ffi
from numba import njit
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
    _SourceFileBackedLocatorMixin,
)
from numba.core.compiler_lock import global_compiler_lock

from tomolearn._core.fork import hold_at_fork

_DIGEST = hashlib.sha256
# of compilation, in the order in which it takes them
hold_at_fork(global_compiler_lock, ffi.lib._lock)
_DIGEST_SIZE = _DIGEST().digest_size


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function without the interpreter's lock, and keep the code on the disk if possible.

    A cache that cannot be written is said once, and each process compiles for itself then; what
    cannot be read counts as not there.
    """
    # division by zero must not raise inside kernels
    dispatcher = njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
    try:
        dispatcher._cache = _OptionalCache(function)
    except (OSError, RuntimeError) as error:  # numba's, if it knows no place
        _warn(error)
    return dispatcher


class _PrivateTemporaryFolder(_SourceFileBackedLocatorMixin, _CacheLocator):
    """Cache of users without a home, in a folder for temporary files that they alone can enter."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._py_file, self._lineno = py_file, py_func.__code__.co_firstlineno
        self._folder = Path(tempfile.gettempdir(), f"tomolearn-{os.getuid()}")

    def get_cache_path(self) -> str:
        return str(self._folder / self.get_suitable_cache_subpath(self._py_file))

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        status = self._folder.lstat()
        # loading from a cache runs code: it must not be somebody else's
        if not stat.S_ISDIR(status.st_mode) or (
            status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077
        ):
            raise PermissionError(f"{self._folder}: expected a folder of this user's alone")
        super().ensure_cache_path()

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        if not hasattr(os, "getuid"):
            return None
        try:
            return super().from_function(py_func, py_file)
        except OSError:  # no folder for temporary files at all
            return None


class _Places(CompileResultCacheImpl):
    _locator_classes = (*CompileResultCacheImpl._locator_classes, _PrivateTemporaryFolder)


class _CheckedFile(IndexDataCacheFile):
    """Compiled code with its digest: half a file, or one of zeros, must not be run."""

    def _save_data(self, name: str, data: Any) -> None:
        content = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(_DIGEST(content).digest() + content)

    def _load_data(self, name: str) -> Any:
        path = Path(self._data_path(name))
        content = path.read_bytes()
        if _DIGEST(content[_DIGEST_SIZE:]).digest() != content[:_DIGEST_SIZE]:
            raise OSError(f"{path}: damaged")  # numba: as if there was no file
        return pickle.loads(content[_DIGEST_SIZE:])


class _OptionalCache(FunctionCache):
    _impl_class = _Places

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        # numba would look at the function's own file, but kernels are made of those beside it
        self._cache_file = _CheckedFile(
            self.cache_path, self._impl.filename_base, _sources(Path(__file__).parent)
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        # a damaged index can end in any exception
        except Exception:
            self._begin_anew()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self.disable()
            _warn(error)

    def _begin_anew(self) -> None:
        try:
            self.flush()
        except OSError as error:
            self.disable()
            _warn(error)


@functools.cache
def _sources(folder: Path) -> str:
    digest = _DIGEST()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + _DIGEST(path.read_bytes()).digest())
    return digest.hexdigest()


_has_warned = threading.Event()


def _warn(error: Exception) -> None:
    if _has_warned.is_set():
        return
    _has_warned.set()
    warnings.warn(
        f"compiled kernels cannot be kept ({error}): each process compiles them for itself; "
        "NUMBA_CACHE_DIR names a folder for them",
        stacklevel=2,
    )
