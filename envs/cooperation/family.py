"""What families of several agents have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from daedalus.envs.core import Family


class Cooperative(Family):
    """A family of several agents that act at once; see `Family.agents`.

    Attributes:
        agent_names: What people call the agents.
        widths: Array name -> entries that each agent has of it; the rest of its row is padding.
        takes_turns: What an agent may do changes from step to step; ``action_mask`` says it.
    """

    infos: ClassVar[tuple[str, ...]] = ("rewards",)
    takes_turns: ClassVar[bool] = False
    agent_names: tuple[str, ...]
    widths: dict[str, tuple[int, ...]]
    action_space: MultiDiscrete

    def describe(self, agents: Sequence[str], actions: Sequence[int]) -> None:
        """Set what follows from the agents: names, actions, mask and rewards.

        Args:
            agents: Their names.
            actions: Number of actions of each.
        """
        self.agents, self.agent_names = len(agents), tuple(agents)
        self.action_space = MultiDiscrete([int(n) for n in actions])
        shape = len(agents), max(actions)
        self.widths = {"action_mask": tuple(actions)}
        self.spaces = {
            "action_mask": Box(0, 1, shape, np.int8),
            "rewards": Box(-np.inf, np.inf, shape[:1], np.float32),
        }

    def rewards(self, states: np.ndarray) -> np.ndarray:
        """Return each agent's reward of the last step, a view (B, agents); a reset leaves it."""
        column: np.ndarray = states["rewards"]
        return column[:, : self.agents]

    def fields(self, **shapes: Any) -> np.dtype[Any]:
        """Return the dtype of a state: float64 (n,) where a number is given, int64 where None."""
        shapes["rewards"] = self.agents
        columns = [(n, "i8") if k is None else (n, "f8", (k,)) for n, k in shapes.items()]
        return np.dtype(columns)  # type: ignore[call-overload]
