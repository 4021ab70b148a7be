"""Hierarchical placer: a grouper and a placer (Mirhoseini et al. 2018).

"A hierarchical model for device placement", for graphs with too many operations for a sequence
of decisions. The grouper assigns each operation to one of G groups, independently given what is
known of it; the placer, that of `daedalus.agents.placer`, emits a device for each group. Both learn
from the same R = sqrt(run time):

    grad J = 1/(m k) sum_{i<=m} sum_{j<=k} (R_ij - B) (grad log p(g_i) + grad log p(d_ij | g_i))

with m groupings and k placements of each. Groupings are hard, so nothing flows from the placer
through the embedding of a group into the grouper. That embedding holds the sums of what is known of
its operations and the adjacency of the groups, rows scaled by their maximum + 1. An operation's
embedding holds what is known of it and the indices of some neighbours, -1 where it has fewer; the
grouper has a linear layer and a second one with nothing in between, as the public code. Where this
differs from it:

- operations are the groups of the environment (co-location classes), without types;
- places of neighbours count from 0 to 16 whatever the number of operations, where the code has them
  as they are: the indices of a long graph would drown everything else;
- the logits fall with the squared distance between an operation's place in the graph and the
  group's, times a learned number, ``near`` at the start: groups begin as runs of neighbours. A
  grouper that begins undecided mixes all operations into all groups, and no placement of such
  groups is good;
- groups that no operation is in count neither in log p(d | g) nor in the entropy;
- entropy bonus, advantages, learning rate, attention and pieces as in `daedalus.agents.placer`, so
  that B matters only through the samples that are cut off; no noise on the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor, nn

from daedalus.agents.base import Acted, Agent, Inputs, Metrics, Rollout, State
from daedalus.agents.optimizers import Adam, descend
from daedalus.agents.placement_search import (
    Baseline,
    Best,
    adjacency,
    advantages,
    check_placement,
    reinforce_loss,
    samples_that_count,
)
from daedalus.agents.placer import MEMORY, Drawing, check_drawing
from daedalus.agents.placer import Network as PlacerNetwork
from daedalus.agents.policies import Categorical

NEIGHBOURS = 10
"""Neighbours of an operation that its embedding names: their places, and which way tensors go."""

SPAN = 16.0
"""What the place of the last operation counts."""


@dataclass(frozen=True)
class Config(Drawing):
    """Settings of `HierarchicalPlacer`: those of the placer's policy, and of the grouper."""

    groups: int = 0
    """Groups; 0 for 20 for each device, at most 256, as the public code."""
    grouper_hidden: int = 64
    """Units of the grouper."""
    near: float = 2.0
    """Weight of an operation's squared distance to a group, in groups; 0 for groups at random."""
    placements: int = 4
    """k: placements of each grouping, at most one for each environment; more environments must be a
    multiple of it. Where k in a row do not show one graph, each has a grouping of its own."""


# -------------------------------------------------------------------------------------- embeddings


def operation_embedding(nodes: Tensor, edges: Tensor) -> Tensor:
    """Return what the grouper sees of each operation: float32 (N, O, columns + 2 * NEIGHBOURS).

    Args:
        nodes: (N, O, columns).
        edges: (N, P, 2).
    """
    count = nodes.shape[1]
    links = adjacency(edges, count)
    either = links - links.transpose(1, 2)  # +1 to consumers, -1 from producers
    strength, places = either.abs().topk(min(NEIGHBOURS, count), -1)
    where = torch.where(strength > 0, SPAN * places / count, -torch.ones_like(strength))
    way = either.gather(-1, places)
    missing = NEIGHBOURS - places.shape[-1]
    return torch.cat([nodes, F.pad(where, (0, missing), value=-1.0), F.pad(way, (0, missing))], -1)


def group_embedding(nodes: Tensor, links: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over each group's operations, and the groups' adjacency.

    Args:
        nodes: (N, O, columns).
        links: (N, O, O), adjacency of operations.
        member: (N, O, G), one-hot group of each operation.

    Returns:
        (N, G, columns) and (N, G, G); rows scaled by their maximum + 1.
    """
    sums = member.transpose(1, 2) @ nodes
    between = member.transpose(1, 2) @ links @ member
    between = between * (1.0 - torch.eye(between.shape[-1], device=nodes.device))
    return tuple(x / (x.amax(-1, keepdim=True) + 1.0) for x in (sums, between))  # type: ignore[return-value]


def distance(nodes: Tensor, groups: int) -> Tensor:
    """Return how many groups lie between each operation's place and each group's: (N, O, G).

    The places of a graph's operations and those of the groups span the same line.
    """
    there = nodes[:, :, :1].sum(1, keepdim=True)  # operations that the graph has
    operation = torch.arange(nodes.shape[1], device=nodes.device).view(1, -1, 1) + 0.5
    return operation / there * groups - (torch.arange(groups, device=nodes.device) + 0.5)


class Network(nn.Module):
    """Grouper and placer."""

    def __init__(self, columns: int, groups: int, devices: int, config: Config) -> None:
        """Build for operations with ``columns`` each."""
        super().__init__()
        width = columns + 2 * NEIGHBOURS
        self.groups = groups
        self.grouper = nn.Sequential(
            nn.Linear(width, config.grouper_hidden), nn.Linear(config.grouper_hidden, groups)
        )
        self.near = nn.Parameter(torch.tensor(config.near))
        self.placer = PlacerNetwork(groups, columns, devices, config)

    def group_logits(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Return the grouper's logits (N, O, G)."""
        logits: Tensor = self.grouper(operation_embedding(nodes, edges))
        return logits - self.near * distance(nodes, self.groups).square()

    def encode(self, nodes: Tensor, edges: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Return the groups of operations in their context, (N, G, hidden), and their memory.

        Args:
            nodes: (N, O, columns).
            edges: (N, P, 2).
            group: (N, O), of each operation.
        """
        member = F.one_hot(group, self.groups).float() * nodes[:, :, :1]
        links = adjacency(edges, nodes.shape[1])
        memory = (nodes[:, :, MEMORY : MEMORY + 1] * member).sum(1)
        return self.placer.encode(*group_embedding(nodes, links, member)), memory


# --------------------------------------------------------------------------------------- the agent


class HierarchicalPlacer(Agent):
    """Grouper and sequence-to-sequence placer, trained together by REINFORCE."""

    name = "hierarchical_placer"
    Config: ClassVar[type[Any]] = Config
    default_num_envs: ClassVar[int] = 64

    def wrapped(self, batch: Any) -> Any:
        """Return environments as they are, if each grouping has its k.

        Raises:
            ValueError: Some would not.
        """
        each, count = self.config.placements, batch.num_envs
        if count > each > 0 and count % each:
            raise ValueError(
                f"placements={each} of each grouping need a multiple of {each} environments, got "
                f"num_envs={count}: take {count - count % each}, or placements that divide {count}"
            )
        return batch

    def build(self) -> None:
        """Make network, optimiser, and the memory of the best placement.

        Raises:
            TypeError: The environment is no placement world; names one.
            ValueError: A setting is out of its range.
        """
        config = self.config
        operations, columns, devices = check_placement(self.spaces, self.name, MultiDiscrete)
        check_drawing(self.name, config)
        groups = config.groups or min(256, 20 * devices, operations)
        self.network = Network(columns, groups, devices, config).to(self.device)
        self.best = Best(operations, columns).to(self.device)
        self.baseline = Baseline(config.baseline_decay).to(self.device)
        self.grouping, self.draws = Categorical(Discrete(groups)), Categorical(Discrete(devices))
        self.optimizer = Adam(self.network.parameters(), config.learning_rate)
        self.modules = {"network": self.network, "best": self.best, "baseline": self.baseline}
        self.optimizers = {"adam": self.optimizer}

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Draw a grouping for each k environments and a placement for each, or the likeliest."""
        nodes, edges = inputs.observation["nodes"], inputs.observation["edges"]
        group_of, device_of = (self._choose(d, deterministic) for d in (self.grouping, self.draws))
        each = self._copies(nodes, edges)
        with torch.no_grad():
            few = self.network.group_logits(nodes[::each], edges[::each])
            group = group_of(few).repeat_interleave(each, 0)
            groups = self.network.encode(nodes, edges, group)
            chosen = self.network.placer.place(*groups, len(nodes), lambda _, x: device_of(x))
        return Acted(chosen.gather(1, group), state, {"group": group, "device": chosen})

    def _copies(self, *arrays: Tensor) -> int:
        """Return k if each k rows of ``arrays`` (N, ...) are one graph, else 1."""
        each = min(self.config.placements, len(arrays[0]))
        if len(arrays[0]) % each:
            return 1
        blocks = [array.unflatten(0, (-1, each)) for array in arrays]
        return each if all(bool((block == block[:, :1]).all()) for block in blocks) else 1

    def _choose(self, draws: Categorical, deterministic: bool) -> Callable[[Tensor], Tensor]:
        return (
            draws.mode if deterministic else partial(draws.sample, generator=self.generators["act"])
        )

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step on the groupings and placements of ``rollout``."""
        config = self.config
        seen = {name: value[:-1].flatten(0, 1) for name, value in rollout.observation.items()}
        group, device = (torch.cat(rollout.extras[name]) for name in ("group", "device"))
        cost, failed = -rollout.reward.flatten(), rollout.cost.flatten() > 0
        valid, action = rollout.valid.flatten(), rollout.action.flatten(0, 1)
        self.best.note(seen["nodes"][valid], -cost[valid], action[valid])
        drops = self.num_updates >= config.drop_failing_after
        counts = samples_that_count(valid, failed, drops)
        usual = counts & ~failed
        advantage = advantages(cost, self.baseline.of(cost, usual), counts, failed, config.clip)
        self.baseline.update(cost, usual)
        grouped, placed, entropies = self._log_probs(seen, group, device)
        loss = reinforce_loss(grouped + placed, advantage, counts)
        bonus = config.entropy_weight * sum(entropies.values())
        named = self.network.named_parameters
        norm = descend(self.optimizer, loss - bonus, named, config.max_gradient_norm)
        return {
            "policy_loss": loss.detach(),
            "gradient_norm": norm,
            "cost": cost.mean,
            "baseline": self.baseline.value,
            "failing": failed.float().mean,
            "best_reward": self.best.reward,
            "groups_used": lambda: F.one_hot(group).any(1).sum(-1).float().mean(),
            **{name: value.detach() for name, value in entropies.items()},
        }

    def set_env(
        self,
        env: Any,
        num_envs: int | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on in another environment, or the same anew; what was found before counts no more."""
        super().set_env(env, num_envs, env_kwargs)
        self.best.forget()

    def _log_probs(
        self, seen: Mapping[str, Tensor], group: Tensor, device: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return log p of groupings (K,) and of placements (K,), and both entropies, summed."""
        nodes, edges = seen["nodes"], seen["edges"]
        there = nodes[:, :, 0]
        used = F.one_hot(group, self.network.groups).mul(there.long().unsqueeze(-1)).any(1).float()
        first = self.network.group_logits(nodes, edges)
        second = self.network.placer.logits(*self.network.encode(nodes, edges, group), device)
        grouped, group_entropy = self.grouping.log_prob_entropy(first, group)
        placed, device_entropy = self.draws.log_prob_entropy(second, device)
        entropies = {
            "group_entropy": (group_entropy * there).sum(1).mean(),
            "device_entropy": (device_entropy * used).sum(1).mean(),
        }
        return (grouped * there).sum(1), (placed * used).sum(1), entropies
