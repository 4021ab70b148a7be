"""What can be watched: stored rollouts, a run that is still being trained, a person who plays."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from daedalus.accelerators.checkpoint import CheckpointError, list_checkpoints
from daedalus.evaluation.policy import AgentPolicy, Arrays, Choice
from daedalus.evaluation.rollout import Moment
from daedalus.evaluation.rollout_file import StoredRollout
from daedalus.evaluation.runs import load_run


class Source(Protocol):
    """Where moments come from."""

    ended: bool

    @property
    def title(self) -> str:
        """Who plays where."""

    def begin(self, seed: int, episode: int = 0) -> Moment:
        """Start an episode and return its first moment."""

    def advance(self, action: Any = None) -> Moment:
        """Take a step, with another action than the policy's if one is given."""


class Replay:
    """A stored rollout as a source; its seeds are those it was played with."""

    def __init__(self, stored: StoredRollout) -> None:
        """Play ``stored``."""
        self.stored, self.title, self.ended = stored, stored.about.title, True
        self._at = 0
        self._begins: list[int] | None = None

    def begin(self, seed: int, episode: int = 0) -> Moment:
        """Return the first moment of an episode, counted round and round."""
        if self._begins is None:
            self._begins = [i for i, moment in enumerate(self.stored) if moment.step == 0] or [0]
        self._at = self._begins[episode % len(self._begins)]
        return self._look()

    def advance(self, action: Any = None) -> Moment:
        """Return the following moment; nobody can take over what has been played."""
        self._at = min(self._at + 1, len(self.stored) - 1)
        return self._look()

    def _look(self) -> Moment:
        moment = self.stored[self._at]
        self.ended = moment.action is None or self._at == len(self.stored) - 1
        return moment


class Followed:
    """The newest checkpoint of a run as a policy, also while the run is being trained.

    Training knows nothing of it: the checkpoints that it writes anyway are read.
    """

    def __init__(
        self, path: str | Path, *, deterministic: bool = False, every: float = 2.0
    ) -> None:
        """Load the newest checkpoint.

        Args:
            path: Run directory.
            deterministic: Take the most likely action instead of drawing.
            every: Seconds between two looks for a newer checkpoint.

        Raises:
            CheckpointError: There is none yet.
        """
        self.path, self._every = Path(path), every
        trained = load_run(path, device="cpu")
        self.step, self._looked = trained.step, time.monotonic()
        self._policy = AgentPolicy(trained.agent, deterministic=deterministic)

    @property
    def agent(self) -> Any:
        """The agent as it is now."""
        return self._policy.agent

    @property
    def name(self) -> str:
        """Of the agent, and how long it was trained."""
        return f"{self._policy.name} after {self.step:,} steps"

    def start(self, num_envs: int, seed: int) -> None:
        """Begin with the newest checkpoint."""
        self._refresh()
        self._policy.start(num_envs, seed)

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Act with the newest checkpoint; the memory of the episode goes on."""
        self._refresh()
        return self._policy.choose(observation, reward, start)

    def correct(self, action: np.ndarray) -> None:
        """Remember that another action was taken."""
        self._policy.correct(action)

    def inspect(self, label: Arrays) -> dict[str, Any]:
        """Show what the agent shows."""
        return self._policy.inspect(label)

    def _refresh(self) -> None:
        if time.monotonic() < self._looked + self._every:
            return
        self._looked = time.monotonic()
        newest = (list_checkpoints(self.path) or [self.step])[-1]
        if newest == self.step:
            return
        try:
            trained = load_run(self.path, step=newest, device="cpu")
        except (CheckpointError, OSError):
            return  # pruned or damaged meanwhile: the one there is goes on
        self.step, self._policy.agent = trained.step, trained.agent


class Keyboard:
    """A person: the first held key that means an action."""

    name = "you"

    def __init__(self, keys: Mapping[str, Any]) -> None:
        """Take the keys of the environment.

        Raises:
            ValueError: It has none.
        """
        if not keys:
            raise ValueError(
                "this environment names no keys to play with; watch a policy instead, "
                "for example with --policy random"
            )
        self.keys = keys
        self.held: set[str] = set()

    def action(self) -> Any:
        """Return the action of the held key, else the one of no key, else the first action."""
        pressed = (action for key, action in self.keys.items() if key in self.held)
        return next(pressed, self.keys.get("", 0))

    def start(self, num_envs: int, seed: int) -> None:
        """Nothing to forget."""

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Return the action of the keys."""
        return Choice(np.array([self.action()]), None)
