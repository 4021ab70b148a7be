"""What the probes share: a check of parameters and the simplest picture."""

from __future__ import annotations

import numpy as np

_CELL = 16  # pixels of a cell in pictures


def need(condition: bool, message: str) -> None:
    """Raise a ``ValueError`` with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def shades(cells: np.ndarray) -> np.ndarray:
    """Return an RGB picture of a grid of values in [0, 1], dark blue to yellow."""
    value = cells[..., None].astype(np.float64)
    colours = (1 - value) * np.array([26, 28, 64]) + value * np.array([250, 210, 70])
    return np.kron(colours, np.ones((_CELL, _CELL, 1))).astype(np.uint8)
