"""The latest steps of all environments in one ring, drawn one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class StepReplay:
    """The ``capacity`` latest steps, each with whatever fields were added.

    Everything lies on the learner's device. Draws come from a generator that the caller passes.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        """Make an empty replay; memory is taken when the first steps arrive.

        Args:
            capacity: Steps.
            device: Where they lie.

        Raises:
            ValueError: It could hold nothing.
        """
        if capacity < 1:
            raise ValueError(f"a replay needs room for at least 1 step, got {capacity}")
        self.capacity, self.device = capacity, device
        self.fields: dict[str, Tensor] = {}
        self.count = 0  # steps held
        self.cursor = 0  # next place to write

    def add(self, steps: Mapping[str, Tensor]) -> None:
        """Append steps: fields (N, ...) by name, always the same."""
        count = len(next(iter(steps.values())))
        if not self.fields:
            self.fields = {
                name: self._allocate(value[:0].to(self.device)) for name, value in steps.items()
            }
        keep = min(count, self.capacity)
        places = (self.cursor + torch.arange(count - keep, count)) % self.capacity
        places = places.to(self.device)
        for name, value in steps.items():
            self.fields[name][places] = value[count - keep :].detach()
        self.cursor = (self.cursor + count) % self.capacity
        self.count = min(self.count + count, self.capacity)

    def sample(self, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw ``count`` steps uniformly, with replacement: fields (count, ...) by name.

        Raises:
            ValueError: Nothing is held.
        """
        if not self.count:
            raise ValueError("the replay is empty")
        places = torch.from_numpy(rng.integers(0, self.count, count)).to(self.device)
        return {name: field.index_select(0, places) for name, field in self.fields.items()}

    def clear(self) -> None:
        """Forget all steps."""
        self.count = self.cursor = 0

    def get_state(self) -> dict[str, Any]:
        """Return the steps held and the counters."""
        held = {f"field/{name}": value[: self.count] for name, value in self.fields.items()}
        return {"place": torch.tensor([self.count, self.cursor]), **held}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `get_state` returned."""
        self.count, self.cursor = (int(n) for n in torch.as_tensor(state["place"]))
        self.fields = {
            name.removeprefix("field/"): self._allocate(torch.as_tensor(value).to(self.device))
            for name, value in state.items()
            if name.startswith("field/")
        }

    def _allocate(self, steps: Tensor) -> Tensor:
        """Return all places of a field: ``steps``, then zeros."""
        field = steps.new_zeros((self.capacity, *steps.shape[1:]))
        field[: len(steps)] = steps
        return field
