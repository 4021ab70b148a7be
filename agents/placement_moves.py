"""Moves from an annealed placement: how the placer looks around what it has found.

A move keeps the devices of the incumbent but for a run of neighbouring groups. The first of them
gets another device, the others are drawn like it, all by the policy, which has seen the groups
before. So a move is a decision or a few of many, and what it does to the run time is not drowned by
what hundreds of others do at the same time. The incumbent is annealed (Kirkpatrick et al. 1983):
the quickest placement of a batch takes its place if it is as quick, or with probability
exp(-(t' - t) / temperature) if it is slower.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from daedalus.agents.placement_search import NOTHING, Found

BARRED = 500.0
"""What the logit of a device that a move leaves loses: less than that of a full one."""

COOLED = 1e-2
"""Temperature at the end of training, as a share of that at the start."""

RUNS = 0.5
"""Share of the moves that change a run of groups, log-uniform in length; the others change one."""


class Moves(NamedTuple):
    """What a policy may draw, int64 (N, G) each."""

    keep: Tensor  # device of a group, or -1 where the policy draws
    bar: Tensor  # device that a group does not get, or -1


def no_moves(count: int, groups: int, device: torch.device) -> Moves:
    """Return ``count`` rows in which the policy draws everything."""
    free = torch.full((count, groups), -1, device=device)
    return Moves(free, free)


def moves_from(placement: Tensor, real: int, count: int, generator: torch.Generator) -> Moves:
    """Draw ``count`` moves from a placement (G,).

    Args:
        placement: The incumbent's devices.
        real: Groups that the graph has, at most G.
        count: N.
        generator: Of the random numbers.
    """
    device = generator.device
    first = torch.randint(real, (count, 1), generator=generator, device=device)
    length, kind = torch.rand((2, count, 1), generator=generator, device=device)
    length = torch.where(kind < RUNS, (length * math.log(real)).exp().long(), 1)
    place = torch.arange(len(placement), device=device)
    drawn = (place >= first) & (place < first + length)
    return Moves(torch.where(drawn, -1, placement), torch.where(place == first, placement, -1))


def barred(logits: Tensor, bar: Tensor) -> Tensor:
    """Return logits (N, L, D), those of the devices ``bar`` (N, L) lower; -1 bars none."""
    there = (bar >= 0).unsqueeze(-1)
    return logits - BARRED * (F.one_hot(bar.clamp(min=0), logits.shape[-1]) * there)


def together(placement: Tensor, reward: Tensor, action: Tensor, least: Tensor) -> Tensor | None:
    """Return ``placement`` with all moves that were better by themselves, or None without two.

    The best comes first; one that touches groups of a better one is left out.

    Args:
        placement: (G,), what was moved from.
        reward: (N,), of the moves.
        action: (N, G), the placements that they made.
        least: Reward of ``placement``.
    """
    made, taken = placement.clone(), torch.zeros_like(placement, dtype=torch.bool)
    number = 0
    for i in reward.argsort(descending=True).tolist():
        changed = action[i] != placement
        if reward[i] <= least:
            break
        if not bool((changed & taken).any()):
            made, taken, number = torch.where(changed, action[i], made), taken | changed, number + 1
    return made if number > 1 else None


class Incumbent(Found):
    """The placement that moves start from, of the first graph that all rows of a batch showed."""

    joint: Tensor

    def __init__(self, groups: int, columns: int) -> None:
        """Know nothing yet of a graph of ``groups`` with ``columns`` each."""
        super().__init__(groups, columns)
        self.register_buffer("joint", torch.full((groups,), -1))  # to be tried next, or -1

    def serves(self, nodes: Tensor) -> bool:
        """Return whether there is one, and all of ``nodes`` (N, G, columns) are its graph's."""
        return bool(self.reward > NOTHING) and bool((nodes == self.nodes).all())

    def moves(self, count: int, real: int, generator: torch.Generator) -> Moves:
        """Return what ``count`` moves may draw; see `moves_from`.

        The first is all at once what improved the last incumbent move by move, if several did.
        """
        found = moves_from(self.placement, real, count, generator)
        if self.joint[0] >= 0:
            found.keep[0], found.bar[0] = self.joint, -1
        return found

    def consider(
        self,
        nodes: Tensor,
        reward: Tensor,
        action: Tensor,
        moved: Tensor,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        """Let the best of a batch take the incumbent's place, or not.

        Args:
            nodes: (N, G, columns), what was placed; graphs that differ change nothing.
            reward: (N,), -sqrt(run time).
            action: (N, G).
            moved: bool (N,), which are moves from the incumbent.
            temperature: In units of the run time; 0 takes nothing slower.
            generator: Of the random number.
        """
        if not len(nodes) or not bool(self.own(nodes).all()):
            return
        joint = together(self.placement, reward[moved], action[moved], self.reward)
        self.joint.fill_(-1) if joint is None else self.joint.copy_(joint)
        best = int(reward.argmax())
        slower = float(reward[best].square() - self.reward.square())
        luck = torch.rand((), generator=generator, device=generator.device)
        if slower <= 0 or (temperature > 0 and luck < math.exp(-slower / temperature)):
            self.reward.copy_(reward[best])
            self.placement.copy_(action[best])
