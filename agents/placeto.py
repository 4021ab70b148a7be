"""Placeto: one policy that improves placements of many graphs (Addanki et al. 2019, 1906.08879).

Groups are visited in topological order; each action places the current one anew and is paid what
the run time falls by (`PlacementImprovement`). The policy sees the graph through message passing,
along the edges and against them,

    x_v <- x_v + g( sum over children u of f(x_u) ),    likewise over parents,

8 rounds each, then pools what is around the current group (its parents, its children, and what runs
beside it) and puts a softmax over devices on top. Nothing depends on names, on the number of groups
or on that of devices, so a policy places graphs that it never saw. Where this differs:

- means over children and parents are in the place of sums, each with a tanh around f and g, and
  what comes out is divided by the number of rounds: it stays in bounds where a group has many;
- message passing sees what is fixed of a graph (cost, bytes, memory, order), so that a graph is
  embedded once and not in each of its steps; what a placement changes (devices, start times, what
  has been visited) enters through the pools;
- each device also has its share of all work and how full its memory is: sums, which means over a
  pool do not tell where graphs have different numbers of groups;
- there is one pool for each device and set, and one network gives the logit of each device: the
  devices are interchangeable, and policies carry over to other numbers of them. The paper has a
  one-hot placement in the messages and an output for each device;
- the baseline is a value with generalised advantage estimation; the paper has the mean return at
  each step over the last episodes, which knows nothing of several graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn

from daedalus.accelerators.returns import gae
from daedalus.agents.base import Acted, Agent, Inputs, Metrics, Rollout, State
from daedalus.agents.optimizers import Adam, descend
from daedalus.agents.placement_search import adjacency, check_placement
from daedalus.agents.policies import Categorical
from daedalus.envs.placement.kernels import CURRENT, PLACED, START, VISITED
from daedalus.envs.placement.packing import STATIC

COST, MEMORY = STATIC.index("cost"), STATIC.index("memory")


@dataclass(frozen=True)
class Config:
    """Settings of `Placeto`."""

    n_steps: int = 16
    """Steps per rollout and environment."""
    gamma: float = 0.95
    """Discount; with 1 the rewards of an episode sum to what was gained, and what a move gained is
    lost among a hundred others."""
    gae_lambda: float = 0.95
    """Decay of the advantage estimate."""
    rounds: int = 8
    """Rounds of message passing, each along the edges and against them."""
    embedding: int = 16
    """Numbers that describe a group."""
    hidden: int = 32
    """Units of the networks on top of the pools."""
    learning_rate: float = 3e-3
    """Step size of Adam at the start; the paper has 1e-3."""
    final_learning_rate: float = 1e-4
    """Step size at the end; it falls linearly."""
    entropy_weight: float = 0.01
    """Weight of the entropy bonus."""
    value_weight: float = 0.5
    """Weight of the value's error."""
    normalise: bool = True
    """Give advantages of an update mean 0 and standard deviation 1."""
    max_gradient_norm: float = 1.0
    """Longer gradients are scaled to this norm; 0 for no limit."""


# ------------------------------------------------------------------------------------ the network


class Around(NamedTuple):
    """What is around the current group, (N, G) each; shares of a set, 0 outside it."""

    parents: Tensor
    children: Tensor
    beside: Tensor
    all: Tensor


def reachable(links: Tensor) -> Tensor:
    """Return bool (N, G, G): a way leads from row to column, for adjacency (N, G, G)."""
    reach = links > 0
    for _ in range(max(1, (links.shape[-1] - 1).bit_length())):
        step = reach.float()
        reach = reach | (step @ step > 0)
    return reach


def around(links: Tensor, reach: Tensor, current: Tensor, there: Tensor) -> Around:
    """Return the sets around the current groups.

    Args:
        links: (N, G, G), adjacency.
        reach: bool (N, G, G), see `reachable`.
        current: int64 (N,).
        there: (N, G), 1 for groups that the graph has.
    """
    rows = torch.arange(len(links), device=links.device)
    beside = there * ~(reach[rows, current] | reach[rows, :, current])
    beside[rows, current] = 0.0
    sets = links[rows, :, current], links[rows, current], beside, there
    return Around(*(s / s.sum(1, keepdim=True).clamp(min=1.0) for s in sets))


class Network(nn.Module):
    """Message passing, pools, a logit for each device, a value."""

    def __init__(self, config: Config) -> None:
        """Build; no size of a graph or machine is in it."""
        super().__init__()
        size, hidden, self.rounds = config.embedding, config.hidden, config.rounds
        self.embed = nn.Linear(len(STATIC), size)
        self.message = nn.ModuleList(_two(size, size, size) for _ in range(4))  # f, g; both ways
        self.width = size + len(STATIC) + 2  # of what is pooled: start and visited beside
        seen = size + len(STATIC) + len(Around._fields) * self.width + 3
        self.policy = _two(seen, hidden, 1)
        self.value = _two(seen, hidden, 1)
        last = self.policy[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)

    def graph(self, nodes: Tensor, links: Tensor) -> Tensor:
        """Return what describes each group: (N, G, embedding)."""
        static = nodes[:, :, : len(STATIC)]
        x: Tensor = torch.tanh(self.embed(static))
        share = 1.0 / links.sum(-1, keepdim=True).clamp(min=1.0)
        share_back = 1.0 / links.sum(-2).unsqueeze(-1).clamp(min=1.0)
        f_up, g_up, f_down, g_down = self.message
        for _ in range(self.rounds):
            x = x + torch.tanh(g_up(share * (links @ torch.tanh(f_up(x)))))
            back = links.transpose(1, 2) @ torch.tanh(f_down(x))
            x = x + torch.tanh(g_down(share_back * back))
        return x / self.rounds

    def forward(self, nodes: Tensor, described: Tensor, sets: Around) -> tuple[Tensor, Tensor]:
        """Return logits (N, D) and values (N,).

        Args:
            nodes: (N, G, columns).
            described: (N, G, embedding).
            sets: Around the current groups.
        """
        rows = torch.arange(len(nodes), device=nodes.device)
        current = nodes[:, :, CURRENT].argmax(1)
        static, placed = nodes[:, :, : len(STATIC)], nodes[:, :, PLACED:]
        dynamic = nodes[:, :, [START, VISITED]]
        known = torch.cat([described, static, dynamic], -1)  # (N, G, width)
        pools = [(placed * s.unsqueeze(-1)).transpose(1, 2) @ known for s in sets]
        mine = torch.cat([described[rows, current], static[rows, current]], -1).unsqueeze(1)
        devices = placed.shape[-1]
        here = placed[rows, current].unsqueeze(-1)
        held = placed.transpose(1, 2) @ static[:, :, [COST, MEMORY]]  # sums over a device's groups
        held = held / torch.stack([static[:, :, COST].sum(1), rows.new_ones(len(rows))], 1)[:, None]
        seen = torch.cat([mine.expand(-1, devices, -1), *pools, held, here], -1)  # (N, D, ...)
        return self.policy(seen).squeeze(-1), self.value(seen).mean(1).squeeze(-1)


def _two(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def normalised(advantage: Tensor, valid: Tensor) -> Tensor:
    """Return advantages (T, B) with mean 0 and standard deviation 1 over the valid ones, else 0.

    A single one is its own mean: nothing is learnt from it, and nothing if none is valid.
    """
    count = valid.sum().clamp(min=1)
    away = (advantage - (advantage * valid).sum() / count) * valid
    return away / ((away.square().sum() / count).sqrt() + 1e-8)


class Graphs:
    """The graphs of a batch, each only once: adjacency and what can be reached."""

    def __init__(self, nodes: Tensor, edges: Tensor) -> None:
        """Find the different graphs among N observations."""
        keys = self.key(nodes, edges)
        self.keys = keys
        _, self.which, counts = torch.unique(keys, dim=0, return_inverse=True, return_counts=True)
        order = torch.argsort(self.which, stable=True)
        first = order[torch.cumsum(counts, 0) - counts]
        self.nodes = nodes[first]
        self.links = adjacency(edges[first], nodes.shape[1])
        self.reach = reachable(self.links)

    @staticmethod
    def key(nodes: Tensor, edges: Tensor) -> Tensor:
        """Return what tells graphs apart, a row (N, ...) for each observation."""
        return torch.cat([nodes[:, :, : len(STATIC)].flatten(1), edges.flatten(1).float()], 1)

    def around(self, nodes: Tensor) -> Around:
        """Return the sets around the current groups of all N observations."""
        current = nodes[:, :, CURRENT].argmax(1)
        which = self.which
        return around(self.links[which], self.reach[which], current, nodes[:, :, 0])


# --------------------------------------------------------------------------------------- the agent


class Placeto(Agent):
    """Message passing over graphs; actor-critic on the improvement of each move."""

    name = "placeto"
    Config: ClassVar[type[Any]] = Config
    default_num_envs: ClassVar[int] = 64

    def build(self) -> None:
        """Make network and optimiser.

        Raises:
            TypeError: The environment does not improve placements; names one that does.
            ValueError: A setting is out of its range.
        """
        _, columns, devices = check_placement(self.spaces, self.name, Discrete)
        if columns != PLACED + devices:
            raise TypeError(
                f"{self.name} needs {PLACED} columns and one for each device, as "
                f"daedalus/PlacementImprovement-v0 has them; got {columns} for {devices} devices"
            )
        self.network = Network(self.config).to(self.device)
        self.draws = Categorical(Discrete(devices))
        self._graphs: Graphs | None = None
        self.optimizer = Adam(self.network.parameters(), self.config.learning_rate)
        self.modules = {"network": self.network}
        self.optimizers = {"adam": self.optimizer}

    def judge(self, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, D) and values (N,) of observations."""
        if self._graphs is None or not torch.equal(self._graphs.keys, Graphs.key(nodes, edges)):
            self._graphs = Graphs(nodes, edges)  # the same until an episode ends
        graphs = self._graphs
        described = self.network.graph(graphs.nodes, graphs.links)[graphs.which]
        result: tuple[Tensor, Tensor] = self.network(nodes, described, graphs.around(nodes))
        return result

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Draw a device for the current group of each environment, or take the likeliest."""
        with torch.no_grad():
            logits, value = self.judge(inputs.observation["nodes"], inputs.observation["edges"])
        if deterministic:
            return Acted(self.draws.mode(logits), state, {"value": value})
        return Acted(self.draws.sample(logits, self.generators["act"]), state, {"value": value})

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step on T steps of B environments."""
        config, (steps, envs) = self.config, rollout.reward.shape
        self._fall()
        seen = {name: x.flatten(0, 1) for name, x in rollout.observation.items()}
        logits, value = self.judge(seen["nodes"], seen["edges"])
        value = value.view(steps + 1, envs)
        advantage = self._advantage(rollout, value.detach())
        target = advantage + value[:-1].detach()
        weight = rollout.valid.flatten().float()
        if config.normalise:
            advantage = normalised(advantage, rollout.valid)
        log_pi, entropy = self.draws.log_prob_entropy(
            logits[: steps * envs], rollout.action.flatten(0, 1)
        )
        policy_loss = -(weight * log_pi * advantage.flatten()).mean()
        value_loss = 0.5 * (rollout.valid * (target - value[:-1]).square()).mean()
        mean_entropy = (weight * entropy).mean()
        loss = policy_loss + config.value_weight * value_loss - config.entropy_weight * mean_entropy
        named = self.network.named_parameters
        norm = descend(self.optimizer, loss, named, config.max_gradient_norm)
        return {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": mean_entropy.detach(),
            "gradient_norm": norm,
            "too_full": rollout.cost.mean,
        }

    def _fall(self) -> None:
        """Set the step size for this update."""
        config = self.config
        done = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate + done * (
                config.final_learning_rate - config.learning_rate
            )

    def _advantage(self, rollout: Rollout, value: Tensor) -> Tensor:
        """Return advantages (T, B). A time limit bootstraps from the episode's last observation."""
        following = value[1:].clone()
        if len(rollout.final_index):
            t, b = rollout.final_index.unbind(1)
            last = rollout.final_observation
            with torch.no_grad():
                following[t, b] = self.judge(last["nodes"], last["edges"])[1]
        arrays = (
            x.cpu().numpy()
            for x in (rollout.reward, value[:-1], following, rollout.terminated, rollout.truncated)
        )
        advantage = gae(*arrays, self.config.gamma, self.config.gae_lambda)
        return torch.from_numpy(advantage).to(self.device)
