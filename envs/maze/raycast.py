"""Casting rays: the wall each column of the picture sees, how far away, and which texels it shows.

The camera looks along ``heading`` (0 along +x, clockwise on a map whose y axis points down). The
picture plane is flat, so column ``k`` looks along ``forward + slope[k] * right`` and a ray's
parameter is the depth perpendicular to the plane: straight walls look straight.

Only some columns are traced through the grid. Two rays that hit the same face of the same square
enclose a triangle whose width parallel to the face is below one square everywhere before the face,
so no square fits in between and every ray between them hits that face too. Rays are traced every
eighth column and halved where neighbours differ; the others follow from the face's plane.
"""

from __future__ import annotations

import numpy as np

from daedalus.envs.maze.blocks import LANES
from daedalus.envs.maze.compiling import kernel

SOLID, DOOR = 128, 64
"""Bits of a grid value: solid; a closed door, whose low bits are its colour. Floor has neither."""
THEME = 31
"""Mask of the theme in the value of a floor square: the texture of the walls that face it."""
DOOR_THEME = 16
"""Theme of the first door colour."""
TEXTURE_WIDTH, TEXTURE_HEIGHT = 32, LANES
"""Texels of a wall texture."""
SHADES = 8
"""Levels of brightness; one level darker for each square of distance."""
NEAREST = 0.01
"""Depth below which nothing is drawn, in squares."""
_STRIDE = 8


@kernel
def cast_ray(
    grid: np.ndarray, width: int, x: np.float32, y: np.float32, dx: np.float32, dy: np.float32
) -> int:
    """Return the first wall face on a ray as ``2 * square + axis`` (0: hit across x, 1: across y).

    After Amanatides and Woo, 1987, "A fast voxel traversal algorithm for ray tracing".

    Args:
        grid: uint8 (squares,) with a solid border.
        width: Squares in a row.
        x: Start, in squares, on an open square.
        y: Likewise.
        dx: Direction, of any length.
        dy: Likewise.
    """
    far = np.float32(1e30)
    step_x = np.int64(1) if dx > 0 else np.int64(-1)
    step_y = np.int64(width) if dy > 0 else np.int64(-width)
    per_x = abs(np.float32(1) / dx) if dx != 0 else far
    per_y = abs(np.float32(1) / dy) if dy != 0 else far
    column, row = np.int64(x), np.int64(y)
    next_x = (np.float32(column + 1) - x if dx > 0 else x - np.float32(column)) * per_x
    next_y = (np.float32(row + 1) - y if dy > 0 else y - np.float32(row)) * per_y
    square = row * width + column
    while True:
        if next_x < next_y:
            next_x += per_x
            square += step_x
            if grid[np.uint64(square)] >= SOLID:
                return 2 * square
        else:
            next_y += per_y
            square += step_y
            if grid[np.uint64(square)] >= SOLID:
                return 2 * square + 1


@kernel
def find_faces(
    grid: np.ndarray,
    width: int,
    x: np.float32,
    y: np.float32,
    directions: np.ndarray,
    faces: np.ndarray,
) -> None:
    """Fill ``faces`` int32 (W,) with the face that each column of ``directions`` (2, W) sees."""
    last = faces.size - 1
    for k in range(0, last, _STRIDE):
        faces[k] = cast_ray(grid, width, x, y, directions[0, k], directions[1, k])
    faces[last] = cast_ray(grid, width, x, y, directions[0, last], directions[1, last])
    stride = _STRIDE
    while stride > 1:
        half = stride >> 1
        for k in range(0, last, stride):
            end = min(k + stride, last)
            middle = k + half
            if middle >= end:
                continue
            if faces[k] == faces[end]:
                faces[middle] = faces[k]
            else:
                dx, dy = directions[0, middle], directions[1, middle]
                faces[middle] = cast_ray(grid, width, x, y, dx, dy)
        stride = half


@kernel
def look(
    grid: np.ndarray,
    width: int,
    camera: tuple[np.float32, np.float32, np.float32, np.float32],
    slope: np.ndarray,
    depth: np.ndarray,
    texel: np.ndarray,
) -> None:
    """Find depth and texture column of every column of the picture.

    Args:
        grid: uint8 (squares,).
        width: Squares in a row.
        camera: x, y, cosine and sine of the heading.
        slope: float32 (W,), sideways slope of each column's ray.
        depth: float32 (W,), filled: depth perpendicular to the picture plane, in squares.
        texel: int32 (W,), filled: index of the column's first texel in the wall textures.
    """
    x, y, cosine, sine = camera
    columns = slope.size
    directions = np.empty((2, columns), np.float32)
    faces = np.empty(columns, np.int32)
    for k in range(columns):
        directions[0, k] = cosine - sine * slope[k]
        directions[1, k] = sine + cosine * slope[k]
    find_faces(grid, width, x, y, directions, faces)
    start = 0
    while start < columns:
        face = faces[start]
        end = start + 1
        while end < columns and faces[end] == face:
            end += 1
        _span(grid, width, camera, directions, start, end, face, depth, texel)
        start = end


@kernel
def _span(
    grid: np.ndarray,
    width: int,
    camera: tuple[np.float32, np.float32, np.float32, np.float32],
    directions: np.ndarray,
    start: int,
    end: int,
    face: int,
    depth: np.ndarray,
    texel: np.ndarray,
) -> None:
    """Intersect the columns from ``start`` to ``end`` with the plane of the face they all see."""
    square, axis = face >> 1, face & 1
    row = square // width
    place = (square - row * width, row)[axis]
    ahead = directions[axis, start] > 0
    behind = (1, width)[axis]
    front = square - behind if ahead else square + behind
    offset = np.float32(place if ahead else place + 1) - camera[axis]
    origin = camera[1 - axis]
    value = np.int64(grid[square])
    theme = DOOR_THEME + (value & 3) if value & DOOR else np.int64(grid[front]) & THEME
    base = np.int32(theme * (SHADES + 1) + axis)
    for k in range(start, end):
        z = max(offset / directions[axis, k], np.float32(NEAREST))
        along = origin + z * directions[1 - axis, k]
        level = min(np.int32(z), np.int32(SHADES - 1))
        across = np.int32(along * np.float32(TEXTURE_WIDTH)) & np.int32(TEXTURE_WIDTH - 1)
        depth[k] = z
        texel[k] = ((base + level) * np.int32(TEXTURE_WIDTH) + across) * np.int32(TEXTURE_HEIGHT)
