"""The project's modules and what they import, read from the sources without running them."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

TYPES_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
# where an import stands that is not at the level of the module, if in no function
LAZILY, IN_A_STRING = "names loaded when they are used", "name in a string"
NAME = re.compile(r"(tomolearn|data_sim)(\.\w+)+(:\w+)?")


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@dataclass(frozen=True)
class Import:
    """One imported name: `from a import b` counts as `a.b`, which may be a module or not."""

    importer: str
    target: str
    where: str
    functions: tuple[str, ...]
    for_types_only: bool

    @property
    def root(self) -> str:
        return self.target.partition(".")[0]

    @property
    def runs_at_import(self) -> bool:
        return not self.functions and not self.for_types_only

    def __str__(self) -> str:
        return f"{self.where} {self.importer} imports {self.target}"


@dataclass(frozen=True)
class Source:
    """One parsed module; that of a package with the names that its stub has for it."""

    name: str
    path: str
    is_package: bool
    tree: ast.Module
    stub: ast.Module | None

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        found = [*self._imports(self.tree, (), False)]
        if self.stub is not None:
            found += self._imports(self.stub, (LAZILY,), False)
        return tuple(found)

    @cached_property
    def offers(self) -> dict[str, str]:
        """What a package takes from its modules: full names by those that users import."""
        found = {}
        for tree in (self.tree, self.stub) if self.is_package else ():
            for node in tree.body if tree is not None else ():
                if isinstance(node, ast.ImportFrom):
                    for alias, target in zip(node.names, self._targets(node), strict=True):
                        found[alias.asname or alias.name] = target
        return found

    def _imports(
        self, node: ast.AST, functions: tuple[str, ...], for_types_only: bool
    ) -> Iterator[Import]:
        where = f"{self.path}:{getattr(node, 'lineno', 1)}"
        for target in self._targets(node):
            yield Import(self.name, target, where, functions, for_types_only)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if NAME.fullmatch(node.value):
                target = node.value.replace(":", ".")
                yield Import(self.name, target, where, (*functions, IN_A_STRING), for_types_only)
            return
        if isinstance(node, ast.If) and ast.unparse(node.test) in TYPES_ONLY:
            for child in node.body:
                yield from self._imports(child, functions, True)
            for child in node.orelse:
                yield from self._imports(child, functions, for_types_only)
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            functions = (*functions, getattr(node, "name", "<lambda>"))
        for child in ast.iter_child_nodes(node):
            yield from self._imports(child, functions, for_types_only)

    def _targets(self, node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            base = self._absolute("." * node.level + (node.module or ""))
            return [base if alias.name == "*" else f"{base}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Call) and "import" in ast.unparse(node.func).rpartition(".")[2]:
            # importlib.import_module("x"), __import__("x") and helpers with such a name.
            named = [
                keyword.value for keyword in node.keywords if keyword.arg in ("module", "name")
            ]
            return [
                self._absolute(argument.value)
                for argument in (*node.args[:1], *named)
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            ]
        return []

    def _absolute(self, name: str) -> str:
        relative = name.lstrip(".")
        level = len(name) - len(relative)
        if not level:
            return name
        parts = self.name.split(".")
        parts = parts[: len(parts) - level + self.is_package]
        return ".".join([*parts, relative] if relative else parts)


@dataclass(frozen=True)
class Sources:
    """The modules of both packages below a project's root."""

    modules: dict[str, Source]

    @classmethod
    def read(cls, root: Path) -> "Sources":
        modules = {}
        for package in ("tomolearn", "data_sim"):
            for path in sorted((root / package).rglob("*.py")):
                relative, stub = path.relative_to(root), path.with_suffix(".pyi")
                is_package = path.name == "__init__.py"
                parts = relative.parent.parts if is_package else relative.with_suffix("").parts
                trees = [
                    ast.parse(one.read_text(encoding="utf-8"), str(one)) if one.exists() else None
                    for one in (path, stub)
                ]
                name = ".".join(parts)
                modules[name] = Source(name, relative.as_posix(), is_package, *trees)
        return cls(modules)

    def imports(self, package: str = "") -> Iterator[Import]:
        for name, module in self.modules.items():
            if not package or is_within(name, package):
                yield from module.imports

    def loaded_by(self, target: str) -> list[str]:
        """Names of our modules that importing `target` runs, packages around it first."""
        parts = target.split(".")
        prefixes = (".".join(parts[: n + 1]) for n in range(len(parts)))
        return [prefix for prefix in prefixes if prefix in self.modules]

    def home(self, target: str) -> str | None:
        """Name of our module that has what is imported as `target`, seen through packages."""
        while target not in self.modules:
            parent, _, name = target.rpartition(".")
            if parent not in self.modules:
                return None
            further = self.modules[parent].offers.get(name, parent)
            if further in (parent, target):
                return parent
            target = further
        return target
