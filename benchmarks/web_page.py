"""Tables in docs/web.md that benchmarks write, between two marks."""

from __future__ import annotations

from pathlib import Path

from daedalus.accelerators.files import write_file


def replace_between(path: Path, name: str, text: str) -> None:
    """Put a text between ``<!-- NAME -->`` and ``<!-- end of NAME -->`` of a page.

    Raises:
        ValueError: The page has no such marks.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    head, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path} has no {begin} ... {end}")
    write_file(path, f"{head}{begin}\n\n{text}\n\n{end}{tail}".encode())
