"""Labels for auxiliary losses: the depth of the view in eight bins, and loop closure.

Both follow Mirowski et al., 2017, "Learning to navigate in complex environments".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.maze.compiling import kernel
from daedalus.envs.maze.state import POSITIONS

DEPTH_ROWS, DEPTH_COLUMNS = 4, 16
DEPTH_BINS = 8
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
    band = np.float32((1.0 - 2.0 * TOP) / DEPTH_ROWS)
    first = np.float32(LEFT * columns)
    share = np.float32((1.0 - 2.0 * LEFT) / DEPTH_COLUMNS * columns)
    for pair in range(DEPTH_ROWS // 2):  # rows 0 and 3, then 1 and 2, are as far from the horizon
        rows = (np.float32(0.5) - np.float32(TOP) - (pair + np.float32(0.5)) * band) * height
        flat = np.float32(0.5) * focal / np.float32(rows)
        for j in range(DEPTH_COLUMNS):
            begin = np.int64(first + j * share)
            end = max(np.int64(first + (j + 1) * share), begin + 1)
            total = np.float32(0)
            for k in range(begin, end):
                total += min(depth[np.uint64(k)], flat)
            mean = total / np.float32(end - begin)
            bin_ = 0
            for e in range(DEPTH_BINS - 1):
                bin_ += mean >= edges[e]
            out[pair, j] = bin_
            out[DEPTH_ROWS - 1 - pair, j] = bin_


@kernel
def remember(state: Any, x: np.float32, y: np.float32, jumped: bool) -> None:
    """Add a position to the trace of a state; ``jumped`` if it is not one step from the last."""
    count, capacity = np.int64(state.counts[POSITIONS]), state.trace.shape[0]
    i = count % capacity
    state.trace[i, 0] = x
    state.trace[i, 1] = y
    state.jump[i] = count if jumped else state.jump[(count - 1) % capacity]
    state.counts[POSITIONS] = count + 1


@kernel
def closes_loop(state: Any, near: np.float32, far: np.float32, longest: np.float32) -> bool:
    """Tell whether the last position is close to an earlier one with a far one in between.

    The label of step t is 1 if |p_t - p_t'| < near for some t' < t, and |p_t - p_t''| > far for
    some t'' between t' and t. The search goes back in time and leaps over positions that cannot
    matter because no step is longer than ``longest``; the result is that of looking at each.

    Args:
        state: State with at least one position.
        near: Radius of "the same place", in squares.
        far: Radius that has to be left in between, in squares.
        longest: Longest step other than a jump, in squares.
    """
    count, capacity = np.int64(state.counts[POSITIONS]), state.trace.shape[0]
    oldest = max(count - capacity, 0)
    last = (count - 1) % capacity
    x, y = state.trace[last, 0], state.trace[last, 1]
    k, left, found = count - 2, False, False
    while k >= oldest and not found:
        i = k % capacity
        dx, dy = state.trace[i, 0] - x, state.trace[i, 1] - y
        distance = np.float32(np.sqrt(dx * dx + dy * dy))
        left = left or distance > far
        found = left and distance < near
        gap = distance - near if left else far - distance
        leap = max(np.int64(gap / longest * np.float32(0.999)), 1)
        jump = np.int64(state.jump[i])
        k = max(k - leap, jump - 1) if jump < k else k - 1
    return found
