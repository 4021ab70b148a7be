"""Houses, sky and road: colours drawn by a few formulas, in every light."""

from __future__ import annotations

import math

import numpy as np

from daedalus.envs.maze.blocks import LANES
from daedalus.envs.maze.kinds import pack
from daedalus.envs.streets.moves import HEADINGS

STYLES = 32
"""Kinds of houses: eight colours in four ways to build."""
COLUMNS = 16
"""Texels across a house; there are LANES from roof to ground."""
HAZE = 6
"""Levels of haze, one for each 20 m."""
LIGHTS = 3
"""Light on a wall: towards the sun, past it, away from it."""
SUN = math.radians(200.0)
"""Bearing of the sun."""

_COLOURS = np.array(
    [
        (196, 96, 72),  # brick
        (226, 204, 160),  # sandstone
        (142, 150, 160),  # concrete
        (120, 152, 128),  # green render
        (214, 160, 88),  # ochre
        (112, 132, 176),  # blue render
        (170, 110, 140),  # plum
        (232, 224, 214),  # white render
    ],
    float,
)
_GLASS, _WOOD = np.array((62.0, 82.0, 108.0)), np.array((74.0, 52.0, 40.0))
_AIR = np.array((206.0, 216.0, 226.0))
_SKY, _GLOW = np.array((92.0, 146.0, 214.0)), np.array((255.0, 236.0, 190.0))
_ROAD = np.array((88.0, 90.0, 96.0))
STONE, KERB = (168, 164, 156), (120, 118, 114)
"""Colours of a pavement and of its edge."""


def _front(style: int) -> np.ndarray:
    """Return a house front, float (LANES, COLUMNS, 3)."""
    v, u = np.mgrid[0:LANES, 0:COLUMNS]
    grain = 1.0 + 0.05 * np.random.default_rng(style).standard_normal(u.shape)
    rgb = _COLOURS[style % 8] * grain[..., None]
    upper = (v >= 2) & (v < 13)
    windows = (
        upper & (v % 3 != 1) & np.isin(u, (2, 3, 7, 8, 12, 13)),  # pairs in rows
        upper & (v % 4 >= 2) & (u > 0) & (u < 15),  # bands of glass
        upper & np.isin(u, (3, 4, 11, 12)) & (v % 5 != 1),  # tall and narrow
        upper & (v % 3 == 2) & (u % 3 != 0),  # small and many
    )[style // 8]
    rgb[windows] = _GLASS * (1.0 + 0.25 * ((u + v + style) % 5 == 0))[windows][:, None]
    rgb[0] = 0.6 * rgb[1]  # eaves
    rgb[13] *= 0.8  # ledge
    door = (v >= 14) & np.isin(u, ((7, 8), (2, 3), (12, 13), (5, 6))[style // 8])
    shop = (v == 14) & (style % 3 == 0) & (u > 0) & (u < 15)
    rgb[shop], rgb[door] = 1.3 * _GLASS, _WOOD
    rgb[:, 0] *= 0.72  # the gap to the next house
    return rgb


def draw_fronts() -> np.ndarray:
    """Return all texels, uint32 (styles * lights * haze * columns * rows,), 64-byte aligned."""
    fronts = np.stack([_front(style) for style in range(STYLES)])[:, None, None]
    light = np.array((1.06, 0.86, 0.68)).reshape(1, LIGHTS, 1, 1, 1, 1)
    haze = 0.13 * np.arange(HAZE).reshape(1, 1, HAZE, 1, 1, 1)
    rgb = np.clip((1 - haze) * light * fronts + haze * _AIR, 0, 255)
    texels = pack(rgb).swapaxes(3, 4)  # columns contiguous
    room = np.zeros(texels.size + LANES, np.uint32)
    skip = (-room.ctypes.data % 64) // 4
    aligned = room[skip : skip + texels.size]
    aligned[:] = texels.ravel()
    return aligned


def draw_background(height: int, focal: float, horizon: float) -> np.ndarray:
    """Return sky and road for every heading, one colour a row: uint32 (HEADINGS, height).

    Args:
        height: Rows of the picture.
        focal: Pixels of a metre one metre away.
        horizon: Row of the horizon.
    """
    row = np.arange(height)[None, :, None]
    heading = np.arange(HEADINGS) * (2 * math.pi / HEADINGS)
    towards = np.cos(heading - SUN)[:, None, None]  # 1 where one looks into the sun
    up = np.clip((horizon - row) / (0.8 * height), 0, 1)
    sky = (1 - up) * _AIR + up * _SKY
    sky = sky + np.clip(towards, 0, 1) * 0.4 * (_GLOW - sky) - np.clip(-towards, 0, 1) * 26 * up
    metres = focal * 2.0 / np.maximum(row - horizon, 0.5)
    haze = np.clip(metres / 160, 0, 0.75)
    road = (1 - haze) * _ROAD * (1 + 0.08 * towards) + haze * _AIR * 0.9
    return pack(np.clip(np.where(row > horizon, road, sky), 0, 255))
