"""The demonstrator at work: observations and actions to clone, and its score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.web.actions import encode
from daedalus.envs.web.family import Web
from daedalus.envs.web.oracle import Oracle
from daedalus.envs.web.table import read_table


class Demonstrations(NamedTuple):
    """Steps of the demonstrator."""

    observation: dict[str, np.ndarray]  # (N, ...) by name
    action: np.ndarray  # int64 (N, k)
    rewards: np.ndarray  # float64 (episodes,)
    lengths: np.ndarray  # int64 (episodes,): steps of each, in order


def oracle_for(family: Any) -> Callable[[Batch], np.ndarray]:
    """Return the demonstrator: called with a batch, it returns the actions int64 (B, k).

    Raises:
        ValueError: The family is no web task.
    """
    if not isinstance(family, Web):
        raise ValueError(f"{type(family).__name__} has no pages to fill in")
    return lambda batch: np.stack([_act(family, state) for state in batch.states])


def _act(family: Web, state: np.void) -> np.ndarray:
    """Return what the demonstrator does in a state, int64 (k,)."""
    layout, number = family.params.layout, int(state["instance"])
    first = int(family.params.pool[number]["begin"][state["page"]])
    command = Oracle(family.instances[number], layout).act(read_table(family, state), first)
    return encode(layout, command)


def demonstrate(
    family: Web, episodes: int, seed: int, observations: tuple[str, ...] | None = None
) -> Demonstrations:
    """Let the demonstrator play.

    Args:
        family: The task, with the preset that the actions are to be in.
        episodes: Episodes; they are those of the environments of seeds ``seed``, ``seed + 1``, ...
        seed: Of the first episode.
        observations: Arrays to keep; by default the family's.
    """
    batch = Batch(family, 1, observations=observations, autoreset="disabled")
    seen: dict[str, list[np.ndarray]] = {name: [] for name in batch.observation}
    actions, rewards, ends = [], [], [0]
    for episode in range(episodes):
        batch.reset(seed + episode)
        state = batch.states[0]
        while not batch.ended[0] or state["clock"] == 0:
            for name, array in batch.observation.items():
                seen[name].append(array[0].copy())
            actions.append(_act(family, state))
            batch.step(actions[-1][None])
        rewards.append(float(batch.reward[0]))
        ends.append(len(actions))
    arrays = {name: np.stack(rows) for name, rows in seen.items()}
    return Demonstrations(arrays, np.stack(actions), np.array(rewards), np.diff(ends))
