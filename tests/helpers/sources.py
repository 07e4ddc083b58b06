"""The project's modules and what they import, read from the sources without running them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

TYPES_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


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
    """One parsed module."""

    name: str
    path: str
    is_package: bool
    tree: ast.Module

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(self._imports(self.tree, (), False))

    def _imports(
        self, node: ast.AST, functions: tuple[str, ...], for_types_only: bool
    ) -> Iterator[Import]:
        for target in self._targets(node):
            where = f"{self.path}:{node.lineno}"
            yield Import(self.name, target, where, functions, for_types_only)
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
                relative = path.relative_to(root)
                is_package = path.name == "__init__.py"
                parts = relative.parent.parts if is_package else relative.with_suffix("").parts
                tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
                name = ".".join(parts)
                modules[name] = Source(name, relative.as_posix(), is_package, tree)
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
