"""What the probes share: a check of parameters, and a row of tiles for their pictures."""

from __future__ import annotations

from daedalus.envs.canvas import GOLD, GREY, INK, Canvas


def need(condition: bool, message: str) -> None:
    """Raise a ``ValueError`` with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def tiles(count: int, lit: int, below: float = 0.0) -> Canvas:
    """Return a canvas with a row of numbered tiles, one of them lit.

    Args:
        count: Tiles, one unit each.
        lit: The one that shines.
        below: Units of free space under them.
    """
    canvas = Canvas(count + 0.4, 1.4 + below, 56)
    for i in range(count):
        chosen = i == lit
        canvas.box((i + 0.26, 0.26, i + 1.14, 1.14), INK, 0.12, round_=0.16)
        colour = GOLD if chosen else (250, 248, 242)
        canvas.box((i + 0.28, 0.26, i + 1.12, 1.1), colour, round_=0.16)
        canvas.text(i + 0.7, 0.68, str(i), 0.42, INK if chosen else GREY)
    return canvas
