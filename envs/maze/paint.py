"""Painting the picture: walls, ceiling and floor first, then the objects that no wall hides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.maze.blocks import LANES, paint_block
from daedalus.envs.maze.compiling import kernel
from daedalus.envs.maze.raycast import NEAREST

SPRITE = 16
"""Side of a sprite, in texels."""


@kernel
def paint_walls(
    columns: np.ndarray,
    texel: np.ndarray,
    textures: np.ndarray,
    background: np.ndarray,
    focal: np.float32,
    rgb: np.ndarray,
) -> None:
    """Paint ceiling, walls and floor, in blocks; the last row and column of blocks overlap.

    Args:
        columns: float32 (3, W): depth of the wall in squares; two rows to work in. At least 16
            columns.
        texel: int32 (W,), index of the wall's first texel.
        textures: uint32 (all texels,), red in the lowest byte.
        background: uint32 (H,), ceiling and floor from top to bottom; at least 16 rows.
        focal: Height in pixels of one square at depth one.
        rgb: uint8 (H * W * 3,), filled.
    """
    width, height = columns.shape[1], background.size
    depth, start, step = columns[0], columns[1], columns[2]
    per_depth = np.float32(LANES) / focal
    middle = np.float32(height - 1) * np.float32(0.5)
    for k in range(np.uint64(width)):
        step[k] = depth[k] * per_depth
        start[k] = np.float32(1.5 * LANES) - middle * step[k]
    y = 0
    while y < height:
        top, x = min(y, height - LANES), 0
        while x < width:
            left = min(x, width - LANES)
            to = 3 * (top * width + left)
            paint_block(start, step, texel, left, top, textures, background, rgb, to, 3 * width)
            x += LANES
        y += LANES


@kernel
def paint_sprite(
    depth: np.ndarray,
    focal: np.float32,
    place: tuple[np.float32, np.float32, np.float32],
    sprite: np.ndarray,
    rgb: np.ndarray,
) -> None:
    """Paint an object that stands on the floor where no wall is nearer.

    Args:
        depth: float32 (W,), depth of the walls.
        focal: Height in pixels of one square at depth one.
        place: Sideways offset and depth from the camera, and side, in squares.
        sprite: uint32 (SPRITE * SPRITE,), column after column; texels of value 0 are clear.
        rgb: uint8 (H * W * 3,), painted over.
    """
    side, z, size = place
    width = depth.size
    height = rgb.size // (3 * width)
    half, pixels = np.float32(0.5), focal / z * size
    left = np.float32(width) * half + focal * side / z - pixels * half
    top = np.float32(height) * half + focal / z * half - pixels
    texels = np.float32(SPRITE) / pixels
    upper = max(np.int64(math.ceil(top - half)), 0)
    lower = min(np.int64(math.ceil(top + pixels - half)), height)
    first = max(np.int64(math.ceil(left - half)), 0)
    for k in range(first, min(np.int64(math.ceil(left + pixels - half)), width)):
        if depth[k] <= z:
            continue
        u = min(np.int64((np.float32(k) + half - left) * texels), SPRITE - 1)
        for y in range(upper, lower):
            v = min(np.int64((np.float32(y) + half - top) * texels), SPRITE - 1)
            colour = sprite[np.uint64(u * SPRITE + v)]
            if colour != 0:
                at = np.uint64(3 * (y * width + k))
                rgb[at] = np.uint8(colour & 255)
                rgb[at + 1] = np.uint8((colour >> 8) & 255)
                rgb[at + 2] = np.uint8((colour >> 16) & 255)


@kernel
def _is_seen(
    depth: np.ndarray, focal: np.float32, side: np.float32, z: np.float32, size: np.float32
) -> bool:
    """Tell whether some column of an object is nearer than the wall there."""
    middle = np.float32(depth.size) * np.float32(0.5) + focal * side / z
    half = focal / z * size * np.float32(0.5)
    first, last = max(np.int64(middle - half), 0), min(np.int64(middle + half) + 1, depth.size)
    seen = False
    for k in range(first, last):
        seen = seen or depth[k] > z
    return seen


@kernel
def paint_objects(
    depth: np.ndarray,
    focal: np.float32,
    camera: tuple[np.float32, np.float32, np.float32, np.float32],
    objects: Any,
    sprites: np.ndarray,
    sizes: np.ndarray,
    seen: np.ndarray,
    rgb: np.ndarray,
) -> None:
    """Paint all objects in view, the farthest first.

    Args:
        depth: float32 (W,), depth of the walls.
        focal: Height in pixels of one square at depth one.
        camera: x, y, cosine and sine of the heading.
        objects: Columns x and y float32 (K,) and kind uint8 (K,; 0 where there is none).
        sprites: uint32 (kinds, SPRITE * SPRITE).
        sizes: float32 (kinds,), side in squares; 0 for what cannot be seen.
        seen: float32 (K, 4), to work in.
        rgb: uint8 (H * W * 3,), painted over.
    """
    xs, ys, kinds = objects
    x, y, cosine, sine = camera
    widest = np.float32(depth.size) * np.float32(0.5) / focal
    count = 0
    for i in range(kinds.size):
        size = sizes[kinds[i]]
        if size == 0:
            continue
        dx, dy = xs[i] - x, ys[i] - y
        z = cosine * dx + sine * dy
        side = cosine * dy - sine * dx
        if z < np.float32(10 * NEAREST) or abs(side) > z * widest + size:
            continue
        if not _is_seen(depth, focal, side, z, size):
            continue
        j = count
        while j > 0 and seen[j - 1, 1] < z:
            for c in range(4):
                seen[j, c] = seen[j - 1, c]
            j -= 1
        seen[j, 0], seen[j, 1], seen[j, 2], seen[j, 3] = side, z, size, np.float32(kinds[i])
        count += 1
    for j in range(count):
        place = (seen[j, 0], seen[j, 1], seen[j, 2])
        paint_sprite(depth, focal, place, sprites[np.uint8(seen[j, 3])], rgb)
