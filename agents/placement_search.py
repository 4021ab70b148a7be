"""What the agents that place computations share: their observation, and REINFORCE on costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import Tensor, nn

from daedalus.agents.base import Spaces

NOTHING = torch.finfo(torch.float32).min
"""Reward of a placement that there is not yet."""


def check_placement(spaces: Spaces, agent: str, action: type[Space[Any]]) -> tuple[int, int, int]:
    """Return groups, columns and devices of a placement world.

    Args:
        spaces: Of the world.
        agent: Who asks, for the message.
        action: ``MultiDiscrete`` for whole placements, ``Discrete`` for one group at a time.

    Raises:
        TypeError: The world is none that the agent can place in; names one that it can.
    """
    nodes, edges = (spaces.observation.get(name) for name in ("nodes", "edges"))
    fits = all(isinstance(box, Box) and len(box.shape) == 2 for box in (nodes, edges))
    if not fits or not isinstance(spaces.action, action):
        other = "DevicePlacement" if action is MultiDiscrete else "PlacementImprovement"
        raise TypeError(
            f"{agent} places graphs: it needs the arrays 'nodes' and 'edges' and "
            f"{action.__name__} actions, as daedalus/{other}-v0 has them; for other worlds take ppo"
        )
    assert nodes is not None
    assert nodes.shape is not None
    if isinstance(spaces.action, MultiDiscrete):
        devices = int(spaces.action.nvec[0])
        if not np.array_equal(spaces.action.nvec, np.full(nodes.shape[0], devices)):
            raise TypeError(f"{agent} needs one device of {devices} for each of {nodes.shape[0]}")
    else:
        assert isinstance(spaces.action, Discrete)
        devices = int(spaces.action.n)
    return nodes.shape[0], nodes.shape[1], devices


def adjacency(edges: Tensor, groups: int) -> Tensor:
    """Return float32 (N, G, G): 1 where tensors pass from row to column.

    Args:
        edges: (N, P, 2), pairs of groups; -1 where there are no more.
        groups: G.
    """
    there = (edges[..., 0] >= 0).float()
    flat = edges[..., 0].clamp(min=0) * groups + edges[..., 1].clamp(min=0)
    found = torch.zeros(len(edges), groups * groups, device=edges.device)
    found.scatter_add_(1, flat.long(), there)
    return found.view(-1, groups, groups).clamp(max=1.0)


def one_or_all(*arrays: Tensor) -> list[Tensor]:
    """Return the first row (1, ...) of arrays (N, ...) whose rows are all the same, or the arrays.

    Copies of one graph are encoded once.
    """
    if all(bool((array == array[:1]).all()) for array in arrays):
        return [array[:1] for array in arrays]
    return list(arrays)


class Found(nn.Module):
    """A placement and its reward; a module, so that it is saved with the networks.

    It is one of the first graph that was shown: rewards of different graphs do not compare.
    """

    nodes: Tensor
    reward: Tensor
    placement: Tensor

    def __init__(self, groups: int, columns: int) -> None:
        """Know nothing yet of a graph of ``groups`` with ``columns`` each."""
        super().__init__()
        self.register_buffer("nodes", torch.zeros(groups, columns))
        self.register_buffer("reward", torch.tensor(NOTHING))
        self.register_buffer("placement", torch.zeros(groups, dtype=torch.int64))

    def forget(self) -> None:
        """Know nothing again: what comes next is another graph, or the same on other devices."""
        self.reward.fill_(NOTHING)

    def own(self, nodes: Tensor) -> Tensor:
        """Return which of ``nodes`` (N, G, columns) are its graph's, bool (N,).

        Before there is a placement that graph is the one of the first row.
        """
        if self.reward == NOTHING and len(nodes):
            self.nodes.copy_(nodes[0])
        return (nodes == self.nodes).flatten(1).all(1)


class Best(Found):
    """The best placement that was tried of one graph; ``nodes`` says of which."""

    def note(self, nodes: Tensor, reward: Tensor, action: Tensor) -> None:
        """Look at rewards (N,) of placements (N, G) of ``nodes`` (N, G, columns)."""
        own = self.own(nodes)
        if not own.any():
            return
        best = int(torch.where(own, reward, NOTHING).argmax())
        if reward[best] > self.reward:
            self.reward.copy_(reward[best])
            self.placement.copy_(action[best])


class Baseline(nn.Module):
    """A moving average of costs, B; before the first update it is the mean of what it is given."""

    value: Tensor
    started: Tensor

    def __init__(self, decay: float) -> None:
        """Keep ``decay`` of the old value at each update."""
        super().__init__()
        self.decay = decay
        self.register_buffer("value", torch.zeros(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def of(self, cost: Tensor, counts: Tensor) -> float:
        """Return B for costs (K,) of which ``counts`` (K,) say which count."""
        if not self.started and counts.any():
            return float(cost[counts].mean())
        return float(self.value)

    def update(self, cost: Tensor, counts: Tensor) -> None:
        """Move towards the mean of the costs that count."""
        if counts.any():
            mean = float(cost[counts].mean())
            self.value.fill_(self.decay * self.of(cost, counts) + (1 - self.decay) * mean)
            self.started.fill_(True)


def samples_that_count(valid: Tensor, failed: Tensor, drop: bool) -> Tensor:
    """Return bool (K,): valid, and not failed once failing samples are dropped."""
    return valid & ~failed if drop else valid


def advantages(
    cost: Tensor, baseline: float, counts: Tensor, failed: Tensor, clip: float
) -> Tensor:
    """Return what each sample is better than the baseline, B - R, 0 where it does not count.

    Args:
        cost: (K,), R.
        baseline: B.
        counts: bool (K,).
        failed: bool (K,).
        clip: Divide by the standard deviation of the samples that did not fail, cut off beyond this
            many of them, so that a failing signal far away does not drown the others, and take the
            mean off: where most samples fail, those that do not then stand out, instead of all
            being pushed away. With the mean B goes, too: it matters only by what it cuts off.
            0 for B - R as it is.
    """
    gain = (baseline - cost) * counts
    if clip <= 0:
        return gain
    kept = gain[counts & ~failed]
    spread = kept.std(correction=0) if len(kept) > 1 else gain.abs().max()
    gain = (gain / (spread + 1e-8)).clamp(-clip, clip)
    return (gain - gain.sum() / counts.sum().clamp(min=1)) * counts


def reinforce_loss(log_prob: Tensor, advantage: Tensor, counts: Tensor) -> Tensor:
    """Return -mean(advantage log pi) over the samples that count, 0-d; (K,) each."""
    return -(advantage.detach() * log_prob * counts).sum() / counts.sum().clamp(min=1)
