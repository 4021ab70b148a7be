"""A network of its own for every agent of a world, however their rows are mixed in a batch.

The observation ``agent`` of `daedalus.accelerators.agent_rows` says whose row it is; a world with
one agent has none. ``action_mask``, where there is one, leaves only the actions that an agent has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from gymnasium import Space
from gymnasium.spaces import Box
from torch import Tensor, nn

from daedalus.accelerators.agent_rows import INDICATOR
from daedalus.agents.networks import Encoder

MASK = "action_mask"
FORBIDDEN = -1e9
"""Logit of an action that an agent does not have: its probability is exactly 0."""

Observation = Mapping[str, Tensor]


def agents_in(spaces: Mapping[str, Space[Any]]) -> int:
    """Return the number of agents that share a batch with these observations."""
    space = spaces.get(INDICATOR)
    return int(space.shape[0]) if isinstance(space, Box) and space.shape else 1


def seen_by(spaces: Mapping[str, Space[Any]]) -> dict[str, Space[Any]]:
    """Return the observations that a network reads: without indicator and mask."""
    return {name: s for name, s in spaces.items() if name not in (INDICATOR, MASK)}


def allowed(output: Tensor, observation: Observation) -> Tensor:
    """Return logits (N, A) with those of missing actions at `FORBIDDEN`."""
    mask = observation.get(MASK)
    return output if mask is None else output.masked_fill(mask == 0, FORBIDDEN)


def choices(observation: Observation, like: Tensor) -> Tensor:
    """Return bool, shaped as ``like``: there was more than one action to choose from."""
    mask = observation.get(MASK)
    many = torch.ones_like(like, dtype=torch.bool)
    return many if mask is None else (mask.sum(-1) > 1).view(like.shape)


class MLP(nn.Module):
    """Two ReLU layers over everything observed, then a linear one."""

    def __init__(self, spaces: Mapping[str, Space[Any]], hidden: int, outputs: int) -> None:
        """Build for ``spaces``, without indicator and mask."""
        super().__init__()
        self.encoder = Encoder(seen_by(spaces), hidden)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, observation: Observation) -> Tensor:
        """Return (N, outputs)."""
        result: Tensor = self.head(self.encoder(self.encoder.encode(observation)))
        return result


class Roles(nn.Module):
    """One network for each agent; each sees, and learns from, its own rows only."""

    def __init__(self, agents: int, make: Callable[[int], nn.Module]) -> None:
        """Make the networks: ``make(i)`` is that of agent i."""
        super().__init__()
        self.networks = nn.ModuleList(make(i) for i in range(agents))

    def forward(self, observation: Observation) -> Tensor:
        """Return (N, ...), each row by the network of the agent it belongs to."""
        if len(self.networks) == 1:
            result: Tensor = self.networks[0](observation)
            return result
        who = observation[INDICATOR].argmax(-1)
        rows = [(who == i).nonzero().squeeze(1) for i in range(len(self.networks))]
        parts = [
            network({name: value[mine] for name, value in observation.items()})
            for network, mine in zip(self.networks, rows, strict=True)
        ]
        return torch.cat(parts)[torch.cat(rows).argsort()]
