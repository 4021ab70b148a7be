"""The source files as syntax trees, for the tests of architecture and documentation."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LAYERS = ("scenarios", "envs", "accelerators", "agents", "evaluation", "daedalus")
"""Folders from the bottom up: imports go from a later to an earlier one, never back."""


class Source(NamedTuple):
    """One file of the package."""

    path: Path
    module: str  # as imported: daedalus.envs.core
    layer: int  # index into LAYERS
    tree: ast.Module
    lines: int

    @property
    def name(self) -> str:
        """Path from the root of the repository, with forward slashes."""
        return self.path.relative_to(ROOT).as_posix()


class Import(NamedTuple):
    """One imported module."""

    module: str
    line: int
    eager: bool  # carried out when the importing module is loaded


@cache
def package_sources() -> tuple[Source, ...]:
    """Read every file of the package."""
    return tuple(_read(path, i) for i, f in enumerate(LAYERS) for path in python_files(f))


def python_files(folder: str) -> list[Path]:
    """List the Python files below a folder of the repository."""
    return sorted(p for p in (ROOT / folder).rglob("*.py") if "__pycache__" not in p.parts)


def _read(path: Path, layer: int) -> Source:
    text = path.read_text(encoding="utf-8")
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] != "daedalus":
        parts.insert(0, "daedalus")
    if parts[-1] == "__init__":
        parts.pop()
    return Source(path, ".".join(parts), layer, ast.parse(text), text.count("\n"))


@cache
def imports(tree: ast.Module) -> tuple[Import, ...]:
    """List what a file imports, anywhere in it."""
    return tuple(_imports(tree))


def _imports(tree: ast.Module) -> Iterator[Import]:
    lazy = _lazy_nodes(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, node not in lazy)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                base = "." * node.level + (node.module or "")
                yield Import(f"{base}.{alias.name}", node.lineno, node not in lazy)


def _lazy_nodes(tree: ast.Module) -> set[ast.AST]:
    """Collect the nodes inside functions and inside ``if TYPE_CHECKING``."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found.update(ast.walk(node))
    return found


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` for nested attributes, and an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""
