"""The pseudo-lidar of Safety-Gym."""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

BINS = 16


@register_jitable
def see(
    sensors: np.ndarray, start: int, dx: float, dy: float, cosine: float, sine: float, far: float
) -> None:
    """Enter one object into a lidar: its bin, and by its place in it the two beside."""
    square = dx * dx + dy * dy
    if square >= far * far:
        return
    near = (far - math.sqrt(square)) / far
    angle = math.atan2(cosine * dy - sine * dx, cosine * dx + sine * dy) * (BINS / (2.0 * math.pi))
    if angle < 0.0:
        angle += BINS
    k = min(int(angle), BINS - 1)
    alias = angle - k
    above, below = (k + 1) % BINS, (k + BINS - 1) % BINS
    sensors[start + k] = max(sensors[start + k], near)
    sensors[start + above] = max(sensors[start + above], alias * near)
    sensors[start + below] = max(sensors[start + below], (1.0 - alias) * near)
