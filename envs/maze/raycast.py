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
    columns: np.ndarray,
    texel: np.ndarray,
) -> None:
    """Find depth and texture column of every column of the picture.

    Args:
        grid: uint8 (squares,).
        width: Squares in a row.
        camera: x, y, cosine and sine of the heading.
        slope: float32 (W,), sideways slope of each column's ray.
        columns: float32 (3, W), the first row filled with the depth perpendicular to the picture
            plane, in squares; two rows to work in.
        texel: int32 (2, W), the first row filled with the index of the column's first texel in the
            wall textures; one row to work in.
    """
    x, y, cosine, sine = camera
    directions, faces = columns[1:], texel[1]
    for k in range(np.uint64(slope.size)):
        directions[0, k] = cosine - sine * slope[k]
        directions[1, k] = sine + cosine * slope[k]
    find_faces(grid, width, x, y, directions, faces)
    start = 0
    while start < faces.size:
        face = faces[np.uint64(start)]
        end = start + 1
        while end < faces.size and faces[np.uint64(end)] == face:
            end += 1
        square, axis = np.int64(face) >> 1, np.int64(face) & 1
        row = np.int64(np.float32(square) / np.float32(width))
        row -= row * width > square
        place = row if axis == 1 else square - row * width
        behind = width if axis == 1 else 1
        ahead = directions[axis, start] > 0
        front = square - behind if ahead else square + behind
        value = np.int64(grid[np.uint64(square)])
        theme = DOOR_THEME + (value & 3) if value & DOOR else np.int64(grid[front]) & THEME
        base = np.int32(theme * (SHADES + 1) + axis)
        offset = np.float32(place if ahead else place + 1) - (y if axis == 1 else x)
        origin = x if axis == 1 else y
        across, along = directions[axis], directions[1 - axis]
        _span(start, end, (offset, origin, base), across, along, columns[0], texel[0])
        start = end


@kernel
def _span(
    start: int,
    end: int,
    plane: tuple[np.float32, np.float32, np.int32],
    across: np.ndarray,
    along: np.ndarray,
    depth: np.ndarray,
    texel: np.ndarray,
) -> None:
    """Intersect columns ``start`` to ``end`` with the plane of the face they all see.

    Args:
        start: First column.
        end: One past the last column.
        plane: How far away it is, where on it the camera is, number of its brightest texture.
        across: float32 (W,), how fast each ray nears it.
        along: float32 (W,), how fast each ray moves along it.
        depth: float32 (W,), filled.
        texel: int32 (W,), filled.
    """
    offset, origin, base = plane
    for k in range(np.uint64(start), np.uint64(end)):
        z = max(offset / across[k], np.float32(NEAREST))
        level = min(np.int32(z), np.int32(SHADES - 1))
        u = np.int32((origin + z * along[k]) * np.float32(TEXTURE_WIDTH))
        u &= np.int32(TEXTURE_WIDTH - 1)
        depth[k] = z
        texel[k] = ((base + level) * np.int32(TEXTURE_WIDTH) + u) * np.int32(TEXTURE_HEIGHT)
