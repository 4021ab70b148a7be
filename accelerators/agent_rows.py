"""Every agent of every copy as a row of a batch, for algorithms that know one agent.

>>> from daedalus.accelerators.agent_rows import AgentRows
>>> from daedalus.accelerators.vector import make_batch
>>> rows = AgentRows(make_batch("daedalus/ClimbingGame-v0", 4))
>>> rows.num_envs, rows.copies, rows.action_space
(8, 4, Discrete(3))
>>> rows.reset(0)
>>> rows.observation["agent"][:3].tolist()
[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from daedalus.accelerators.gymnasium_batch import Arrays
from daedalus.accelerators.sequence import TaskBatch
from daedalus.envs.batch import Batch

INDICATOR = "agent"
"""Name of the observation that says which agent a row is, one-hot."""


def has_agents(batch: Any) -> TypeGuard[Batch | TaskBatch]:
    """Tell whether several agents act in each environment of a batch, and share its rows."""
    if isinstance(batch, TaskBatch):
        return batch.agents > 1
    return isinstance(batch, Batch) and batch.family.agents > 1


def by_agent(batch: Any) -> Any:
    """Return a batch with a row for each agent, where several act in an environment."""
    if not has_agents(batch):
        return batch
    if isinstance(batch, Batch):
        return AgentRows(batch)
    parts = [AgentRows(part) for part in batch.parts]
    spaces = [_rows(part, batch.agents) for part in batch.spaces]
    return TaskBatch(parts, batch.tasks, spaces, batch.task_id, batch.stages)


def row_spaces(batch: Batch | TaskBatch) -> tuple[dict[str, Space[Any]], Discrete]:
    """Return the spaces of one agent, as all of them have them: observations by name, actions."""
    space = batch.action_space
    assert isinstance(space, MultiDiscrete)
    return _rows(batch.observation_spaces, len(space.nvec)), Discrete(int(space.nvec.max()))


def _rows(spaces: Mapping[str, Space[Any]], agents: int) -> dict[str, Space[Any]]:
    """Return what one of ``agents`` observes: its part of ``spaces``, and who it is."""
    who = Box(0.0, 1.0, (agents,), np.float32)
    return {name: _row(space) for name, space in spaces.items()} | {INDICATOR: who}


def _row(space: Space[Any]) -> Space[Any]:
    assert isinstance(space, Box)
    return Box(space.low.min(0), space.high.max(0), dtype=space.dtype.type)


def as_rows(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Return views (B agents, ...) of arrays (B, agents, ...)."""
    return {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}


def indicator(agents: int, copies: int) -> np.ndarray:
    """Return which agent each row is, float32 (copies * agents, agents)."""
    return np.tile(np.eye(agents, dtype=np.float32), (copies, 1))


def joint_actions(actions: np.ndarray, space: Space[Any]) -> np.ndarray:
    """Return the joint actions (B, agents) of rows (B agents,).

    An agent that has fewer actions than the others takes its last one in place of those it lacks.
    """
    assert isinstance(space, MultiDiscrete)
    given = np.asarray(actions).reshape(-1, len(space.nvec))
    return np.asarray(np.minimum(given, space.nvec - 1))


class AgentRows:
    """A batch whose rows are agents; its face is that of an `EnvBatch`.

    Row ``c * agents + i`` is agent i of copy c. Observations are those of the agents and
    ``"agent"``, which says who a row is; rewards are the agents' own, ends are the copy's.

    Attributes:
        copies: Environments; ``num_envs`` counts rows.
        agents: Agents of each.
    """

    def __init__(self, batch: Batch) -> None:
        """Show ``batch``, whose family has several agents, by agent.

        Raises:
            ValueError: It has one agent, or the batch does not reset in the same step.
        """
        if isinstance(batch, TaskBatch) or not has_agents(batch) or batch.autoreset != "same_step":
            raise ValueError("rows of agents need a native family of several, reset in the step")
        self.batch, self.agents, self.copies = batch, batch.family.agents, batch.num_envs
        self.num_envs, self.autoreset = self.copies * self.agents, batch.autoreset
        self.observation_spaces, actions = row_spaces(batch)
        self.action_space: Space[Any] = actions
        self.label_spaces = {name: _row(space) for name, space in batch.label_spaces.items()}
        who = {INDICATOR: indicator(self.agents, self.copies)}
        self.observation = as_rows(batch.observation) | who
        self.final_observation = as_rows(batch.final_observation) | who
        self.label = as_rows(batch.label)
        self.info, self.final_info = batch.info, batch.final_info  # of copies
        self.reward, self.cost = np.zeros((2, self.num_envs), np.float32)
        self.terminated, self.truncated = np.zeros((2, self.num_envs), bool)
        self.valid = np.ones(self.num_envs, bool)
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        self._episodes: list[tuple[float, int]] = []

    def reset(
        self, seed: int | Sequence[int | None] | None = None, mask: np.ndarray | None = None
    ) -> None:
        """Start new episodes; a copy has the seed of its first agent, and is reset if any is."""
        copies = None if mask is None else np.any(mask.reshape(-1, self.agents), axis=1)
        if seed is not None and not isinstance(seed, int | np.integer):
            seed = list(seed)[:: self.agents]
        self.batch.reset(seed, copies)
        rows = slice(None) if copies is None else copies.repeat(self.agents)
        self._returns[rows], self._lengths[rows] = 0.0, 0

    def step(self, actions: Any) -> None:
        """Step every copy with the actions of its agents, (B agents,)."""
        batch, by_copy = self.batch, (self.copies, self.agents)
        batch.step(joint_actions(actions, batch.action_space))
        self.reward.reshape(by_copy)[:] = batch.states["rewards"][:, : self.agents]
        for name in ("cost", "terminated", "truncated"):
            getattr(self, name).reshape(by_copy)[:] = getattr(batch, name)[:, None]
        self._returns += self.reward
        self._lengths += 1
        ended = self.terminated | self.truncated
        if ended.any():
            pairs = zip(self._returns[ended], self._lengths[ended], strict=True)
            self._episodes += [(float(total), int(length)) for total, length in pairs]
            self._returns[ended], self._lengths[ended] = 0.0, 0

    @property
    def next_observation(self) -> Arrays:
        """What the last step led to: a copy."""
        return as_rows(self.batch.next_observation) | {
            INDICATOR: self.observation[INDICATOR].copy()
        }

    def pop_episodes(self) -> list[tuple[float, int]]:
        """Return (return, length) of each agent's episodes that ended since the last call."""
        found, self._episodes = self._episodes, []
        return found

    def get_state(self) -> Arrays:
        """Return everything that the future depends on."""
        own = {"returns": self._returns.copy(), "lengths": self._lengths.copy()}
        return self.batch.get_state() | own

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``get_state`` returned."""
        self.batch.set_state(state)
        self._returns[:], self._lengths[:] = state["returns"], state["lengths"]

    def render(self, i: int = 0) -> np.ndarray:
        """Return a picture of the copy that row ``i`` is in."""
        return self.batch.render(i // self.agents)

    def close(self) -> None:
        """Release what the environments hold."""
        self.batch.close()
