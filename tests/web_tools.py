"""Playing web tasks in tests: one native page, driven by commands."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete

from daedalus.envs.batch import Batch
from daedalus.envs.web.actions import Command, encode
from daedalus.envs.web.family import Web
from daedalus.envs.web.model import Instance
from daedalus.envs.web.oracle import Oracle
from daedalus.envs.web.table import Row, read_request, read_table


class Played:
    """A batch of one page."""

    def __init__(self, task: str, seed: int = 0, **parameters: Any) -> None:
        """Open the page of a seed."""
        self.family = Web(task=task, **parameters)
        self.batch = Batch(self.family, 1, autoreset="disabled")
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Open the page of another seed."""
        self.batch.reset(seed)
        self.oracle = Oracle(self.instance, self.family.params.layout)

    @property
    def state(self) -> Any:
        return self.batch.states[0]

    @property
    def instance(self) -> Instance:
        return self.family.instances[int(self.state["instance"])]

    @property
    def first(self) -> int:
        """Position of the first element of the page that shows."""
        page = self.family.params.pool[self.state["instance"]]
        return int(page["begin"][self.state["page"]])

    @property
    def table(self) -> list[Row]:
        return read_table(self.family, self.state)

    @property
    def request(self) -> dict[str, str] | None:
        return read_request(self.family, self.state)

    @property
    def reward(self) -> float:
        return float(self.batch.reward[0])

    @property
    def over(self) -> bool:
        return bool(self.batch.ended[0])

    def do(self, command: Command) -> None:
        """Take a step."""
        self.batch.step(encode(self.family.params.layout, command)[None])

    def row(self, **wanted: str) -> Row:
        """Return the one row whose columns are as wanted."""
        rows = [r for r in self.table if all(getattr(r, k) == v for k, v in wanted.items())]
        assert len(rows) == 1, rows
        return rows[0]

    def act_for_oracle(self) -> Command:
        """Return what the demonstrator does next."""
        return self.oracle.act(self.table, self.first)

    def solve(self, most: int = 400) -> int:
        """Let the demonstrator play to the end; return its steps."""
        for step in range(1, most + 1):
            self.do(self.act_for_oracle())
            if self.over:
                return step
        raise AssertionError(f"no end after {most} steps: {self.instance.utterance}")


def random_action(played: Played, rng: np.random.Generator) -> np.ndarray:
    """Draw an action uniformly from the preset, int64 (k,)."""
    space = played.batch.action_space
    assert isinstance(space, MultiDiscrete)
    return np.asarray(rng.integers(space.nvec))
