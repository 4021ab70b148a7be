"""What lies about in mazes: every kind of object with its reward, effect, size and picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daedalus.envs.maze.paint import SPRITE

PICK, GOAL, KEY, GATE = 0, 1, 2, 3
"""Effects of touching: taken; the map starts again; held; a linked square is walled up."""


class Kind(NamedTuple):
    """One kind of object."""

    name: str
    reward: float
    effect: int
    size: float  # side of its picture, in squares; 0 where it cannot be seen
    shape: str
    colour: tuple[int, int, int]


KINDS = (
    Kind("nothing", 0.0, PICK, 0.0, "ball", (0, 0, 0)),
    Kind("apple", 1.0, PICK, 0.4, "fruit", (214, 40, 46)),
    Kind("strawberry", 2.0, PICK, 0.4, "heart", (235, 60, 110)),
    Kind("lemon", -1.0, PICK, 0.4, "fruit", (240, 214, 40)),
    Kind("mushroom", -10.0, PICK, 0.45, "mushroom", (150, 90, 190)),
    Kind("goal", 10.0, GOAL, 0.7, "star", (90, 235, 90)),
    Kind("watermelon", 20.0, GOAL, 0.7, "melon", (60, 170, 70)),
    Kind("mango", 100.0, GOAL, 0.6, "heart", (250, 150, 40)),
    Kind("red_key", 1.0, KEY, 0.45, "key", (230, 50, 50)),
    Kind("green_key", 1.0, KEY, 0.45, "key", (60, 200, 70)),
    Kind("blue_key", 1.0, KEY, 0.45, "key", (70, 110, 240)),
    Kind("yellow_key", 1.0, KEY, 0.45, "key", (240, 210, 60)),
    Kind("gate", 0.0, GATE, 0.0, "ball", (0, 0, 0)),
    Kind("hat", 1.0, PICK, 0.5, "hat", (60, 70, 160)),
    Kind("can", 1.0, PICK, 0.5, "can", (190, 200, 205)),
    Kind("cake", 1.0, PICK, 0.5, "cake", (240, 170, 190)),
    Kind("balloon", 1.0, PICK, 0.6, "fruit", (60, 190, 230)),
)
"""All kinds; an object's kind is its place in this list."""

NUMBER = {kind.name: number for number, kind in enumerate(KINDS)}
"""Number of each kind by name."""

KEY_COLOURS = tuple(KINDS[NUMBER["red_key"] + k].colour for k in range(4))
"""RGB of the four key and door colours."""


def kind_number(name: str) -> int:
    """Return the number of a kind that can be taken.

    Raises:
        ValueError: There is none of that name.
    """
    names = [kind.name for kind in KINDS if kind.effect == PICK and kind.size > 0]
    if name not in names:
        raise ValueError(f"there is no object {name!r}; choose one of: {', '.join(names)}")
    return NUMBER[name]


def _shape(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Return two bool masks (row, column): the body, and details in a second tone."""
    v, u = (np.mgrid[0:SPRITE, 0:SPRITE] + 0.5) / SPRITE * 2 - 1  # -1 at the top and left
    disc = u**2 + v**2
    shapes = {
        "ball": (disc < 0.8, disc < 0.0),
        "fruit": (u**2 + (v - 0.15) ** 2 < 0.7, (abs(u - 0.1) < 0.15) & (v < -0.6)),
        "heart": ((abs(u) < 0.85 - 0.8 * abs(v + 0.35)) & (v < 0.95), (v < -0.55) & (abs(u) < 0.5)),
        "mushroom": ((disc < 0.9) & (v < 0.1), (abs(u) < 0.3) & (v >= 0.1)),
        "star": (abs(u) + abs(v) < 0.95, disc < 0.12),
        "melon": (disc < 0.95, (disc < 0.95) & (np.sin(u * 9) > 0.3)),
        "key": (
            ((u + 0.5) ** 2 + v**2 < 0.2) | ((abs(v) < 0.15) & (u > -0.5) & (u < 0.9)),
            (abs(u - 0.6) < 0.12) & (v > 0) & (v < 0.5),
        ),
        "hat": ((abs(u) < 0.5) & (v > -0.8) & (v < 0.6), (abs(u) < 0.95) & (v >= 0.6)),
        "can": ((abs(u) < 0.5) & (abs(v) < 0.95), (abs(u) < 0.5) & (abs(v) < 0.3)),
        "cake": ((abs(u) < 0.8) & (v > -0.2), (abs(u) < 0.1) & (v > -0.8) & (v <= -0.2)),
    }
    return shapes[shape]


def pack(colour: np.ndarray) -> np.ndarray:
    """Return uint32 pixels, red in the lowest byte and 255 in the highest, of RGB (..., 3)."""
    rgb = np.clip(np.rint(colour), 0, 255).astype(np.uint32)
    return np.asarray(rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16 | 255 << 24, np.uint32)


def draw_sprites(recolour: dict[str, tuple[int, int, int]], invert: bool) -> np.ndarray:
    """Return the pictures of all kinds, uint32 (kinds, SPRITE * SPRITE), column after column.

    Args:
        recolour: Colours other than the usual, by name.
        invert: Replace every colour by its complement.
    """
    sprites = np.zeros((len(KINDS), SPRITE, SPRITE), np.uint32)
    light = np.linspace(1.15, 0.75, SPRITE)[:, None, None]
    for number, kind in enumerate(KINDS):
        body, detail = _shape(kind.shape)
        colour = np.array(recolour.get(kind.name, kind.colour), float)
        second = colour * 0.45 if colour.sum() > 0 else colour
        rgb = np.where(detail[..., None], second, colour) * light
        rgb = np.clip(rgb, 0, 255)
        picture = pack(255 - rgb if invert else rgb)
        sprites[number] = np.where(body | detail, picture, 0).T
    return sprites.reshape(len(KINDS), -1)
