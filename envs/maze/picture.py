"""Pictures for people: what the agent sees, beside a map of where it is."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from daedalus.envs.maze import state as s
from daedalus.envs.maze.kinds import KEY_COLOURS, KINDS
from daedalus.envs.maze.paint import SPRITE
from daedalus.envs.maze.raycast import DOOR, SOLID, THEME
from daedalus.envs.maze.state import Params
from daedalus.envs.maze.textures import LOOKS, draw_background
from daedalus.envs.maze.world import draw_view

HEIGHT = 384
"""Rows of the picture; the map is as wide, the view has the image's shape."""
_MARGIN = 12
_PAPER = (24, 26, 32)
_PATH = (255, 196, 64)
_AGENT = (255, 255, 255)
_PAGE = np.full((HEIGHT, HEIGHT, 3), _PAPER, np.uint8)
_NONE = np.zeros((0, 0), np.uint8)


def draw_picture(state: np.void, params: Params, options: Any) -> np.ndarray:
    """Return view and map side by side, uint8 (HEIGHT, width, 3)."""
    view = _view(state, params, options)
    map_ = _map(state, params, options)
    return np.concatenate([view, _PAGE[:, :_MARGIN], map_], axis=1)


def _view(state: np.void, params: Params, options: Any) -> np.ndarray:
    rows, columns = options.image
    width = max(round(HEIGHT * columns / rows), 16) // 2 * 2
    large = dataclasses.replace(options, image=(HEIGHT, width), noise=0.0)
    rules = params.rules.copy()
    rules["focal"] = params.rules["focal"] * (width / columns)
    focal = float(rules["focal"][0])
    enlarged = params._replace(
        rules=_locked(rules),
        slope=_locked(((np.arange(width) + 0.5 - width / 2) / focal).astype(np.float32)),
        background=_locked(draw_background(options.look, HEIGHT, focal, large.invert_colors)),
    )
    count = int(state["counts"][s.OBJECTS])
    objects = tuple(np.array(state[f"object_{name}"][:count]) for name in ("x", "y", "kind"))
    rgb = np.zeros(HEIGHT * width * 3, np.uint8)
    draw_view(np.array(state["grid"]), np.array(state["pose"]), objects, enlarged, rgb, _NONE)
    return rgb.reshape(HEIGHT, width, 3)


def _locked(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _map(state: np.void, params: Params, options: Any) -> np.ndarray:
    rules = params.rules[0]
    height, width = int(rules["height"]), int(rules["width"])
    scale = (HEIGHT - 2 * _MARGIN) // max(height, width)
    grid = np.asarray(state["grid"][: height * width]).reshape(height, width)
    colours = _colours(grid, options).astype(np.uint8)
    squares = np.repeat(np.repeat(colours, scale, 0), scale, 1)
    for i in range(int(state["counts"][s.OBJECTS])):
        _stamp(squares, state, params, i, scale)
    _draw_path(squares, state, scale)
    _draw_agent(squares, state["pose"], scale)
    page = _PAGE.copy()
    top, left = (HEIGHT - squares.shape[0]) // 2, (HEIGHT - squares.shape[1]) // 2
    page[top : top + squares.shape[0], left : left + squares.shape[1]] = squares
    return page


def _colours(grid: np.ndarray, options: Any) -> np.ndarray:
    """Return RGB of every square: dark walls, floor in a pale tone of its walls' texture."""
    walls = np.array(LOOKS[options.look].walls, float)
    theme = (grid & THEME) + options.textures
    floor = 0.35 * walls[theme % len(walls)] + 0.65 * 210
    door = np.array(KEY_COLOURS, float)[grid & 3]
    rgb = np.where((grid >= SOLID)[..., None], (52.0, 56.0, 66.0), floor)
    return np.where(((grid >= SOLID) & (grid & DOOR > 0))[..., None], door, rgb)


def _stamp(squares: np.ndarray, state: np.void, params: Params, i: int, scale: int) -> None:
    """Draw the picture of object ``i``, a square high, on its square."""
    kind = int(state["object_kind"][i])
    if KINDS[kind].size == 0:
        return
    sprite = params.sprites[kind].reshape(SPRITE, SPRITE).T
    rows = np.arange(scale) * SPRITE // scale
    texels = sprite[np.ix_(rows, rows)]
    top = int((state["object_y"][i] - 0.5) * scale)
    left = int((state["object_x"][i] - 0.5) * scale)
    part = squares[top : top + scale, left : left + scale]
    rgb = np.stack([texels & 255, texels >> 8 & 255, texels >> 16 & 255], -1)
    part[texels != 0] = rgb[texels != 0]


def _draw_path(squares: np.ndarray, state: np.void, scale: int) -> None:
    """Draw the way since the map last started, fading with age."""
    count, capacity = int(state["counts"][s.POSITIONS]), state["trace_x"].size
    first = max(int(state["counts"][s.LAST_START]) - 1, count - capacity, count - 150, 0)
    for k in range(first, count):
        x, y = (state[name][k % capacity] * scale for name in ("trace_x", "trace_y"))
        fade = 0.15 + 0.7 * (k - first) / max(count - first, 1)
        half = max(scale // 14, 1)
        part = squares[int(y) - half : int(y) + half, int(x) - half : int(x) + half]
        part[:] = (1 - fade) * part + fade * np.array(_PATH)


def _draw_agent(squares: np.ndarray, pose: np.ndarray, scale: int) -> None:
    """Draw the agent as an arrow head that points where it looks."""
    size = max(0.5 * scale, 5.0)
    column, row, reach = int(pose[s.X] * scale), int(pose[s.Y] * scale), int(size) + 4
    top, left = max(row - reach, 0), max(column - reach, 0)
    part = squares[top : row + reach, left : column + reach]
    y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]] + 0.5
    dx, dy = x + left - pose[s.X] * scale, y + top - pose[s.Y] * scale
    cosine, sine = math.cos(pose[s.HEADING]), math.sin(pose[s.HEADING])
    ahead, side = cosine * dx + sine * dy, cosine * dy - sine * dx
    for grow, colour in ((1.5, (20, 20, 20)), (0.0, _AGENT)):
        inside = (ahead > -0.6 * size - grow) & (abs(side) < (size - ahead) * 0.42 + grow)
        notch = ahead + 0.6 * size - grow > 0.9 * (0.5 * size - abs(side))
        part[inside & notch & (ahead < size + grow)] = colour
