"""Labels for auxiliary losses: the depth of the view in eight bins, and loop closure.

Both follow Mirowski et al., 2017, "Learning to navigate in complex environments".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.maze.compiling import kernel
from daedalus.envs.maze.state import POSITIONS, X, Y

DEPTH_ROWS, DEPTH_COLUMNS = 4, 16
DEPTH_BINS = 8
_CHUNK = 32  # divides the capacity of every trace
TOP, LEFT = 0.2, 0.05
"""Shares of the picture that the depth label leaves out above and below, left and right."""


@kernel
def label_depth(
    depth: np.ndarray, height: int, focal: np.float32, edges: np.ndarray, out: np.ndarray
) -> None:
    """Fill the depth label of the middle of the picture (rows 20-80 %, columns 5-95 %).

    A pixel's depth is that of the wall, or of floor or ceiling where they are nearer: at ``r``
    pixels from the horizon that is ``focal / (2 r)``. A cell holds the mean over its columns,
    taken in the middle of its rows; objects are left out.

    Args:
        depth: float32 (W,), depth of the wall in each column, in squares.
        height: Rows of the picture.
        focal: Height in pixels of one square at depth one.
        edges: float32 (7,), rising bounds between the bins, in squares.
        out: uint8 (4, 16), filled with 0 (near) to 7 (far).
    """
    columns = depth.size
    first, share = LEFT * columns, (1.0 - 2.0 * LEFT) / DEPTH_COLUMNS * columns
    # rows 0 and 3, and 1 and 2, are equally far from the horizon
    band = (1.0 - 2.0 * TOP) / DEPTH_ROWS * height
    outer, inner = np.float32(0.5 * focal / (1.5 * band)), np.float32(0.5 * focal / (0.5 * band))
    for j in range(DEPTH_COLUMNS):
        begin = np.int64(first + j * share)
        end = max(np.int64(first + (j + 1) * share), begin + 1)
        far, near = np.float32(0), np.float32(0)
        for k in range(np.uint64(begin), np.uint64(end)):
            far += min(depth[k], inner)
            near += min(depth[k], outer)
        scale = np.float32(1) / np.float32(end - begin)
        out[1, j] = out[2, j] = depth_bin(far * scale, edges)
        out[0, j] = out[3, j] = depth_bin(near * scale, edges)


@kernel
def depth_bin(depth: np.float32, edges: np.ndarray) -> int:
    """Return how many of the seven edges a depth has reached."""
    reached = 0
    for e in range(np.uint64(DEPTH_BINS - 1)):
        reached += depth >= edges[e]
    return reached


@kernel
def remember(state: Any) -> None:
    """Add the agent's position to the trace of a state."""
    count = np.int64(state.counts[POSITIONS])
    i = count % state.trace_x.size
    state.trace_x[i] = state.pose[X]
    state.trace_y[i] = state.pose[Y]
    state.counts[POSITIONS] = count + 1


@kernel
def closes_loop(state: Any, near: np.float32, far: np.float32) -> bool:
    """Tell whether the last position is close to an earlier one with a far one in between.

    The label of step t is 1 if |p_t - p_t'| < near for some t' < t, and |p_t - p_t''| > far for
    some t'' between t' and t. The search goes back in time, whole chunks at once where it can.
    Respawns count as moves: a place known from before a respawn closes a loop.

    Args:
        state: State with at least one position; what has fallen out of its ring is forgotten.
        near: Radius of "the same place", in squares.
        far: Radius that has to be left in between, in squares.
    """
    count, capacity = np.int64(state.counts[POSITIONS]), state.trace_x.size
    xs, ys = state.trace_x, state.trace_y
    x, y = xs[(count - 1) % capacity], ys[(count - 1) % capacity]
    near, far = near * near, far * far
    k, oldest, left = count - 2, max(count - capacity, 0), False
    while k >= oldest:
        if k % _CHUNK == _CHUNK - 1 and k - _CHUNK >= oldest:
            first, close, distant = np.uint64((k + 1 - _CHUNK) % capacity), 0, 0
            for j in range(np.uint64(_CHUNK)):
                dx, dy = xs[first + j] - x, ys[first + j] - y
                close += dx * dx + dy * dy < near
                distant += dx * dx + dy * dy > far
            if left and close > 0:
                return True
            if left or distant == 0:
                k -= _CHUNK
                continue
        dx, dy = xs[k % capacity] - x, ys[k % capacity] - y
        distance = dx * dx + dy * dy
        if left and distance < near:
            return True
        left = left or distance > far
        k -= 1
    return False
