"""Steps to learn from off-policy, each by itself: what was seen, done and paid, and what followed.

A step whose episode was cut by a time limit keeps its true successor, so nothing has to be left out
of a one-step target. Everything lies on the learner's device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from daedalus.accelerators.rollout import Rollout


class Transitions(NamedTuple):
    """N steps; D is the length of an observation's row."""

    observation: Tensor  # (N, D)
    action: Tensor  # (N, ...)
    reward: Tensor  # (N,)
    terminated: Tensor  # (N,) bool: the successor is a terminal state
    following: Tensor  # (N, D), the true successor


def transitions(rollout: Rollout, flatten: Callable[[Mapping[str, Tensor]], Tensor]) -> Transitions:
    """Return the valid steps of a rollout, in the order of time.

    Args:
        rollout: (T, B).
        flatten: Maps observations (N, ...) to rows (N, D).
    """
    steps, envs = rollout.reward.shape
    merged = {name: x.flatten(0, 1) for name, x in rollout.observation.items()}
    rows = flatten(merged).view(steps + 1, envs, -1)
    following = rows[1:].clone()
    if len(rollout.final_index):
        t, b = rollout.final_index.unbind(1)
        following[t, b] = flatten(rollout.final_observation)
    valid = rollout.valid
    return Transitions(
        rows[:-1][valid],
        rollout.action[valid],
        rollout.reward[valid],
        rollout.terminated[valid],
        following[valid],
    )


class TransitionReplay:
    """The ``capacity`` latest steps."""

    def __init__(self, capacity: int, device: torch.device | str = "cpu") -> None:
        """Make an empty replay; memory is taken as it fills.

        Args:
            capacity: Steps.
            device: Where they lie.

        Raises:
            ValueError: There would be no room for a step.
        """
        if capacity < 1:
            raise ValueError(f"a replay needs a capacity of at least 1 step, got {capacity}")
        self.capacity, self.device = capacity, torch.device(device)
        self.fields: Transitions | None = None
        self.count = 0  # steps held
        self.cursor = 0  # where the next one goes

    def add(self, steps: Transitions) -> None:
        """Append steps; of more than ``capacity`` only the last."""
        number = len(steps.reward)
        keep = min(number, self.capacity)
        if self.fields is None:
            self.fields = Transitions(*(self._allocate(x[:0]) for x in steps))
        rows = (self.cursor + torch.arange(number - keep, number)) % self.capacity
        rows = rows.to(self.device)
        for field, new in zip(self.fields, steps, strict=True):
            field[rows] = new[number - keep :].detach()
        self.cursor = (self.cursor + number) % self.capacity
        self.count = min(self.count + number, self.capacity)

    def clear(self) -> None:
        """Forget all steps."""
        self.count = self.cursor = 0

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Transitions:
        """Draw steps with replacement, all equally likely.

        Args:
            shape: Of the draw; every field is (*shape, ...).
            rng: Source of the draw.

        Raises:
            ValueError: Nothing is held.
        """
        if self.fields is None or not self.count:
            raise ValueError("an empty replay has nothing to draw from")
        rows = torch.from_numpy(rng.integers(self.count, size=shape)).to(self.device)
        flat = rows.view(-1)
        return Transitions(
            *(x.index_select(0, flat).view(*shape, *x.shape[1:]) for x in self.fields)
        )

    def get_state(self) -> dict[str, Any]:
        """Return the steps held and the counters."""
        place = torch.tensor([self.count, self.cursor])
        fields = {} if self.fields is None else self.fields._asdict()
        return {"place": place, **{name: x[: self.count] for name, x in fields.items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `get_state` returned."""
        self.count, self.cursor = (int(n) for n in torch.as_tensor(state["place"]))
        if not self.count:
            self.fields = None
            return
        found = (torch.as_tensor(state[name]).to(self.device) for name in Transitions._fields)
        self.fields = Transitions(*(self._allocate(x) for x in found))

    def _allocate(self, rows: Tensor) -> Tensor:
        """Return all rows of a field: ``rows``, then zeros (pages are taken when written)."""
        field = rows.new_zeros((self.capacity, *rows.shape[1:]))
        field[: len(rows)] = rows
        return field
