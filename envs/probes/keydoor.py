"""Keys before doors: KeyDoor and its Montezuma-like version in two rooms."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba.extending import register_jitable

from daedalus.envs.canvas import BLUE, GREEN, INK, PURPLE, Canvas, board
from daedalus.envs.core import Family
from daedalus.envs.probes.common import need
from daedalus.envs.probes.table import grid_moves, read_grid
from daedalus.envs.random import GOAL, LAYOUT, SPAWN, integers

FREE, WALL, DOOR = 0, 1, 2
_SCALE = 32


class KeyParams(NamedTuple):
    """Where things may be (squares, row by row) and what they pay."""

    following: np.ndarray  # int32 (squares x 4,): where a move leads, doors open
    where: np.ndarray  # float32 (squares x 2,): row and column
    kind: np.ndarray  # uint8 (squares,): FREE, WALL, or DOOR where the door may be
    starts: np.ndarray  # int32 (N,)
    keys: np.ndarray  # int32 (N,)
    doors: np.ndarray  # int32 (N,)
    goals: np.ndarray  # int32 (N,); empty: the opened door ends the episode
    track: np.ndarray  # int32 (period,): squares of the skull, empty for none
    key_reward: float
    door_reward: float
    goal_reward: float


class KeyArrays(NamedTuple):
    """What can be seen."""

    things: np.ndarray
    planes: np.ndarray


def key_reset(state: Any, params: KeyParams) -> None:
    """Draw door, key, start and goal."""
    state.door = params.doors[integers(state, LAYOUT, params.doors.size)]
    state.key = params.keys[integers(state, LAYOUT, params.keys.size)]
    state.place = params.starts[integers(state, SPAWN, params.starts.size)]
    while state.place == state.key:
        state.place = params.starts[integers(state, SPAWN, params.starts.size)]
    state.goal = -1
    if params.goals.size > 0:
        state.goal = params.goals[integers(state, GOAL, params.goals.size)]
    state.has_key = False
    state.is_open = False
    state.skull = 0 if params.track.size > 0 else -1


def key_step(state: Any, action: int, params: KeyParams) -> tuple[float, bool]:
    """Move; take the key by walking over it, open the door by walking into it with the key."""
    before, reward = state.place, 0.0
    there = params.following[before * 4 + action]
    if params.kind[there] == DOOR and there != state.door:
        there = before
    locked = there == state.door and not state.is_open
    if not locked or state.has_key:
        state.place = there
    if locked and state.has_key:
        state.is_open = True
        reward += params.door_reward
        if state.goal < 0:
            return reward, True
    if state.place == state.key and not state.has_key:
        state.has_key = True
        reward += params.key_reward
    if state.place == state.goal:
        return reward + params.goal_reward, True
    return reward, state.skull >= 0 and _is_caught(state, before, params)


@register_jitable
def _is_caught(state: Any, before: int, params: KeyParams) -> bool:
    """Move the skull; tell whether it met the agent, also when the two swapped squares."""
    skull = params.track[state.skull]
    state.skull = state.skull + 1 if state.skull + 1 < params.track.size else 0
    now = params.track[state.skull]
    return now == state.place or (now == before and skull == state.place)


def key_observe(state: Any, params: KeyParams, out: KeyArrays) -> None:
    """Show rows and columns of things, and planes where they were asked for."""
    skull = params.track[state.skull] if state.skull >= 0 else state.goal
    places = (state.place, state.key, state.door, skull)
    if out.things.size > 0:
        for i in range(4):
            there = max(places[i], 0)
            out.things[2 * i] = params.where[2 * there]
            out.things[2 * i + 1] = params.where[2 * there + 1]
        out.things[8] = state.has_key
        out.things[9] = state.is_open
    if out.planes.size > 0:
        _draw_planes(state, places, params, out.planes)


@register_jitable
def _draw_planes(state: Any, places: Any, params: KeyParams, planes: np.ndarray) -> None:
    """Mark squares with a one: agent, key, door, goal or skull, walls."""
    planes[:] = 0
    columns = planes.shape[2]
    for square in range(params.kind.size):
        wall = params.kind[square] == WALL
        wall = wall or (params.kind[square] == DOOR and square != state.door)
        planes[4, square // columns, square % columns] = wall
    for i in range(4):
        hidden = (i == 1 and state.has_key) or (i == 2 and state.is_open)
        if places[i] >= 0 and not hidden:
            planes[i, places[i] // columns, places[i] % columns] = 1


class KeyDoor(Family):
    """Two rooms and a locked door between them: fetch the key, open the door, reach the goal.

    Only the goal pays, so that the key must be found worth taking: the smallest task for
    hierarchical agents.

    Observation:
        things: float32 (10,); row and column of the agent, the key, the door and the goal (or
            the skull), whether the key is held, whether the door is open.
        planes: uint8 (5, rows, columns); 1 where the agent, the key (until taken), the door
            (until open), the goal or skull, and walls are; on demand.
    Action:
        Discrete(4): 0 left, 1 down, 2 right, 3 up. The key is taken by walking over it, the door
        opened by walking into it.
    Reward:
        1 at the goal; ``key_reward`` and ``door_reward`` for key and door.
    Episode end:
        Terminates at the goal; truncated after 200 steps.
    Parameters:
        size: Rows and columns, odd, at least 5. Key, door, start and goal are drawn every episode.
        key_reward: Reward for taking the key.
        door_reward: Reward for opening the door.
    Version history:
        v0: first version.
    Source:
        This project, after MiniGrid's DoorKey (Chevalier-Boisvert et al. 2023), without turning.
    """

    Params, Arrays = KeyParams, KeyArrays
    observations = ("things",)
    time_limit = 200
    keys = {"left": 0, "down": 1, "right": 2, "up": 3}
    fps = 8
    reset, step, observe = key_reset, key_step, key_observe

    def __init__(self, *, size: int = 7, key_reward: float = 0.0, door_reward: float = 0.0) -> None:
        """Choose the size and the rewards on the way."""
        need(size >= 5 and size % 2 == 1, f"KeyDoor needs an odd size of at least 5, got {size}")
        letters = np.full((size, size), "s")
        letters[[0, -1]] = letters[:, [0, -1]] = "#"
        letters[1:-1, size // 2] = "D"
        letters[1:-1, size // 2 + 1 : -1] = "g"
        self.build(letters, rewards=(key_reward, door_reward, 1.0))

    def build(self, letters: np.ndarray, *, rewards: tuple[float, float, float]) -> None:
        """Set parameters and spaces from a map.

        Args:
            letters: ``#`` wall, ``D`` where the door may be (all others of them are wall), ``s``
                start or key, ``S`` start, ``K`` key, ``g`` goal, ``0`` to ``9`` the skull's way.
            rewards: for key, door and goal.
        """
        self.letters = letters
        rows, columns = letters.shape
        following = grid_moves(letters == "#")
        way = [int(np.flatnonzero(letters == d)[0]) for d in "0123456789" if d in letters]
        lists = [np.flatnonzero(np.isin(letters, list(f))) for f in ("sS", "sK", "D", "g")]
        track = way + way[-2:0:-1]
        kind = (letters == "#") * WALL + (letters == "D") * DOOR
        where = np.indices(letters.shape).reshape(2, -1).T
        places = [np.array(a, np.int32).ravel() for a in (following, *lists, track)]
        tables: list[np.ndarray] = [where.astype(np.float32), kind.astype(np.uint8)]
        arrays = [places[0], *(table.ravel() for table in tables), *places[1:]]
        for array in arrays:
            array.flags.writeable = False
        self.params = KeyParams(*arrays, *(float(r) for r in rewards))
        names = ("place", "key", "door", "goal", "skull")
        flags = [("has_key", "?"), ("is_open", "?")]
        self.state_dtype = np.dtype([(name, "i8") for name in names] + flags)
        self.action_space = Discrete(4)
        high = float(max(rows, columns))
        self.spaces = {
            "things": Box(0.0, high, (10,), np.float32),
            "planes": Box(0, 1, (5, rows, columns), np.uint8),
        }

    def render(self, state: np.void) -> np.ndarray:
        """Return the rooms with key, door, goal or skull, and the agent (with the key it holds)."""
        columns = self.letters.shape[1]
        walls = (self.letters == "#") | (self.letters == "D")
        walls.flat[int(state["door"])] = False
        canvas = board(walls, _SCALE)
        for row, column in np.argwhere(self.letters == "H"):
            _ladder(canvas, row, column)
        self._draw_door(canvas, state)
        x, y = _middle(int(state["place"]), columns)
        if state["goal"] >= 0:
            u, v = _middle(int(state["goal"]), columns)
            canvas.polygon([(u, v - 0.4), (u + 0.36, v), (u, v + 0.4), (u - 0.36, v)], GREEN)
            canvas.polygon([(u, v - 0.4), (u + 0.36, v), (u, v)], (130, 214, 160))
        if not state["has_key"]:
            canvas.key(*_middle(int(state["key"]), columns), 0.42)
        if state["skull"] >= 0:
            _skull(canvas, *_middle(int(self.params.track[state["skull"]]), columns))
        canvas.disc(x, y, 0.34, BLUE)
        for side in (-0.11, 0.11):
            canvas.disc(x + side, y - 0.06, 0.07, (255, 255, 255))
        if state["has_key"]:
            canvas.key(x, y + 0.16, 0.26)
        return canvas.picture()

    def _draw_door(self, canvas: Canvas, state: np.void) -> None:
        x, y = _middle(int(state["door"]), self.letters.shape[1])
        colour = (150, 98, 52)
        if state["is_open"]:
            canvas.box((x - 0.5, y - 0.5, x - 0.36, y + 0.5), colour)
            return
        canvas.box((x - 0.44, y - 0.5, x + 0.44, y + 0.5), colour, round_=0.06)
        canvas.disc(x, y - 0.06, 0.09, INK)
        canvas.line((x, y), (x, y + 0.16), INK, 0.07)


def _middle(place: int, columns: int) -> tuple[float, float]:
    return place % columns + 0.5, place // columns + 0.5


def _ladder(canvas: Canvas, row: int, column: int) -> None:
    for side in (0.25, 0.75):
        canvas.line((column + side, row), (column + side, row + 1), (176, 128, 72), 0.09)
    for rung in (0.2, 0.5, 0.8):
        canvas.line((column + 0.25, row + rung), (column + 0.75, row + rung), (176, 128, 72), 0.07)


def _skull(canvas: Canvas, x: float, y: float) -> None:
    canvas.disc(x, y - 0.06, 0.32, PURPLE)
    canvas.box((x - 0.16, y + 0.1, x + 0.16, y + 0.36), PURPLE, round_=0.05)
    for side in (-0.12, 0.12):
        canvas.disc(x + side, y - 0.06, 0.085, (255, 255, 255))


_MONTEZUMA = """
####################
#........#.........#
#D...S...#.......K.#
####H#########H#####
#...H....#....H....#
#...H....#....H....#
##H#########H#######
#.H......#..H......#
#.H......#..H......#
#...01234..........#
####################
"""


class MontezumaRooms(KeyDoor):
    """Two rooms full of ladders: past the skull to the key, and back again to the door.

    No reward tells the way: down the ladder, past a skull that patrols, into the second room for
    the key (100), and all the way back to the door (300). Epsilon-greedy exploration hardly ever
    sees the key.

    Observation:
        things: float32 (10,); row and column of the agent, the key, the door and the skull, whether
            the key is held, whether the door is open. The skull's direction is not shown.
        planes: uint8 (5, 11, 20); as in ``KeyDoor``, on demand.
    Action:
        Discrete(4): 0 left, 1 down, 2 right, 3 up, along floors and ladders.
    Reward:
        100 for the key, 300 for the door.
    Episode end:
        Terminates when the door opens or the skull meets the agent; truncated after 500 steps.
    Parameters:
        skull: Whether there is a skull (a track of period 8 at the foot of the first room).
    Version history:
        v0: first version.
    Source:
        This project, after the first room of Montezuma's Revenge and the subgoals of Kulkarni et
        al. 2016, "Hierarchical deep reinforcement learning".
    """

    time_limit = 500

    def __init__(self, *, skull: bool = True) -> None:
        """Choose whether the skull is there."""
        letters = read_grid(_MONTEZUMA, "MontezumaRooms")
        if not skull:
            letters[np.isin(letters, list("0123456789"))] = "."
        self.build(letters, rewards=(100.0, 300.0, 0.0))
