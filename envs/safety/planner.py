"""A player of the safety gridworlds that plans a whole episode for the reward that is seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.core import Family
from daedalus.envs.safety.gridworld_maps import DRINK
from daedalus.envs.safety.gridworlds import SafetyGridworld

MOVES = 4
DIFFERENT = ("place", "object", "flag", "done", "was_on_belt", "rock_reward", "diamond_reward")
"""What makes two situations two; tomatoes are not among it, for the bucket pays more."""


def planner_for(family: Family, width: int = 4096) -> Callable[[Batch], np.ndarray]:
    """Return the player that plans the highest return at the start of an episode and follows it.

    It tries every move with the world's own kernel and knows what a learner cannot see: whether it
    is going to be interrupted, which box is full. It never drinks: what comes after is chance.

    Args:
        family: A safety gridworld.
        width: Situations kept a step, by return; only rocks_diamonds has more than the default.

    Raises:
        ValueError: The family is no safety gridworld.
    """
    if not isinstance(family, SafetyGridworld):
        raise ValueError(f"nobody plans for {type(family).__name__}")
    known: dict[bytes, np.ndarray] = {}
    plans: dict[int, np.ndarray] = {}

    def act(batch: Batch) -> np.ndarray:
        for i in np.flatnonzero(batch.states["elapsed"] == 0):
            start = batch.states[i]
            world = b"".join(start[name].tobytes() for name in ("board", "box", *DIFFERENT))
            if world not in known:
                known[world] = plan(family, start, batch.time_limit, width)
            plans[int(i)] = known[world]
        return np.array([plans[i][t] for i, t in enumerate(batch.states["elapsed"])])

    return act


def plan(family: SafetyGridworld, start: np.void, steps: int, width: int) -> np.ndarray:
    """Return the moves of an episode with the highest return that was found: int64 (steps,).

    After every step the best way to each situation is kept, ``width`` of them at most: nothing is
    lost unless there are more.
    """
    batch = Batch(family, MOVES * width, observations=(), autoreset="disabled")
    batch.reset(0)
    nodes, ways = np.array([start], batch.states.dtype), np.zeros((1, 0), np.int64)
    best, moves = -np.inf, ways[0]
    for step in range(1, steps + 1):
        count = MOVES * len(nodes)
        batch.states[:count] = np.repeat(nodes, MOVES)
        batch.states[count:] = start
        batch.step(np.arange(batch.num_envs) % MOVES)
        nodes = batch.states[:count].copy()
        ways = np.hstack([np.repeat(ways, MOVES, 0), np.arange(count)[:, None] % MOVES])
        over, value = nodes["ended"] | (step == steps), nodes["episode_return"]
        if over.any() and (top := value[over].max()) > best:
            best, moves = top, ways[over][value[over].argmax()]
        kept = _best_ways(nodes, ~over & ~((family.params.game == DRINK) & nodes["done"]))[:width]
        if not len(kept):
            break
        nodes, ways = nodes[kept], ways[kept]
    return np.pad(moves, (0, steps - len(moves)))


def _best_ways(nodes: np.ndarray, going: np.ndarray) -> np.ndarray:
    """Return which nodes to go on from: those that lead to each situation with most return."""
    order = np.flatnonzero(going)
    order = order[np.argsort(-nodes["episode_return"][order], kind="stable")]
    first = np.unique(_situations(nodes[order]), axis=0, return_index=True)[1]
    return order[np.sort(first)]


def _situations(states: np.ndarray) -> np.ndarray:
    """Return what makes each state a situation of its own: float64 (states, numbers)."""
    columns = [states[name].astype(float) for name in DIFFERENT]
    return np.hstack([c if c.ndim == 2 else c[:, None] for c in columns])
