"""Plain YAML that people write: read with the rules of scenario files, whatever it says.

Plans, the ``config.yaml`` of a run and ``key=value`` of the command line: data only, numbers as in
YAML 1.2 (1e-3), no aliases, no key twice, and caps on size and depth.
"""

from __future__ import annotations

from typing import Any

import yaml

from daedalus.scenarios.loader import _LineError, _Loader, _walk

LARGEST = 2**20
"""Bytes of a text at most."""
DEEPEST = 32
"""Deepest nesting: settings of a run hold a scenario's."""


class PlainError(ValueError):
    """Text that is no plain YAML; the message says where and why."""


class _Reader(_Loader):
    max_depth = DEEPEST


class _Writer(yaml.SafeDumper):
    """Quotes the words that `_Reader` would take for numbers."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        """Write what is there twice twice: `read_plain` takes no aliases."""
        return True


def read_plain(text: str, where: str) -> Any:
    """Return what YAML text says, None if that is nothing.

    Args:
        text: The YAML.
        where: What error messages call it, such as its path.

    Raises:
        PlainError: It is not plain, or too long; names ``where``, and the line if there is one.
    """
    if len(text.encode(errors="replace")) > LARGEST:
        raise PlainError(f"{where}: longer than {LARGEST:,} bytes")
    try:
        return _read(text)
    except _LineError as error:
        raise PlainError(f"{where}, line {error.line}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PlainError(f"{where}, line {line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # also dates that do not exist
        reason = " ".join(str(error).split())
        raise PlainError(f"{where}: not valid YAML: {reason}") from None


def _read(text: str) -> Any:
    loader = _Reader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        seen = set()
        for path, line in _walk(node, ()):
            if path in seen:
                raise _LineError(line, f"the key {'.'.join(path)!r} stands there twice")
            seen.add(path)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def write_plain(data: Any) -> str:
    """Return data as YAML that `read_plain` reads as it was."""
    text: str = yaml.dump(data, Dumper=_Writer, sort_keys=False)
    return text
