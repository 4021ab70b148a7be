"""The base class of the maze families: what they have in common, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete

from daedalus.envs.core import Family
from daedalus.envs.maze import world
from daedalus.envs.maze.blocks import LANES
from daedalus.envs.maze.kinds import KINDS, NUMBER, draw_sprites
from daedalus.envs.maze.labels import DEPTH_BINS, DEPTH_COLUMNS, DEPTH_ROWS
from daedalus.envs.maze.motion import ACTIONS
from daedalus.envs.maze.placement import RANDOM_GOAL
from daedalus.envs.maze.state import RULES, Arrays, Params, state_dtype
from daedalus.envs.maze.textures import LOOKS, draw_background, draw_textures

DEPTH_EDGES = (0.36, 0.58, 0.76, 0.94, 1.1, 1.3, 1.9)
"""Bounds of the depth bins in squares: about equally frequent in NavMaze at 84 x 84."""
_NOISE_TABLE = 1 << 16


@dataclass(frozen=True)
class Options:
    """Parameters of every maze. A square is 100 units of DeepMind Lab, a second is 15 steps."""

    image: tuple[int, int] = (84, 84)
    """Height and width of ``image`` in pixels, 16 to 1024 each."""
    field_of_view: float = 90.0
    """Horizontal field of view in degrees, 30 to 150."""
    view_size: int = 7
    """Side of the symbolic ``window`` in squares, odd, 3 to 31."""
    speed: float = 0.25
    """Full speed in squares a step, at most 0.5."""
    acceleration: float = 0.5
    """Share of the way to the wanted velocity that a step covers, in (0, 1]."""
    turn: float = 8.4
    """Turn of a look action in degrees, at most 90; if it divides 360, spawns look in multiples."""
    loop_near: float = 1.0
    """Loop closure: a place is the same within this distance, in squares."""
    loop_far: float = 2.0
    """Loop closure: it must have been left by more than this distance, in squares."""
    look: str = "lab"
    """Colours: ``lab``, ``maze``, ``desert`` or ``arena``."""
    textures: int = 0
    """Set of wall textures: the theme to begin with, 0 to 63."""
    invert_colors: bool = False
    """Show the complement of every colour."""
    noise: float = 0.0
    """Standard deviation of normal noise on every byte of ``image``, in grey levels, 0 to 128."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: A value is out of range; the message says which range.
        """
        object.__setattr__(self, "image", tuple(int(n) for n in self.image))
        check("image height and width", min(self.image), LANES, 1024)
        check("image height and width", max(self.image), LANES, 1024)
        check("field_of_view", self.field_of_view, 30, 150)
        check("view_size", self.view_size, 3, 31)
        check("speed", self.speed, 0.01, 0.5)
        check("acceleration", self.acceleration, 0.01, 1)
        check("turn", self.turn, 0.1, 90)
        check("noise", self.noise, 0, 128)
        check("textures", self.textures, 0, 63)
        check("loop_near", self.loop_near, 0.01, self.loop_far)
        if self.view_size % 2 == 0:
            raise ValueError(f"view_size must be odd, got {self.view_size}")
        if self.look not in LOOKS:
            raise ValueError(f"look must be one of {', '.join(LOOKS)}, got {self.look!r}")


def check(name: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError unless a value lies between two bounds, both included."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value:g}")


def check_whole(name: str, value: float) -> None:
    """Raise a ValueError unless a value is a whole number."""
    if not float(value).is_integer():
        raise ValueError(f"{name} must be a whole number, got {value:g}")


_LISTS = {"spawns": "spawn_count", "goals": "goal_count", "slots": "slot_count"}
_LISTS |= {"fixed": "fixed_count", "rooms": "room_count", "base": "base_count"}


def make_rules(options: Options, shape: tuple[int, ...], task: int, **given: Any) -> np.ndarray:
    """Return the record of rules.

    Args:
        options: The common parameters.
        shape: Height and width in squares.
        task: See `placement`.
        **given: Fields of ``RULES``, ``rewards`` by name; the others are zero, or as usual.
    """
    rules = np.zeros(1, RULES)
    r = rules[0]
    steps = 360 / options.turn
    even = round(steps) if abs(steps - round(steps)) < 1e-6 else 0
    rewards = {kind.name: kind.reward for kind in KINDS} | given.pop("rewards", {})
    usual: dict[str, Any] = {
        "height": shape[0],
        "width": shape[1],
        "room_min": 3,
        "room_max": 5,
        "cell_columns": shape[1],
        "task": task,
        "layout": RANDOM_GOAL,
        "goal_kind": NUMBER["goal"],
        "kind_reward": list(rewards.values()),
        "kind_effect": [kind.effect for kind in KINDS],
        "speed": options.speed,
        "gain": options.acceleration,
        "turn": math.radians(options.turn),
        "headings": even,
        "focal": _focal(options),
        "sizes": [kind.size for kind in KINDS],
        "depth_edges": DEPTH_EDGES,
        "loop_near": options.loop_near,
        "loop_far": options.loop_far,
    }
    for name, value in {**usual, **given}.items():
        if name in _LISTS:
            r[name][: len(value)] = value
            r[_LISTS[name]] = len(value)
        elif name == "doors":
            r[name][: len(value)] = value
        else:
            if name in given and np.ndim(value) == 0 and rules.dtype[name].kind in "iu":
                check_whole(name, value)
            r[name] = value
    rules.flags.writeable = False
    return rules


def _focal(options: Options) -> float:
    return options.image[1] / 2 / math.tan(math.radians(options.field_of_view) / 2)


def _frozen(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def make_params(
    options: Options, rules: np.ndarray, recolour: dict[str, Any] | None = None
) -> Params:
    """Return all that the kernels need: the rules, and textures and pictures for the options."""
    height, width = options.image
    focal, invert = _focal(options), options.invert_colors
    slope = (np.arange(width) + 0.5 - width / 2) / focal
    noise = np.zeros(0, np.int16)
    if options.noise > 0:
        normal = np.random.default_rng(0).standard_normal(_NOISE_TABLE)
        noise = np.rint(normal * options.noise).astype(np.int16)
    return Params(
        rules=rules,
        slope=_frozen(slope.astype(np.float32)),
        textures=_frozen(draw_textures(options.look, options.textures, invert)),
        background=_frozen(draw_background(options.look, height, focal, invert)),
        sprites=_frozen(draw_sprites(recolour or {}, invert)),
        noise=_frozen(noise),
    )


class Maze(Family):
    """Base of the maze families; not an environment itself."""

    Params, Arrays = Params, Arrays
    observations: ClassVar[tuple[str, ...]] = ("image",)
    labels: ClassVar[tuple[str, ...]] = ("depth", "loop_closure")
    infos: ClassVar[tuple[str, ...]] = ("position", "cell", "goals", "latency")
    fps = 15
    keys = {
        "up": 0,
        "down": 1,
        "a": 2,
        "d": 3,
        "left": 4,
        "right": 5,
        "q": 6,
        "e": 7,
    }
    actions: ClassVar[tuple[str, ...]] = ACTIONS
    reset, step, observe = world.reset, world.step, world.observe

    def configure(
        self, options: Options, rules: np.ndarray, time_limit: int, objects: int, **recolour: Any
    ) -> None:
        """Set parameters, state and spaces.

        Args:
            options: The common parameters.
            rules: From `make_rules`.
            time_limit: Steps of an episode; 0 for none.
            objects: Most objects there can be at once.
            **recolour: RGB of kinds of objects, by name.
        """
        check("time_limit", time_limit, 0, 2**31)
        self.options, self.time_limit = options, int(time_limit)
        self.params = make_params(options, rules, recolour)
        squares = int(rules[0]["height"] * rules[0]["width"])
        self.state_dtype = state_dtype(squares, objects, self.time_limit)
        self.action_space = Discrete(len(ACTIONS))
        self.spaces = _spaces(options, max(rules[0]["height"], rules[0]["width"]))

    def render(self, state: np.void) -> np.ndarray:
        """Return the view beside a map with the agent, its heading, the goal and all objects."""
        from daedalus.envs.maze.picture import draw_picture

        return draw_picture(state, self.params, self.options)


def _spaces(options: Options, side: float) -> dict[str, Any]:
    view = options.view_size
    speed, turn = options.speed * 1.1, math.radians(options.turn) * 1.01
    v_bound = np.array([speed, speed, 0, 0, 0, turn], np.float32)
    p_bound = np.array([0.5, 0.5, math.pi / 4 + 1e-3, 4], np.float32)
    p_low = np.array([-0.5, -0.5, -math.pi / 4 - 1e-3, 0], np.float32)
    end = np.array([side, side, 2 * math.pi], np.float32)
    return {
        "image": Box(0, 255, (*options.image, 3), np.uint8),
        "velocity": Box(-v_bound, v_bound, dtype=np.float32),
        "window": Box(0, 6 + len(KINDS), (view, view), np.uint8),
        "pose": Box(p_low, p_bound, dtype=np.float32),
        "depth": Box(0, DEPTH_BINS - 1, (DEPTH_ROWS, DEPTH_COLUMNS), np.uint8),
        "loop_closure": Box(0, 1, (1,), np.uint8),
        "position": Box(np.zeros(3, np.float32), end, dtype=np.float32),
        "cell": Box(0, int(side) ** 2, (1,), np.int32),
        "goals": Box(0, 2**31 - 1, (1,), np.int32),
        "latency": Box(-1, np.inf, (2,), np.float32),
    }
