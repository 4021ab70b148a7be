"""The view from a place: facades in perspective, sky and road behind them, pavements before them.

The picture plane is flat: column ``k`` looks along ``forward + slope[k] * right``, and depth is
perpendicular to the plane. Each run of rays that meet one face (see `facades`) is a span of columns
whose depths follow from the face's plane, exactly, at any size of the picture.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from daedalus.envs.maze.blocks import LANES, paint_block
from daedalus.envs.streets.compiling import kernel
from daedalus.envs.streets.facades import END, HALF_WIDTH, LEFT, RAYS, RIGHT
from daedalus.envs.streets.moves import HEADINGS
from daedalus.envs.streets.textures import (
    COLUMNS,
    HAZE,
    KERB,
    LIGHTS,
    STONE,
    STYLES,
    SUN,
    draw_background,
    draw_fronts,
)

EYE = 2.0
"""Height of the camera in metres."""
HOUSE = 12.0
"""Width of a house in metres."""
PAVEMENT = 2.5
"""Width of a pavement in metres."""
_HORIZON = 0.56  # of the picture's height
_NEAREST = 0.5
_HAZE_METRES = 20.0
_SUN_EAST, _SUN_NORTH = math.sin(SUN), math.cos(SUN)


LENS = np.dtype([("slope", "f4"), ("ray", "i4")])


class Camera(NamedTuple):
    """What turns faces into pixels, for pictures of one size: W columns, H rows."""

    focal: float  # pixels
    horizon: float  # row
    lens: np.ndarray  # LENS (W,): sideways slope of a column, its ray counted from the heading
    fronts: np.ndarray  # uint32, see `draw_fronts`
    background: np.ndarray  # uint32 (HEADINGS, H)


def make_camera(height: int, width: int, field_of_view: float) -> Camera:
    """Return the tables for pictures of a size and a horizontal field of view in degrees."""
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    horizon = _HORIZON * height
    slope = (np.arange(width) + 0.5 - width / 2) / focal
    lens = np.empty(width, LENS)
    lens["slope"] = slope
    lens["ray"] = np.floor(np.arctan(slope) * (RAYS / (2 * math.pi)) + 0.5)
    return Camera(focal, horizon, lens, draw_fronts(), draw_background(height, focal, horizon))


@kernel
def _plane(
    pieces: np.ndarray, face: int, x: float, y: float, cosine: float, sine: float
) -> tuple[np.ndarray, int, np.uint32]:
    """Return the plane of a face as seen from (x, y), its light, and what its houses look like.

    The plane is float32 (6,): its distance; how fast a ray straight ahead and one to the right
    near it; metres along the face; how fast the two rays move along it.
    """
    piece, side = pieces[face >> 2], face & 3
    ux, uy = piece.ux, piece.uy
    px, py = x - piece.x, y - piece.y
    along, left = px * ux + py * uy, py * ux - px * uy
    if side in (LEFT, RIGHT):
        sign = 1.0 if side == LEFT else -1.0
        nx, ny, ax, ay = -uy * sign, ux * sign, ux, uy
        distance, at = HALF_WIDTH - sign * left, piece.running + along
    else:
        sign = 1.0 if side == END else -1.0
        nx, ny, ax, ay = ux * sign, uy * sign, -uy, ux
        distance = piece.length + HALF_WIDTH - along if side == END else along + HALF_WIDTH
        at = piece.running + left + HALF_WIDTH
    plane = np.empty(6, np.float32)
    plane[0] = max(distance, 0.1)
    plane[1], plane[2] = nx * sine + ny * cosine, nx * cosine - ny * sine
    plane[3] = at + 64.0 * HOUSE
    plane[4], plane[5] = ax * sine + ay * cosine, ax * cosine - ay * sine
    light = -(nx * _SUN_EAST + ny * _SUN_NORTH)  # of the wall's front, which faces the street
    shade = 0 if light > 0.35 else (1 if light > -0.35 else 2)
    salt = np.uint32(0x9E37) if side in (LEFT, END) else np.uint32(0)
    return plane, shade, piece.house ^ salt


@kernel
def _span(
    begin: int,
    end: int,
    plane: np.ndarray,
    style: tuple[int, np.uint32, np.float32, np.float32],
    lens: Any,
    columns: np.ndarray,
    texel: np.ndarray,
) -> None:
    """Intersect columns ``begin`` to ``end`` with the plane of the face that they see.

    Args:
        begin: First column.
        end: One past the last column.
        plane: From `_plane`.
        style: Light of the wall, looks of the houses, focal length, row of the horizon.
        lens: ``LENS`` (W,).
        columns: float32 (4, W), filled: texel at row 0 plus LANES, texels in a pixel, row of the
            wall's foot, row of the kerb.
        texel: int32 (W,), filled with the first texel of each column.
    """
    light, house, focal, horizon = style
    tall = np.float32(7.0) + np.float32(1.3) * np.float32(np.int32(house >> np.uint32(20)) & 7)
    for k in range(np.uint64(begin), np.uint64(end)):
        slope = lens[k].slope
        near = max(plane[1] + slope * plane[2], np.float32(1e-3))
        z = max(plane[0] / near, np.float32(_NEAREST))
        at = (plane[3] + z * (plane[4] + slope * plane[5])) * np.float32(1.0 / HOUSE)
        number = np.int32(at)
        mixed = (np.uint32(number) ^ house) * np.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> np.uint32(15))) & np.uint32(0xFFFF)
        chosen = np.int32(house >> (np.uint32(5) * (mixed & np.uint32(3)))) & (STYLES - 1)
        height = tall + np.int32(mixed >> np.uint32(8) & np.uint32(7))
        haze = min(np.int32(z * np.float32(1.0 / _HAZE_METRES)), np.int32(HAZE - 1))
        column = np.int32((at - np.float32(number)) * np.float32(COLUMNS)) & (COLUMNS - 1)
        texel[k] = (((chosen * LIGHTS + light) * HAZE + haze) * COLUMNS + column) * LANES
        foot = horizon + focal * np.float32(EYE) / z
        step = np.float32(LANES) * z / (focal * height)
        columns[0, k], columns[1, k] = np.float32(2 * LANES) - step * foot, step
        columns[2, k] = foot
        kerb = max(
            z - min(np.float32(PAVEMENT) / near, np.float32(6 * PAVEMENT)), np.float32(_NEAREST)
        )
        columns[3, k] = horizon + focal * np.float32(EYE) / kerb


@kernel
def _find_columns(
    pieces: np.ndarray,
    runs: np.ndarray,
    place: Any,
    heading: int,
    optics: tuple[Any, np.float32, np.float32],
    columns: np.ndarray,
    texel: np.ndarray,
) -> None:
    """Fill columns and texels (see `_span`) of the view from a place."""
    lens, focal, horizon = optics
    angle = heading * (2.0 * math.pi / HEADINGS)
    cosine, sine = math.cos(angle), math.sin(angle)
    low, high = place.run_first, place.run_end
    base, width = heading * (RAYS // HEADINGS), lens.size
    ray = (base + lens[0].ray) & (RAYS - 1)
    run, above = low, high
    while above - run > 1:
        middle = (run + above) >> 1
        if runs[middle].ray <= ray:
            run = middle
        else:
            above = middle
    turn, begin = base + np.int64(lens[0].ray) - ray, 0
    while begin < width:
        following = RAYS if run + 1 == high else np.int64(runs[run + 1].ray)
        end = begin
        while end < width and base + np.int64(lens[end].ray) - turn < following:
            end += 1
        face = np.int64(runs[run].face)
        if face >= 0:
            plane, light, house = _plane(pieces, face, place.x, place.y, cosine, sine)
            _span(begin, end, plane, (light, house, focal, horizon), lens, columns, texel)
        else:
            columns[:2, begin:end] = 0.0
            columns[2:, begin:end] = np.float32(1e6)
            texel[begin:end] = 0
        begin, run = end, run + 1
        if run == high:
            run, turn = low, turn + RAYS


@kernel
def _paint_pavement(columns: np.ndarray, height: int, rgb: np.ndarray) -> None:
    """Paint the pavement below each wall, and the kerb at its end."""
    width = columns.shape[1]
    for k in range(width):
        top = min(np.int64(columns[2, k] + np.float32(1.0)), height)
        end = min(np.int64(columns[3, k] + np.float32(1.0)), height)
        for row in range(np.uint64(top), np.uint64(end)):
            at = np.uint64(3) * (row * np.uint64(width) + np.uint64(k))
            colour = KERB if row + np.uint64(1) == np.uint64(end) else STONE
            rgb[at], rgb[at + 1], rgb[at + 2] = colour[0], colour[1], colour[2]


@kernel
def draw_view(
    pieces: np.ndarray,
    runs: np.ndarray,
    place: Any,
    heading: int,
    camera: Any,
    rgb: np.ndarray,
) -> None:
    """Draw what is seen from a place.

    Args:
        pieces: ``PIECE`` (P,), the town's.
        runs: ``RUN``, the town's.
        place: Record of the place, see ``town.PLACE``.
        heading: 0 to HEADINGS - 1, clockwise from north.
        camera: `Camera`, or anything with its fields.
        rgb: uint8 (H * W * 3,), filled; at least LANES rows and columns.
    """
    width, height = camera.lens.size, camera.background.shape[1]
    columns, texel = np.empty((4, width), np.float32), np.empty(width, np.int32)
    optics = camera.lens, np.float32(camera.focal), np.float32(camera.horizon)
    _find_columns(pieces, runs, place, heading, optics, columns, texel)
    fronts, background, start, step, y0 = (
        camera.fronts,
        camera.background[heading],
        columns[0],
        columns[1],
        0,
    )
    while y0 < height:
        top, x0 = min(y0, height - LANES), 0
        while x0 < width:
            left = min(x0, width - LANES)
            to = 3 * (top * width + left)
            row = 3 * width
            paint_block(start, step, texel, left, top, fronts, background, rgb, to, row)
            x0 += LANES
        y0 += LANES
    _paint_pavement(columns, height, rgb)
