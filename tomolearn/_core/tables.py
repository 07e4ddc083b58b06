"""Tables of named things, which other packages add to by entry point."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, Generic, TypeVar

from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.files import resolved

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where a thing of a table comes from, so that it can be found again, unchanged.

    `spec` is what `Table.find` takes, with the absolute path of a file; `package` is the one whose
    entry point it is; `file` and `sha256` are source and digest of what is not ours.
    """

    spec: str
    package: str | None = None
    version: str | None = None
    file: str | None = None
    sha256: str | None = None


class Table(Mapping[str, T], Generic[T]):
    """Named things, imported when they are asked for; listing the names imports nothing.

    Error messages have their `kind`: "task". `builtin` is ``{"name": "package.module:attribute"}``,
    `group` that of entry points by which other packages add, ``tomolearn.tasks`` for example.
    ``check(where, value)`` returns what was loaded, or what it makes of it, or raises
    `TomolearnError`; without it anything will do.
    """

    def __init__(
        self,
        kind: str,
        builtin: Mapping[str, str],
        *,
        group: str,
        check: Callable[[str, Any], T] | None = None,
    ) -> None:
        self.kind, self.group = kind, group
        self._builtin, self._check = dict(builtin), check
        self._loaded: dict[str, tuple[Any, T]] = {}
        self._searched: tuple[list[str], dict[str, EntryPoint]] | None = None

    def __iter__(self) -> Iterator[str]:
        yield from (*self._builtin, *self._added())

    def __len__(self) -> int:
        return len(self._builtin) + len(self._added())

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in self._added()

    def __getitem__(self, name: str) -> T:
        added = self._added()
        if name in self._builtin:
            return self.check(name, resolve_name(self._builtin[name]))
        entry = added[name]
        try:
            value = entry.load()
        except Exception as error:  # whatever happens in a foreign package is that package's
            raise ImportError(
                f"{self.kind} {name}: the entry point {entry.value!r} of the package "
                f"{_package(entry)} ({self.group}) cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        return self.check(name, value)

    def __repr__(self) -> str:
        return f"<table of {self.group}: {', '.join(self)}>"

    def find(self, spec: str) -> T:
        """Return what is at a name of the table, ``path/to/file.py:name``, or ``module:name``."""
        if isinstance(spec, str) and spec not in self and (":" in spec or spec.endswith(".py")):
            return self.check(spec, find_object(self.kind, spec))
        return self[check_known(self.kind, spec, tuple(self))]

    def origin(self, spec: str) -> Origin:
        """Return where `find` takes a thing from; it imports the module of a file or an entry."""
        if spec in self._builtin:
            return Origin(spec)
        entry = self._added().get(spec)
        if entry is None:
            find_object(self.kind, spec)
            where, _, _ = absolute(spec).rpartition(":")
            if where.endswith(".py"):
                return Origin(absolute(spec), file=where, sha256=_digest(where))
            return Origin(spec, **_source(where))
        self[spec]
        version = None if entry.dist is None else entry.dist.version
        return Origin(spec, _package(entry), version, **_source(entry.module))

    def spec_of(self, value: Any) -> str:
        """Return what `find` takes for a class, function or value: its name, or where it stands."""
        targets = self._builtin | {name: entry.value for name, entry in self._added().items()}
        for name, target in targets.items():
            module, _, attribute = target.partition(":")
            # what is there has been imported: nothing else needs to be
            if _reached(sys.modules.get(module.strip()), attribute.strip()) is value:
                return name
        return location(self.kind, value)

    def check(self, where: str, value: Any) -> T:
        """Return a value, that stands somewhere, as the table has it."""
        if where not in self._loaded or self._loaded[where][0] is not value:
            made = value if self._check is None else self._check(where, value)
            self._loaded[where] = value, made
        return self._loaded[where][1]

    def _added(self) -> dict[str, EntryPoint]:
        """Return the entry points of other packages, read again when ``sys.path`` has changed."""
        if self._searched is None or self._searched[0] != sys.path:
            added: dict[str, EntryPoint] = {}
            for entry in entry_points(group=self.group):
                if entry.name in self._builtin or entry.name in added:
                    other = added.get(entry.name)
                    owner = "tomolearn" if other is None else f"the package {_package(other)}"
                    raise TomolearnError(
                        f"{self.kind} {entry.name}: the package {_package(entry)} hides the one "
                        f"of {owner} by its entry point {entry.value!r} ({self.group}); one of "
                        "the two needs another name"
                    )
                added[entry.name] = entry
            self._searched = list(sys.path), added
        return self._searched[1]


def subclass_of(kind: str, *bases: type) -> Callable[[str, Any], Any]:
    """Return the `check` of a `Table` of classes that derive from one of the bases."""

    def check(where: str, value: Any) -> Any:
        if not (isinstance(value, type) and issubclass(value, bases)):
            names = " or ".join(f"{base.__module__}.{base.__name__}" for base in bases)
            raise TomolearnError(f"{kind} {where}: expected a subclass of {names}, got {value!r}")
        return value

    return check


def find_object(name: str, spec: str) -> Any:
    """Return the attribute ``path/to/file.py:name`` or ``module:name``; errors begin with `name`.

    A file is run once, and finds what lies in its folder.
    """
    if not isinstance(spec, str):
        raise TomolearnTypeError(f"{name}: expected a str, got {spec!r} ({type(spec).__name__})")
    where, _, attribute = spec.rpartition(":")
    if not where or not attribute:
        raise TomolearnError(f"{name}: expected path/to/file.py:name or module:name, got {spec!r}")
    module = _run_file(where) if where.endswith(".py") else importlib.import_module(where)
    try:
        return attrgetter(attribute)(module)
    except AttributeError as error:
        public = [key for key in vars(module) if not key.startswith("_")]
        near = difflib.get_close_matches(attribute, public, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise TomolearnError(
            f"{name}: expected a name that {where} defines, got {attribute!r}{hint}"
        ) from error


def absolute(spec: str) -> str:
    """Return ``path/to/file.py:name`` with the file's absolute path, and anything else as it is."""
    where, colon, name = spec.rpartition(":")
    return f"{resolved(where)}:{name}" if colon and where.endswith(".py") else spec


def short_name(spec: str) -> str:
    """Return a name without the file or module that it stands in."""
    return spec.rpartition(":")[2]


def location(name: str, value: Any) -> str:
    """Return where `find_object` finds a class or function."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    attribute = getattr(value, "__qualname__", "")
    if module is None or _reached(module, attribute) is not value:
        raise TomolearnError(
            f"{name}: expected what a file of Python or a module defines, so that it can be found "
            f"again, got {value!r}"
        )
    file = getattr(module, "__file__", None)
    if module.__name__ != "__main__" and not module.__name__.startswith(_FILE):
        return f"{module.__name__}:{attribute}"
    if file is None or not file.endswith(".py"):
        raise TomolearnError(
            f"{name}: expected what a file defines, so that it can be found again, got {value!r} "
            "of an interactive session; write it into a file and import it from there"
        )
    return f"{resolved(file)}:{attribute}"


# Names of the modules that are files of users begin so: no package's module is replaced by one.
_FILE = "_tomolearn_file_"


def _run_file(path: str) -> ModuleType:
    file = resolved(path)
    if not file.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    main = sys.modules["__main__"]
    if resolved(getattr(main, "__file__", None) or "") == file:
        return main  # a script that speaks of its own classes is not run a second time
    name = _FILE + hashlib.sha256(os.fsencode(file)).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # at the end: what is installed stays what it is
    sys.modules[name] = module = ModuleType(name)
    module.__file__ = str(file)
    try:
        exec(compile(file.read_bytes(), file, "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reached(module: ModuleType | None, attribute: str) -> Any:
    try:
        return None if module is None else attrgetter(attribute)(module)
    except AttributeError:
        return None


def _package(entry: EntryPoint) -> str:
    return "?" if entry.dist is None else entry.dist.name


def _source(module: str) -> dict[str, str]:
    file = getattr(sys.modules[module], "__file__", None)
    return {} if file is None else {"file": file, "sha256": _digest(file)}


def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
