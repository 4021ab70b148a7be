"""Walls, floor and ceiling: textures drawn by a few formulas, in every brightness."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daedalus.envs.maze.blocks import LANES
from daedalus.envs.maze.kinds import KEY_COLOURS, pack
from daedalus.envs.maze.raycast import DOOR_THEME, SHADES, TEXTURE_HEIGHT, TEXTURE_WIDTH

THEMES = DOOR_THEME
"""Wall textures that a floor square can ask for."""

Colour = tuple[int, int, int]


class Look(NamedTuple):
    """Colours of a world."""

    walls: tuple[Colour, ...]  # cycled through by the themes
    floor: Colour
    ceiling: Colour


LOOKS = {
    "lab": Look(
        (
            (196, 112, 72),
            (86, 132, 178),
            (120, 160, 84),
            (188, 170, 92),
            (150, 98, 160),
            (80, 156, 150),
            (200, 132, 148),
            (128, 128, 140),
        ),
        (92, 86, 78),
        (58, 66, 84),
    ),
    "maze": Look(
        ((66, 122, 58), (84, 140, 60), (52, 104, 66), (98, 132, 52)),
        (124, 104, 74),
        (138, 186, 226),
    ),
    "desert": Look(
        ((206, 164, 104), (190, 140, 88), (214, 180, 128)), (222, 190, 136), (122, 178, 232)
    ),
    "arena": Look(
        ((150, 76, 64), (64, 96, 156), (86, 140, 76), (176, 150, 64)), (112, 110, 104), (70, 76, 92)
    ),
}
"""Selectable looks."""


def _pattern(number: int) -> np.ndarray:
    """Return the brightness of one of eight patterns, float (row, column), about 1."""
    v, u = np.mgrid[0:TEXTURE_HEIGHT, 0:TEXTURE_WIDTH].astype(float)
    grain = 0.06 * np.random.default_rng(number).standard_normal(u.shape)
    offset = np.where(v // 4 % 2 == 0, 0, 4)
    patterns = (
        np.where((v % 4 == 3) | ((u + offset) % 8 == 7), 0.62, 1.0),  # bricks
        np.where((v % 8 == 7) | (u % 16 == 15), 0.6, 1.0 + 0.1 * (u // 16)),  # blocks
        np.where(u % 4 == 3, 0.65, 1.0 - 0.08 * (u // 4 % 3)),  # planks
        np.where((u // 4 + v // 4) % 2 == 0, 0.75, 1.1),  # checks
        np.where(v % 4 < 2, 0.78, 1.08),  # bands
        np.where((u % 8 - 3.5) ** 2 + (v % 8 - 3.5) ** 2 < 7, 0.68, 1.05),  # studs
        np.where((u + v) % 8 < 3, 0.74, 1.06),  # slants
        np.where((abs(u - 15.5) < 11) & (abs(v - 7.5) < 5), 1.15, 0.72),  # panels
    )
    chosen: np.ndarray = patterns[number % 8] + grain
    return chosen * np.linspace(1.06, 0.9, TEXTURE_HEIGHT)[:, None]


def _door(colour: Colour) -> np.ndarray:
    v, u = np.mgrid[0:TEXTURE_HEIGHT, 0:TEXTURE_WIDTH]
    frame = (u < 3) | (u >= TEXTURE_WIDTH - 3) | (v < 2)
    knob = (abs(u - 26) < 2) & (abs(v - 9) < 1)
    rgb = np.array(colour, float) * np.where(u % 7 == 0, 0.8, 1.0)[..., None]
    return np.where((frame | knob)[..., None], np.array((70.0, 60.0, 54.0)), rgb)


def brightness(level: np.ndarray | int) -> np.ndarray:
    """Return the brightness of a shade level, 1 for the nearest."""
    return np.asarray(1.0 - 0.085 * np.asarray(level, float))


def draw_textures(look: str, first: int, invert: bool) -> np.ndarray:
    """Return all wall texels, uint32 (themes * shades * columns * rows,), 64-byte aligned.

    Args:
        look: Name in ``LOOKS``.
        first: Theme to begin with: another number is another set of textures.
        invert: Replace every colour by its complement.
    """
    walls = LOOKS[look].walls
    pictures = []
    for theme in range(first, first + THEMES):
        tint = np.array(walls[theme % len(walls)], float)
        pattern = _pattern((theme + theme // len(walls) * 3) % 8)
        pictures.append(pattern[..., None] * tint)
    pictures += [_door(colour) for colour in KEY_COLOURS]
    shade = brightness(np.arange(SHADES + 1))[:, None, None, None]
    rgb = np.clip(np.stack(pictures)[:, None] * shade, 0, 255)  # (theme, shade, row, column, 3)
    texels = pack(255 - rgb if invert else rgb).swapaxes(2, 3)  # columns contiguous
    room = np.zeros(texels.size + LANES, np.uint32)
    skip = (-room.ctypes.data % 64) // 4
    aligned = room[skip : skip + texels.size]
    aligned[:] = texels.ravel()
    return aligned


def draw_background(look: str, height: int, focal: float, invert: bool) -> np.ndarray:
    """Return floor and ceiling, one colour a row, uint32 (height,); darker where farther.

    Args:
        look: Name in ``LOOKS``.
        height: Rows of the picture.
        focal: Height in pixels of one square at depth one.
        invert: Replace every colour by its complement.
    """
    row = np.arange(height) + 0.5 - height / 2
    distance = focal * 0.5 / np.maximum(abs(row), 0.5)
    light = brightness(np.minimum(distance, SHADES + 1))[:, None]
    floor, ceiling = (np.array(c, float) for c in (LOOKS[look].floor, LOOKS[look].ceiling))
    rgb = np.where(row[:, None] > 0, floor, ceiling) * light
    return pack(255 - rgb if invert else rgb)
