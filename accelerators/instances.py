"""Environments in groups that play the same instance of a task, one episode each in a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from daedalus.accelerators.vector import EnvBatch
from daedalus.envs.batch import Batch

Arrays = dict[str, np.ndarray]


SHOWN = (
    *("observation", "final_observation", "next_observation"),
    *("label", "info", "final_info"),
)
OWN = "instances/"
"""Head of the names of its own arrays in `SharedInstances.get_state`."""


def natives_of(batch: Any) -> list[Batch]:
    """Return the native batches that ``batch`` is made of, row by row, or none."""
    if isinstance(batch, Batch):
        return [batch]
    within = getattr(batch, "parts", None) or [getattr(batch, "batch", None)]
    found = [natives_of(part) for part in within if part is not None]
    parts = [native for each in found for native in each]
    even = all(found) and sum(part.num_envs for part in parts) == batch.num_envs
    return parts if even else []


class SharedInstances:
    """A batch in groups of ``samples`` that begin every rollout in the same state.

    A rollout has ``horizon`` steps: each environment plays one episode, then waits (its steps are
    not ``valid`` and pay nothing); one that has not ended by the last step but one is cut. The last
    step begins the next instances. Its face is that of an `EnvBatch` whose ``autoreset`` is
    ``"next_step"``; the observation of an environment that waits means nothing.

    Native environments, also those of several tasks, go on in the streams, and in the curriculum,
    of the first environment of their group, whose state the others take over; others are reset with
    one seed for each group.

    The horizon follows the episodes: it doubles, up to ``longest``, when one was cut, and otherwise
    leaves some room above the longest.
    """

    def __init__(self, batch: EnvBatch, samples: int, longest: int) -> None:
        """Group the environments of ``batch``.

        Args:
            batch: At least ``samples`` environments.
            samples: Environments of a group, K.
            longest: Most steps of a rollout, the one that begins the next included.

        Raises:
            ValueError: The groups do not come out even, in one of several tasks maybe, or a rollout
                has no room for an episode.
        """
        natives = natives_of(batch)
        uneven = [part.num_envs for part in natives if part.num_envs % max(samples, 1)]
        if samples < 2 or batch.num_envs % samples:
            raise ValueError(
                f"groups of samples={samples} need at least 2 each and a multiple of {samples} "
                f"environments, got num_envs={batch.num_envs}"
            )
        if uneven:
            raise ValueError(
                f"groups of samples={samples} play one task each, and the environments of a task "
                f"are {uneven[0]}: take a number that is a multiple of {samples} for each task"
            )
        if longest < 2:
            raise ValueError(f"a rollout needs at least 2 steps for an episode, got {longest}")
        self.batch, self.samples, self.longest = batch, samples, longest
        self.num_envs = batch.num_envs
        self.observation_spaces, self.label_spaces = batch.observation_spaces, batch.label_spaces
        self.action_space, self.autoreset = batch.action_space, "next_step"
        self.copies = getattr(batch, "copies", self.num_envs)
        self.reward, self.cost = np.zeros((2, self.num_envs), np.float32)
        self.terminated, self.truncated, self.valid = np.zeros((3, self.num_envs), bool)
        self.exact_resume = getattr(batch, "exact_resume", True)
        self.horizon = longest
        self._playing = np.ones(self.num_envs, bool)
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        self._episodes: list[tuple[float, int]] = []
        self._natives = natives
        self._held: list[Arrays] = []  # of natives: states of groups' first environments at the end
        self._seed, self._rounds = 0, 0
        self._clock = 0

    def __getattr__(self, name: str) -> Any:
        """Return what the batch shows now: observations, labels, infos."""
        if name not in SHOWN:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.batch, name)

    @property
    def playing(self) -> np.ndarray:
        """Environments (B,), bool, that the next step plays in; none if it begins the instances."""
        return self._playing & (self._clock + 1 < self.horizon)

    def reset(
        self, seed: int | Sequence[int | None] | None = None, mask: np.ndarray | None = None
    ) -> None:
        """Begin new instances everywhere, one seed for each group; ``mask`` must be None."""
        if mask is not None:
            raise ValueError("environments that share instances are reset all together")
        first = seed if seed is None or isinstance(seed, int) else seed[0]
        self._seed = int(np.random.SeedSequence(first).generate_state(1)[0])
        self._rounds = 0
        self.batch.reset(self._seeds())
        self._begin()

    def _seeds(self) -> list[int]:
        """Draw a seed for each group, (B,)."""
        key = np.random.SeedSequence((self._seed, self._rounds))
        self._rounds += 1
        drawn = key.generate_state(self.num_envs // self.samples)
        return [int(seed) for seed in drawn.repeat(self.samples)]

    def _begin(self) -> None:
        self._playing[:] = True
        self._returns[:], self._lengths[:] = 0.0, 0
        self._held, self._clock = [{} for _ in self._natives], 0

    def step(self, actions: Any) -> None:
        """Step those that play; in the last step of a rollout begin the next instances."""
        self._clock += 1
        np.copyto(self.valid, self._playing)
        if self._clock >= self.horizon:
            self._next_instances()
            return
        self.batch.step(actions)
        for mine, theirs in self._pairs():
            np.multiply(theirs, self._playing, out=mine)
        self._returns += self.reward
        self._lengths += self._playing
        ended = self.terminated | self.truncated
        if ended.any():
            self._hold(ended)
            self._playing &= ~ended

    def _pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        names = ("reward", "cost", "terminated", "truncated")
        return [(getattr(self, name), getattr(self.batch, name)) for name in names]

    def _hold(self, ended: np.ndarray) -> None:
        """Keep the state of the groups' first environments that have ended."""
        ends = np.cumsum([part.num_envs for part in self._natives])
        for part, held, end in zip(self._natives, self._held, ends, strict=True):
            groups = np.flatnonzero(ended[end - part.num_envs : end : self.samples])
            if len(groups) == 0:
                continue
            for name, array in part.get_state().items():
                first = array[:: self.samples]
                held.setdefault(name, first)[groups] = first[groups]

    def _next_instances(self) -> None:
        self.valid[:] = False
        for mine, _ in self._pairs():
            mine[:] = 0
        order = np.arange(self.num_envs).reshape(-1, self.samples).T.ravel()
        pairs = zip(self._returns[order], self._lengths[order], strict=True)
        self._episodes += [(float(total), int(length)) for total, length in pairs]
        self._adapt(bool(self._playing.any()))
        self._go_on()

    def _go_on(self) -> None:
        """Begin the next instances where the groups' first environments stand."""
        self._hold(self._playing)
        for part, held in zip(self._natives, self._held, strict=True):
            part.set_state({k: v.repeat(self.samples, 0) for k, v in held.items()})
        self.batch.reset(None if self._natives else self._seeds())
        self.batch.pop_episodes()  # also those of waiting environments
        self._begin()

    def give_up(self) -> bool:
        """Begin the next instances if a rollout was left before its end; its episodes do not count.

        Returns:
            Whether one was left.
        """
        left = self._clock > 0
        if left:
            self._go_on()
        return left

    def _adapt(self, cut: bool) -> None:
        used = int(self._lengths.max()) + 1
        wanted = 2 * self.horizon if cut else used + max(2, used // 4)
        self.horizon = min(wanted, self.longest)

    def pop_episodes(self) -> list[tuple[float, int]]:
        """Return (return, length) of the episodes of the rollouts that ended since the last call.

        The first environments of all groups come first, then the second ones: the latest episodes,
        of which agents log the mean, are of all groups and of all lengths.
        """
        found, self._episodes = self._episodes, []
        return found

    def get_state(self) -> Arrays:
        """Return what the future depends on; within a rollout, that it is to be given up."""
        own = {"horizon": self.horizon, "seed": self._seed, "rounds": self._rounds}
        own["clock"] = self._clock
        return {**self.batch.get_state(), **{f"{OWN}{k}": np.array(v) for k, v in own.items()}}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``get_state`` returned."""
        if f"{OWN}seed" not in state:
            raise ValueError(
                "these groups of environments were saved by an earlier version, whose seeds were "
                "others: begin a new run"
            )
        self.batch.set_state({k: v for k, v in state.items() if not k.startswith(OWN)})
        numbers = (int(state[f"{OWN}{name}"]) for name in ("horizon", "seed", "rounds"))
        self.horizon, self._seed, self._rounds = numbers
        if not self._natives and not self.exact_resume:  # begin the same instances again
            self._rounds -= 1
            self.batch.reset(self._seeds())
        self._begin()
        self._clock = int(state.get(f"{OWN}clock", 0))  # none in checkpoints of earlier versions

    def render(self, i: int = 0) -> np.ndarray:
        """Return a picture of environment ``i``."""
        return self.batch.render(i)

    def close(self) -> None:
        """Release what the environments hold."""
        self.batch.close()
