"""PettingZoo's parallel face: the arrays of a batch of one, cut by agent."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from pettingzoo import ParallelEnv

from daedalus.envs import family_class
from daedalus.envs.cooperation.family import Cooperative
from daedalus.envs.faces import RENDER_MODES, NativeEnv


class ParallelWorld(ParallelEnv[str, Any, int]):  # type: ignore[misc]
    """One environment with several agents, as PettingZoo's ``ParallelEnv``.

    An agent's observation is one array, or a dict of several; padding that other faces need is cut
    away. Where the actions that are allowed change from step to step, ``"action_mask"`` says which.
    All agents leave together, at the end of the episode.
    """

    def __init__(
        self,
        env_id: str,
        *,
        render_mode: str | None = None,
        max_cycles: int | None = None,
        **parameters: Any,
    ) -> None:
        """Make the world.

        Args:
            env_id: Id of a native family with agents.
            render_mode: None, ``"rgb_array"`` or ``"human"``.
            max_cycles: Steps after which an episode is truncated; by default the family's limit.
            **parameters: Parameters of the family.

        Raises:
            TypeError: The environment has a single agent.
        """
        family = family_class(env_id)
        if not issubclass(family, Cooperative):
            raise TypeError(f"{env_id} has one agent: make it with gymnasium.make")
        self.native = NativeEnv(
            family, render_mode=render_mode, time_limit=max_cycles, **parameters
        )
        assert isinstance(self.native.family, Cooperative)
        self.family: Cooperative = self.native.family
        self.render_mode = render_mode
        self.metadata = {
            "name": env_id.partition("/")[2],
            "render_modes": RENDER_MODES,
            "render_fps": self.family.fps,
            "is_parallelizable": True,
        }
        self.possible_agents = list(self.family.agent_names)
        self.agents: list[str] = []
        shown = self.native.batch.observation
        self._names = [n for n in shown if n != "action_mask" or self.family.takes_turns]
        self.observation_spaces = {
            agent: self._space(i) for i, agent in enumerate(self.possible_agents)
        }
        self.action_spaces = {
            agent: Discrete(int(n))
            for agent, n in zip(self.possible_agents, self.family.action_space.nvec, strict=True)
        }

    def _space(self, i: int) -> Space[Any]:
        """Return the observation space of agent ``i``."""
        spaces: dict[str, Space[Any]] = {}
        for name in self._names:
            space = self.family.spaces[name]
            assert isinstance(space, Box)
            low, high = (self._cut(name, i, end) for end in (space.low, space.high))
            spaces[name] = Box(low, high, dtype=space.dtype.type)
        return next(iter(spaces.values())) if len(spaces) == 1 else Dict(spaces)

    def _cut(self, name: str, i: int, array: np.ndarray) -> np.ndarray:
        """Return the part of an array (agents, ...) that is agent ``i``'s."""
        width = self.family.widths.get(name)
        row: np.ndarray = array[i]
        return row if width is None else row[: width[i]]

    def observation_space(self, agent: str) -> Space[Any]:
        """Return what an agent sees."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Discrete:
        """Return what an agent may do."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Start a new episode; with a seed, the first episode of that seed."""
        _, info = self.native.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._observations(), self._infos(info)

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        """Step once with one action for each agent; see ``ParallelEnv.step``.

        Raises:
            ValueError: An agent has no action, or one that is no integer.
        """
        if not self.agents and not actions:
            return {}, {}, {}, {}, {}
        _, _, terminated, truncated, info = self.native.step(self._joint(actions))
        rewards = self.family.rewards(self.native.batch.states)[0]
        result: tuple[dict[str, Any], ...] = (
            self._observations(),
            {agent: float(r) for agent, r in zip(self.agents, rewards, strict=True)},
            dict.fromkeys(self.agents, terminated),
            dict.fromkeys(self.agents, truncated),
            self._infos(info),
        )
        if terminated or truncated:
            self.agents = []
        return result

    def _joint(self, actions: dict[str, int]) -> np.ndarray:
        """Return the actions of all agents, int64 (agents,)."""
        missing = [agent for agent in self.possible_agents if agent not in actions]
        if missing:
            raise ValueError(f"every agent acts in every step: no action of {', '.join(missing)}")
        given = [np.asarray(actions[agent]) for agent in self.possible_agents]
        for agent, action in zip(self.possible_agents, given, strict=True):
            if action.size != 1 or action.dtype.kind not in "iu":
                raise ValueError(f"{agent}: expected an integer action, got {actions[agent]!r}")
        return np.array([action.item() for action in given])

    def _observations(self) -> dict[str, Any]:
        shown, found = self.native.batch.observation, {}
        for i, agent in enumerate(self.possible_agents):
            row = {name: self._cut(name, i, shown[name][0]).copy() for name in self._names}
            found[agent] = next(iter(row.values())) if len(row) == 1 else row
        return found

    def _infos(self, info: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Give every agent what the world tells, but the rewards: `step` returns each its own.

        It is for people and analysis, and may hold what an agent is not meant to know.
        """
        told = {name: value for name, value in info.items() if name != "rewards"}
        return {agent: copy.deepcopy(told) for agent in self.possible_agents}

    def render(self) -> Any:
        """Return the picture (``"rgb_array"``), or draw it in the window (``"human"``)."""
        return self.native.render()

    def close(self) -> None:
        """Close the window, if there is one."""
        self.native.close()
