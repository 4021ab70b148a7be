"""Agents for tests of the benchmark runner: one that learns in no time, one that fails, one killed.

They act at random and log a constant, so a run takes as long as its imports.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from daedalus.agents.base import Acted, Agent


@dataclass(frozen=True)
class Config:
    """Settings."""

    n_steps: int = 8
    """Steps per rollout and environment."""
    speed: float = 1.0
    """A number that is logged."""
    wait: float = 0.0
    """Seconds that each update takes."""
    once: str = ""
    """File whose absence means that this is the first attempt."""


class Random(Agent):
    """Acts at random."""

    name = "random_agent"
    Config: ClassVar = Config

    def build(self) -> None:
        """Make a weight, for there to be something to save."""
        self.network = torch.nn.Linear(1, 1)
        self.modules = {"network": self.network}

    def act(self, inputs: Any, state: Any, deterministic: bool = False) -> Acted:
        """Choose any action."""
        size, count = self.spaces.action.n, len(next(iter(inputs.observation.values())))  # type: ignore[attr-defined]
        action = torch.randint(0, size, (count,), generator=self.generators["act"])
        return Acted(action, state, {})

    def update(self, rollout: Any) -> dict[str, Any]:
        """Learn nothing."""
        time.sleep(self.config.wait)
        return {"speed": self.config.speed}


class Raises(Random):
    """Fails at its second update."""

    def update(self, rollout: Any) -> dict[str, Any]:
        """Fail."""
        if self.num_updates == 1:
            raise ArithmeticError("the sum is wrong")
        return super().update(rollout)


class Dies(Random):
    """Is killed at its tenth update, the first time."""

    def update(self, rollout: Any) -> dict[str, Any]:
        """Be killed."""
        file = Path(self.config.once)
        if self.num_updates == 10 and not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().update(rollout)
