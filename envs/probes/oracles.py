"""Players that know the answer: the upper reference score of the probes that have one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.core import Family
from daedalus.envs.probes.catch import Catch
from daedalus.envs.probes.credit import TwoStep
from daedalus.envs.probes.heavier import BLOCKS, WhichIsHeavier
from daedalus.envs.probes.keydoor import DOOR, KeyDoor
from daedalus.envs.probes.search import AVG, CMP, BinarySearch
from daedalus.envs.probes.signals import Identity, Recall
from daedalus.envs.probes.table import Table
from daedalus.envs.probes.tape import ADDITION, REVERSE, Copy
from daedalus.envs.probes.terrain import BAR, GAP, HURDLE, OBSTACLES, SPACING, TerrainRunner
from daedalus.envs.probes.towers import ONE_BODY, Towers

Player = Callable[[Batch], np.ndarray]


def oracle_for(family: Family, gamma: float = 0.99) -> Player:
    """Return the player of a probe: called with a batch, it returns the actions.

    Args:
        family: A probe.
        gamma: Discount of the planning on tables.

    Raises:
        ValueError: Nobody knows the answer.
    """
    if isinstance(family, Table):
        return _planner(family, gamma)
    for kind, act in _ACTS.items():
        if isinstance(family, kind):
            return lambda batch: np.array([act(state, family) for state in batch.states])
    raise ValueError(f"there is no oracle for {type(family).__name__}")


def _planner(family: Table, gamma: float) -> Player:
    """Return the greedy player of the optimal values, worked out once for each goal."""
    best: dict[int, np.ndarray] = {}

    def act(state: np.void) -> int:
        goal = int(state["goal"])
        if goal not in best:
            values = family.action_values(family.optimal_values(gamma, goal), gamma, goal)
            best[goal] = values.argmax(1)
        return int(best[goal][state["place"]])

    return lambda batch: np.array([act(state) for state in batch.states])


def _catch(state: np.void, family: Catch) -> int:
    return int(np.sign(state["ball_column"] - state["paddle"])) + 1


def _keydoor(state: np.void, family: KeyDoor) -> int:
    """Take the first step of a shortest way to what is next (key, door, goal), past the skull."""
    wanted = "goal" if state["is_open"] else "door" if state["has_key"] else "key"
    following, track = family.params.following.reshape(-1, 4), family.params.track
    shut = {int(s) for s in np.flatnonzero(family.params.kind == DOOR)} - {int(state["door"])}
    start = int(state["place"]), int(state["skull"])
    queue, first = deque([start]), {start: 0}
    while queue:
        node = queue.popleft()
        here, phase = node
        if here == int(state[wanted]):
            return first[node]
        moved = (phase + 1) % len(track) if phase >= 0 else -1
        for action in range(4):
            there = int(following[here, action])
            caught = (
                phase >= 0
                and track[moved] in (there, here)
                and (track[moved] == there or track[phase] == there)
            )
            new = there, moved
            if new not in first and there not in shut and not caught:
                first[new] = action if node == start else first[node]
                queue.append(new)
    raise ValueError("the target cannot be reached")


def _tape(state: np.void, family: Copy) -> list[int]:
    """Read on and write the next symbol; for Reverse and the addition, in the cheapest order."""
    column, written = int(state["column"]), int(state["written"])
    due = int(state["target"][written])
    if family.task == REVERSE:
        return [0, 1, due] if written or column >= state["length"] else [1, 0, 0]
    if family.task == ADDITION and column < state["length"]:
        down, second = column % 2 == 0, int(state["row"]) == (1 if column % 2 == 0 else 0)
        return [1, 1, due] if second else [3 if down else 2, 0, 0]
    return [1, 1, due]


def _search(state: np.void, family: BinarySearch) -> list[int]:
    """Halve: two registers hold the ends, the third becomes their middle and is compared."""
    register, place = state["register"], int(state["place"])
    if state["time"] % 2 == 1:
        return [CMP, int(state["last"])]
    below = [i for i in range(3) if register[i] <= place]
    above = [i for i in range(3) if register[i] > place]
    ends = {max(below, key=lambda i: register[i]), min(above, key=lambda i: register[i])}
    return [AVG, next(i for i in range(3) if i not in ends)]


def _heavier(state: np.void, family: WhichIsHeavier) -> int:
    return BLOCKS + int(state["answer"])


def _terrain(state: np.void, family: TerrainRunner) -> list[float]:
    """Run; jump before hurdles and gaps, crouch under bars."""
    x, crouch, jump = float(state["x"]), -1.0, -1.0
    for k in range(OBSTACLES):
        ahead = SPACING * (k + 1) - x
        if state["kind"][k] == BAR and -0.8 < ahead < 0.6:
            crouch = 1.0
        if state["kind"][k] == GAP and 0.0 < ahead < 0.35:
            jump = 1.0
        if state["kind"][k] == HURDLE and -0.2 < ahead < 1.2:
            jump = 1.0
    return [1.0, jump, crouch]


_ACTS: dict[type[Family], Callable[[np.void, Any], Any]] = {
    Identity: lambda state, family: int(state["symbol"]),
    Recall: lambda state, family: int(state["cue"]),
    TwoStep: lambda state, family: 1 - min(int(state["room"]), 1),
    Towers: lambda state, family: ONE_BODY + int(state["bodies"]) - 1,
    Catch: _catch,
    KeyDoor: _keydoor,
    Copy: _tape,
    BinarySearch: _search,
    WhichIsHeavier: _heavier,
    TerrainRunner: _terrain,
}
