"""Reading XML without trusting it: a stream of elements, no entities, no surprises in memory."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

MAX_BYTES = 2**31
"""Longest document that is read, in bytes, after decompression."""
_CHUNK = 1 << 20


class StreetFileError(ValueError):
    """A street file that cannot be read; the message says which, why and what to do."""


class Refused(Exception):
    """A document that is refused while it is read; `read_elements` names file and line."""


def read_elements(
    path: Path,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str, str], None],
) -> None:
    """Read a document and report its elements in order.

    Document types and with them entities are refused: maps need none, and they can grow without
    bounds when expanded.

    Args:
        path: XML file; ``.bz2`` is decompressed on the way.
        start: Called with name (without namespace) and attributes of every element.
        end: Called with name and text at the end of every element.

    Raises:
        StreetFileError: The file is missing, too long or not well-formed, declares a document type,
            or ``start`` or ``end`` raised `Refused`.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    text: list[str] = []

    def refuse(*_: Any) -> None:
        raise Refused("it declares a document type, which may hold entities; remove <!DOCTYPE ...>")

    def opened(name: str, attributes: dict[str, str]) -> None:
        text.clear()
        start(name.rpartition(" ")[2], attributes)

    def closed(name: str) -> None:
        end(name.rpartition(" ")[2], "".join(text).strip())
        text.clear()

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.CharacterDataHandler = text.append
    try:
        for chunk in _chunks(path):
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except Refused as error:
        raise StreetFileError(f"{path}, line {parser.CurrentLineNumber}: {error}") from None
    except expat.ExpatError as error:
        why = expat.ErrorString(error.code)
        raise StreetFileError(
            f"{path}, line {error.lineno}: not well-formed XML ({why}); download or save it again"
        ) from None
    except (OSError, EOFError) as error:
        raise StreetFileError(f"{path}: cannot be read: {error}") from None


def _chunks(path: Path) -> Iterator[bytes]:
    total = 0
    with bz2.open(path) if path.suffix == ".bz2" else path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            total += len(chunk)
            if total > MAX_BYTES:
                raise Refused(f"it is longer than {MAX_BYTES:,} bytes; cut out a smaller region")
            yield chunk
