"""The latest steps of every environment, and sequences drawn from them.

One ring of ``capacity`` rows per environment, as UNREAL keeps one per worker. Everything lies on
the learner's device. Draws come from a generator that the caller passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from daedalus.accelerators.rollout import Inputs, Rollout, State

STATE = "state before/"
"""What the names of recurrent states among a rollout's extras begin with."""


class Sequences(NamedTuple):
    """``N`` stretches of ``T`` consecutive steps, to be used within an episode or step by step.

    Within an episode sequence n uses steps 0 .. length[n] - 1. It bootstraps from
    ``inputs[length[n]]`` unless it ``ends`` in a terminal state. A step that was truncated by a
    time limit, or whose episode breaks off, is left out: the sequence stops in front of it and
    bootstraps from the last observation held. Step by step all that are ``known`` count, those of
    following episodes, too, so that no part of an episode counts more than another.
    """

    inputs: Inputs  # (T+1, N, ...)
    action: Tensor  # (T, N, ...)
    reward: Tensor  # (T, N)
    length: Tensor  # (N,) int64, 0 .. T
    ends: Tensor  # (N,) bool
    terminated: Tensor  # (T, N) bool
    known: Tensor  # (T, N) bool, real steps whose following state is held, or terminal
    state: State  # (N, ...) recurrent state in front of step 0, as it was when acting
    extra: dict[str, Tensor]  # (T, N, ...) further fields that were added

    @property
    def mask(self) -> Tensor:
        """Bool (T, N): the steps that count within an episode."""
        steps = torch.arange(len(self.reward), device=self.reward.device)
        return steps.unsqueeze(1) < self.length


class SequenceReplay:
    """The ``capacity`` latest steps of each environment."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        """Make an empty replay; memory is taken when the first rollout arrives.

        Args:
            capacity: Steps of each environment.
            device: Where they lie.

        Raises:
            ValueError: Too small to hold anything useful.
        """
        if capacity < 8:
            raise ValueError(f"a replay needs at least 8 steps per environment, got {capacity}")
        self.capacity, self.device = capacity, device
        self.fields: dict[str, Tensor] = {}
        self.count = 0  # rows filled
        self.cursor = 0  # next row to write

    def add(self, rollout: Rollout, extra: Mapping[str, Tensor] | None = None) -> None:
        """Append the steps of ``rollout``, and ``extra`` fields (T, B, ...) of the same steps.

        Extras of the rollout whose names begin with `STATE` are kept, too: the agent's recurrent
        states in front of each step. A rollout of another number of environments empties the
        replay first.
        """
        steps, envs = rollout.reward.shape
        if self.fields and self.fields["reward"].shape[1] != envs:
            self.clear()
        new = {f"observation/{name}": v[:-1] for name, v in rollout.observation.items()}
        new["action"], new["reward"] = rollout.action, rollout.reward
        new["terminated"], new["truncated"] = rollout.terminated, rollout.truncated
        new["valid"], new["start"] = rollout.valid, rollout.episode_start[:-1]
        new["age"] = self._ages(rollout.episode_start[:-1])
        new.update({f"extra/{name}": value for name, value in (extra or {}).items()})
        states = (name for name in rollout.extras if name.startswith(STATE))
        new.update({name: torch.stack(rollout.extras[name]) for name in states})
        if not self.fields:
            self.fields = {
                name: self._allocate(value[:0]).contiguous() for name, value in new.items()
            }
        keep = min(steps, self.capacity)
        rows = (self.cursor + torch.arange(steps - keep, steps)) % self.capacity
        rows = rows.to(rollout.reward.device)
        for name, value in new.items():
            self.fields[name][rows] = value[steps - keep :].detach()
        self.cursor = (self.cursor + steps) % self.capacity
        self.count = min(self.count + steps, self.capacity)

    def clear(self) -> None:
        """Forget all steps, and of how many environments they were."""
        self.fields = {}
        self.count = self.cursor = 0

    def _ages(self, start: Tensor) -> Tensor:
        """Return steps since the start of the episode (T, B), going on from the last row."""
        ages = torch.empty(start.shape, dtype=torch.int64, device=start.device)
        age = self.fields["age"][self.cursor - 1] if self.count else torch.full_like(ages[0], -1)
        for t in range(len(start)):
            age = torch.where(start[t], 0, age + 1)
            ages[t] = age
        return ages

    def holds(self, steps: int, length: int) -> bool:
        """Whether it holds ``steps`` or is full, and enough for sequences of ``length``."""
        return self.count >= max(min(steps, self.capacity), length + 2)

    def _rows(self, position: Tensor) -> Tensor:
        """Return the rows of positions counted from the oldest step."""
        return (position + self.cursor - self.count) % self.capacity

    def _take(self, name: str, rows: Tensor, envs: Tensor) -> Tensor:
        field = self.fields[name]
        flat = field.view(self.capacity * field.shape[1], *field.shape[2:])
        index = rows * field.shape[1] + envs
        return flat.index_select(0, index.reshape(-1)).view(*index.shape, *field.shape[2:])

    def sequences(
        self, length: int, rng: np.random.Generator, extra: tuple[str, ...] = ()
    ) -> Sequences:
        """Draw one sequence per environment, its start uniform over the steps held.

        Args:
            length: Most steps per sequence, T.
            rng: Source of the draw.
            extra: Names of further fields to return.

        Raises:
            ValueError: Fewer than ``length + 2`` steps are held.
        """
        if self.count < length + 2:
            raise ValueError(f"{self.count} steps held, {length + 2} needed for a sequence")
        envs = self.fields["reward"].shape[1]
        starts = torch.from_numpy(rng.integers(1, self.count - length, size=envs))
        return self.at(starts, length, extra)

    def at(self, starts: Tensor, length: int, extra: tuple[str, ...] = ()) -> Sequences:
        """Return the sequences that begin at positions ``starts`` (B,) from the oldest step."""
        device = self.fields["reward"].device
        envs = torch.arange(len(starts), device=device).expand(length + 1, -1)
        position = starts.to(device) + torch.arange(length + 1, device=device).unsqueeze(1)
        rows, before = self._rows(position), self._rows(position - 1)
        start = self._take("start", rows, envs)
        inputs = Inputs(
            {
                name.removeprefix("observation/"): self._take(name, rows, envs)
                for name in self.fields
                if name.startswith("observation/")
            },
            self._take("action", before, envs),
            self._take("reward", before, envs) * ~start,
            start,
        )
        state = {
            name.removeprefix(STATE): self._take(name, rows[0], envs[0])
            for name in self.fields
            if name.startswith(STATE)
        }
        rows, envs = rows[:-1], envs[:-1]
        terminated = self._take("terminated", rows, envs)
        # an episode also breaks off where the next begins without its end, as after resuming
        cut = (self._take("truncated", rows, envs) | start[1:]) & ~terminated
        known = self._take("valid", rows, envs) & ~cut
        used, ends = _within_episode(terminated, ~known)
        return Sequences(
            inputs,
            self._take("action", rows, envs),
            self._take("reward", rows, envs),
            used,
            ends,
            terminated,
            known,
            state,
            {name: self._take(f"extra/{name}", rows, envs) for name in extra},
        )

    def rewarded(
        self, count: int, before: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor] | None:
        """Draw positions for reward prediction, half of them with a reward that is not zero.

        A position qualifies if it and the ``before`` steps before it are held, belong to one
        episode and are real steps.

        Args:
            count: Draws, N.
            before: Steps back to the first frame that will be shown.
            rng: Source of the draws.

        Returns:
            Positions from the oldest step (N,) and environments (N,), or None if no step
            qualifies; all of one kind as long as only that kind exists.
        """
        usable = (self.fields["age"] >= before) & self.fields["valid"]
        position = torch.arange(self.count, device=usable.device)
        usable = usable[self._rows(position)]
        usable[:before] = False
        paid = self.fields["reward"][self._rows(position)] != 0
        kinds = [(usable & paid).view(-1).nonzero(), (usable & ~paid).view(-1).nonzero()]
        sizes = [len(kind) for kind in kinds]
        if sum(sizes) == 0:
            return None
        heads = rng.random(count) < 0.5
        if 0 in sizes:
            heads[:] = sizes[0] > 0
        draw = np.where(heads, *(rng.integers(0, max(size, 1), count) for size in sizes))
        chosen = torch.from_numpy(np.where(heads, draw, draw + sizes[0])).to(usable.device)
        flat = torch.cat(kinds).squeeze(1)[chosen]
        envs = usable.shape[1]
        return flat // envs, flat % envs

    def frames(self, position: Tensor, env: Tensor, count: int, gap: int) -> dict[str, Tensor]:
        """Return ``count`` observations up to ``gap`` steps before each position, oldest first.

        Returns:
            (N, count, ...) for every observation; with ``gap`` 0 the last is the position's own.
        """
        offsets = torch.arange(1 - count, 1, device=position.device) - gap
        rows = self._rows(position.unsqueeze(1) + offsets)
        envs = env.unsqueeze(1).expand_as(rows)
        return {
            name.removeprefix("observation/"): self._take(name, rows, envs)
            for name in self.fields
            if name.startswith("observation/")
        }

    def reward_at(self, position: Tensor, env: Tensor) -> Tensor:
        """Return the rewards (N,) of acting at the positions."""
        return self._take("reward", self._rows(position), env)

    def get_state(self) -> dict[str, Any]:
        """Return the filled rows and the counters."""
        place = torch.tensor([self.count, self.cursor])
        rows = {f"field/{name}": value[: self.count] for name, value in self.fields.items()}
        return {"place": place, **rows}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `get_state` returned."""
        self.count, self.cursor = (int(n) for n in torch.as_tensor(state["place"]))
        self.fields = {
            name.removeprefix("field/"): self._allocate(torch.as_tensor(value).to(self.device))
            for name, value in state.items()
            if name.startswith("field/")
        }

    def _allocate(self, rows: Tensor) -> Tensor:
        """Return all rows of a field: ``rows``, then zeros."""
        field = rows.new_zeros((self.capacity, *rows.shape[1:]))
        field[: len(rows)] = rows
        return field


def _within_episode(terminated: Tensor, stops: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many steps count (N,), and whether they end in a terminal state.

    Args:
        terminated: bool (T, N).
        stops: bool (T, N), in front of these a sequence stops.
    """
    steps = len(terminated)
    index = torch.arange(steps, device=terminated.device).unsqueeze(1)
    last = torch.where(terminated, index, steps).amin(0)
    stop = torch.where(stops, index, steps).amin(0)
    ends = (last < steps) & (last < stop)
    return torch.minimum(last + 1, stop).clamp(max=steps), ends
