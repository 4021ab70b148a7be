"""What files say about themselves, read without importing them: docstrings and settings.

Listing agents must not load torch, nor fail where it is not installed.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple


class Field(NamedTuple):
    """One field of a dataclass."""

    name: str
    kind: str
    default: str
    meaning: str
    kw_only: bool = False


def docstring(entry_point: str) -> str:
    """Return the docstring of ``"module:Class"``, or ``""``."""
    module, _, name = entry_point.partition(":")
    found = _class(_tree(module), name)
    text = (ast.get_docstring(found) if found else None) or ast.get_docstring(_tree(module))
    return inspect.cleandoc(text or "")


def summary(entry_point: str, chosen: Collection[str] = ()) -> str:
    """Return the first line of the docstring of ``"module:Class"``.

    Args:
        entry_point: ``"module:Class"``.
        chosen: Values of parameters; if the docstring has an item for one (``- ``value``: ...``),
            its first sentence is returned instead, and else they are added in brackets.
    """
    text = docstring(entry_point)
    items = re.findall(r"^- ``([^:]*): (.+?)(?=^- |^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    for names, meaning in items:
        if set(re.findall(r"\w+", names)) & set(chosen):
            sentence = " ".join(meaning.split()).partition(". ")[0].rstrip(".") + "."
            return sentence[0].upper() + sentence[1:]
    first = text.partition("\n")[0]
    return f"{first} ({', '.join(sorted(chosen))})" if chosen else first


def fields(entry_point: str) -> list[Field]:
    """Return the fields of the dataclass ``"module:Class"`` with their meanings.

    Those of bases come first, and keyword-only ones last, as in the class's signature.
    """
    module, _, name = entry_point.partition(":")
    tree = _tree(module)
    found = _class(tree, name)
    if found is None:
        origin = _imported_from(tree, name)
        return fields(f"{origin}:{name}") if origin else []
    result: dict[str, Field] = {}
    for base in found.bases:
        if isinstance(base, ast.Name):
            result.update({item.name: item for item in fields(f"{module}:{base.id}")})
    lines = _path(module).read_text(encoding="utf-8").splitlines()
    result.update({item.name: item for item in _fields(found, lines)})
    for node in found.body:  # what a Config inherits and has no use for
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "UNUSED":
            for name in ast.literal_eval(node.value):
                del result[name]
    return sorted(result.values(), key=lambda item: item.kw_only)


def _imported_from(tree: ast.Module, name: str) -> str | None:
    """The module that ``name`` is imported from, if it is ours."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(item.name == name for item in node.names):
            return node.module if (node.module or "").startswith("daedalus") else None
    return None


def _fields(found: ast.ClassDef, lines: list[str]) -> list[Field]:
    result = []
    kw_only = any("kw_only=True" in ast.unparse(decorator) for decorator in found.decorator_list)
    for i, node in enumerate(found.body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        default = ast.unparse(node.value) if node.value else ""
        after = found.body[i + 1] if i + 1 < len(found.body) else None
        meaning = _text(after) or lines[(node.end_lineno or 1) - 1].partition("  # ")[2]
        kind = ast.unparse(node.annotation)
        result.append(Field(node.target.id, kind, default, " ".join(meaning.split()), kw_only))
    return result


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else ""
    return ""


def _path(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module named {module!r}", name=module)
    return Path(spec.origin)


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def _class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    return next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
