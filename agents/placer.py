"""Placer: device placement by a sequence-to-sequence policy (Mirhoseini et al. 2017, 1706.04972).

A policy pi(P|G) emits a device for each group of a graph, one after the other in topological order.
Its cost is R(P) = sqrt(run time), or the root of a large constant where memory runs out, and

    grad J = 1/K sum_k (R(P_k) - B) grad log pi(P_k|G)

with B a moving average of R. The rewards of `DevicePlacement` are -R. Encoder: a bidirectional LSTM
over embeddings of the groups (what is known of each, and its row and column of the adjacency).
Decoder: an LSTM that at group i sees the encoder's output of group i and the embedding of the last
device, and attends to all groups. Samples that fail are dropped from loss and baseline after
``drop_failing_after`` updates. Where this differs from the paper:

- synchronous: the K samples are one step of K copies of the environment, where the paper has some
  twenty controllers that send gradients to a parameter server;
- attention is multiplicative (Luong et al. 2015), not additive: G x G x units would not fit;
- the logits are bounded by C tanh(l / T), as in the hierarchical planner (Mirhoseini et al. 2018);
- B is the average of samples that do not fail; advantages are divided by the standard deviation of
  those, cut off at ``clip`` and centred, so that the failing signal warns and does not drown the
  rest (it must be worse than any placement that fits: a milder one is preferred to a bad start, and
  learnt). Centring takes B out again: the baseline is the mean over the batch, and B matters only
  through the samples that are cut off, mostly those that fail. ``clip: 0`` is the equation above;
- a learned number is added to the logit of the last device. At the start it makes a placement
  change its device ``changes`` times for each device, so that the search begins among placements
  in few pieces. Drawn group by group they send nearly every tensor, and where memory is short
  nearly none fits;
- a device without room for a group, counting what the groups before hold there, is as good as never
  drawn (``keep_room``); what tensors take while they live is for the failing signal to teach;
- an entropy bonus, small beside the hundreds of decisions that it is summed over;
- a share of the placements, ``moves``, are not drawn whole but moves from an annealed one
  (`daedalus.agents.placement_moves`), with the gradient of what was drawn and a baseline of their
  own, their mean. ``moves: 0`` is the paper's search.

The agent keeps the best placement that it has tried, `Placer.best`: what a search is for. It is one
of the first graph that was shown, where there are several; `Placer.set_env` begins it anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor, nn

from daedalus.agents.base import Acted, Agent, Inputs, Metrics, Rollout, State
from daedalus.agents.optimizers import Adam, descend
from daedalus.agents.placement_moves import COOLED, Incumbent, Moves, barred, no_moves
from daedalus.agents.placement_search import (
    Baseline,
    Best,
    adjacency,
    advantages,
    check_placement,
    one_or_all,
    reinforce_loss,
    samples_that_count,
)
from daedalus.agents.policies import Categorical
from daedalus.agents.settings import at_least
from daedalus.envs.placement.packing import STATIC

MEMORY = STATIC.index("memory")
"""Column of a group's memory, as a share of a device's."""

FULL = 1000.0
"""What the logit of a full device loses: all others, if there are any, come before it."""


@dataclass(frozen=True)
class Drawing:
    """Settings of a policy that draws whole placements, and of how it learns."""

    n_steps: int = 1
    """Steps per rollout and environment; an episode is one step."""
    hidden: int = 64
    """Units of the LSTMs, an even number; the paper has 1024."""
    embedding: int = 16
    """Units of a device's embedding."""
    changes: float = 2.0
    """Changes of device along the graph at the start, for each device; 0 to draw groups alone."""
    keep_room: bool = True
    """Draw no device whose memory a group's does not fit beside those of the groups before."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    baseline_decay: float = 0.9
    """Share of the old baseline that each update keeps."""
    clip: float = 3.0
    """Standard deviations at which advantages are cut off and then centred; 0 for the paper's."""
    drop_failing_after: int = 5000
    """Updates after which samples that run out of memory are dropped."""
    entropy_weight: float = 0.002
    """Weight of the entropy of a decision."""
    logit_bound: float = 5.0
    """C: logits are C tanh(l / T)."""
    temperature: float = 1.0
    """T, above 0."""
    max_gradient_norm: float = 1.0
    """Longer gradients are scaled to this norm; 0 for no limit."""


@dataclass(frozen=True)
class Config(Drawing):
    """Settings of `Placer`."""

    moves: float = 0.5
    """Share of the placements that are moves from an annealed one."""
    temperature_start: float = 0.02
    """Of the annealing at first, in units of the run time (see ``unit`` of `DevicePlacement`; with
    "single" those of one device); falls to a hundredth."""


def check_drawing(agent: str, config: Drawing) -> None:
    """Raise ValueError where nothing can be drawn, or learnt, with these settings."""
    at_least(agent, config, hidden=2)
    if config.hidden % 2:
        raise ValueError(f"hidden is halved for the encoder's two ways, got {config.hidden}: odd")
    if not config.temperature > 0:
        raise ValueError(
            f"temperature divides logits: it must be above 0, got {config.temperature}"
        )
    if not 0 <= config.baseline_decay <= 1:
        raise ValueError(f"baseline_decay is a share, 0 to 1, got {config.baseline_decay}")


def stay_logit(changes: float, groups: int, devices: int) -> float:
    """Return what to add to the last device's logit for ``changes`` of each device along a graph.

    With all other logits equal a group then takes another device with probability changes D / G.
    """
    rate = changes * devices / groups
    if rate <= 0:
        return 0.0
    return max(0.0, math.log((1 / min(rate, 1.0) - 1) * (devices - 1) + 1e-12))


class Network(nn.Module):
    """Embedding, encoder, decoder with attention."""

    def __init__(self, groups: int, columns: int, devices: int, config: Drawing) -> None:
        """Build for graphs of ``groups`` with ``columns`` each."""
        super().__init__()
        hidden, self.devices, self.config = config.hidden, devices, config
        self.embed = nn.Linear(columns + 2 * groups, hidden)
        self.encoder = nn.LSTM(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.last = nn.Embedding(devices + 1, config.embedding)  # the last one: nothing yet
        self.decoder = nn.LSTM(hidden + config.embedding, hidden, batch_first=True)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.head = nn.Linear(2 * hidden, devices)
        nn.init.orthogonal_(self.head.weight, 0.1)
        nn.init.zeros_(self.head.bias)
        self.stay = nn.Parameter(torch.tensor(stay_logit(config.changes, groups, devices)))

    def encode(self, nodes: Tensor, links: Tensor) -> Tensor:
        """Return groups (N, G, columns) with adjacency (N, G, G) in context, (N, G, hidden)."""
        x = torch.cat([nodes, links, links.transpose(1, 2)], -1)
        encoded: Tensor = self.encoder(torch.tanh(self.embed(x)))[0]
        return encoded

    def decode(self, encoded: Tensor, last: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the logits (N, L, D) of L groups in a row, and the state to go on from.

        Args:
            encoded: (M, G, hidden), of all groups; each serves N / M rows that follow each other.
            last: (N, L), the device before each, ``devices`` for none.
            state: None at the start, or what the last call returned.
        """
        carried, done = (None, 0) if state is None else state
        each = len(last) // len(encoded)
        here = encoded[:, done : done + last.shape[1]].repeat_interleave(each, 0)
        hidden, carried = self.decoder(torch.cat([here, self.last(last)], -1), carried)
        asked = self.query(hidden).view(len(encoded), -1, hidden.shape[-1])
        weights = (asked @ encoded.transpose(1, 2)).softmax(-1)
        logits = self.head(torch.cat([hidden, (weights @ encoded).view_as(hidden)], -1))
        bound, temperature = self.config.logit_bound, self.config.temperature
        same = F.one_hot(last, self.devices + 1)[..., :-1]
        logits = bound * torch.tanh(logits / temperature) + self.stay * same
        return logits, (carried, done + last.shape[1])

    def logits(self, encoded: Tensor, memory: Tensor, action: Tensor) -> Tensor:
        """Return the logits (N, G, D) that lead to placements (N, G), all steps at once.

        Args:
            encoded: (M, G, hidden), as in `decode`.
            memory: (M, G), shares of a device's memory.
            action: (N, G).
        """
        start = torch.full_like(action[:, :1], self.devices)
        last = torch.cat([start, action[:, :-1]], 1)
        need = memory.repeat_interleave(len(action) // len(memory), 0).unsqueeze(-1)
        taken = F.pad((F.one_hot(action, self.devices) * need)[:, :-1], (0, 0, 1, 0)).cumsum(1)
        return self._with_room(self.decode(encoded, last, None)[0], need, taken)

    def _with_room(self, logits: Tensor, need: Tensor, taken: Tensor) -> Tensor:
        """Return logits (N, L, D), lower where ``need`` (N, L, 1) and ``taken`` make over 1."""
        if not self.config.keep_room:
            return logits
        return logits - FULL * (need + taken > 1.0 + 1e-5)

    def place(
        self, encoded: Tensor, memory: Tensor, rows: int, choose: Callable[[int, Tensor], Tensor]
    ) -> Tensor:
        """Return placements (N, G) of ``rows``.

        ``choose`` picks devices (N, 1) from a group's number and logits (N, 1, D).
        """
        last = torch.full((rows, 1), self.devices, device=encoded.device)
        needs = memory.repeat_interleave(rows // len(memory), 0).unsqueeze(-1)
        taken = torch.zeros(rows, 1, self.devices, device=encoded.device)
        state, chosen = None, []
        for group, need in enumerate(needs.split(1, 1)):
            logits, state = self.decode(encoded, last, state)
            last = choose(group, self._with_room(logits, need, taken))
            taken = taken + F.one_hot(last, self.devices) * need
            chosen.append(last)
        return torch.cat(chosen, 1)


# --------------------------------------------------------------------------------------- the agent


class Placer(Agent):
    """Sequence-to-sequence policy over whole placements, trained by REINFORCE."""

    name = "placer"
    Config: ClassVar[type[Any]] = Config
    default_num_envs: ClassVar[int] = 32

    def build(self) -> None:
        """Make network, optimiser, and the memory of the best placement.

        Raises:
            TypeError: The environment is no placement world; names one.
            ValueError: A setting is out of its range.
        """
        groups, columns, self.devices = check_placement(self.spaces, self.name, MultiDiscrete)
        check_drawing(self.name, self.config)
        if not 0 <= self.config.moves <= 1:
            raise ValueError(f"moves is a share of the placements, 0 to 1, got {self.config.moves}")
        self.network = Network(groups, columns, self.devices, self.config).to(self.device)
        self.best = Best(groups, columns).to(self.device)
        self.incumbent = Incumbent(groups, columns).to(self.device)
        self.draws = Categorical(Discrete(self.devices))
        self.baseline = Baseline(self.config.baseline_decay).to(self.device)
        self.optimizer = Adam(self.network.parameters(), self.config.learning_rate)
        kept = {"best": self.best, "incumbent": self.incumbent, "baseline": self.baseline}
        self.modules = {"network": self.network, **kept}
        self.optimizers = {"adam": self.optimizer}

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Draw a placement for each environment, device by device, or take the likeliest ones.

        In training the last of them are moves from the incumbent.
        """
        generator, training = self.generators["act"], torch.is_grad_enabled()
        seen = inputs.observation["nodes"]
        moves = self._moves(seen) if training else no_moves(len(seen), seen.shape[1], self.device)

        def choose(group: int, logits: Tensor) -> Tensor:
            if deterministic:
                return self.draws.mode(logits)
            keep, bar = (part[:, group : group + 1] for part in moves)
            drawn = self.draws.sample(barred(logits, bar), generator)
            return torch.where(keep >= 0, keep, drawn)

        with torch.no_grad():
            graph = self._encode(inputs.observation)
            placed = self.network.place(*graph, len(seen), choose)
        return Acted(placed, state, moves._asdict() if training else {})

    def _moves(self, nodes: Tensor) -> Moves:
        """Return which rows are drawn whole, and which are what moves: two at least, or none.

        One alone is its own mean, so nothing would be learnt from it.
        """
        rows, groups = nodes.shape[:2]
        count = int(rows * self.config.moves)
        if count < 2 or not self.incumbent.serves(nodes):
            return no_moves(rows, groups, self.device)
        whole = no_moves(rows - count, groups, self.device)
        real, generator = int(nodes[0, :, 0].sum()), self.generators["act"]
        near = self.incumbent.moves(count, real, generator)
        return Moves(*(torch.cat(parts) for parts in zip(whole, near, strict=True)))

    def _encode(self, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the groups in their context, (N, G, hidden), and their memory, (N, G).

        N is 1 where all are copies of one graph.
        """
        nodes, edges = one_or_all(observation["nodes"], observation["edges"])
        return self.network.encode(nodes, adjacency(edges, nodes.shape[1])), nodes[..., MEMORY]

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step on the placements of ``rollout``."""
        config = self.config
        seen = {name: value[:-1].flatten(0, 1) for name, value in rollout.observation.items()}
        action = rollout.action.flatten(0, 1)
        keep, bar = (torch.cat(rollout.extras[name]) for name in Moves._fields)
        cost, failed = -rollout.reward.flatten(), rollout.cost.flatten() > 0
        moved, valid = ((keep >= 0) | (bar >= 0)).any(1), rollout.valid.flatten()
        tried = seen["nodes"][valid], -cost[valid], action[valid]
        self.best.note(*tried)
        temperature = config.temperature_start * COOLED**self.progress
        chance = temperature, self.generators["update"]
        self.incumbent.consider(*tried, moved[valid], *chance)
        counts = samples_that_count(valid, failed, self._drops())
        whole, near = counts & ~moved, counts & moved
        usual = whole & ~failed
        baseline = self.baseline.of(cost, usual)
        advantage = advantages(cost, baseline, whole, failed, config.clip)
        self.baseline.update(cost, usual)
        fits = near & ~failed
        beside = float(cost[fits if fits.any() else near].mean()) if near.any() else 0.0
        advantage = advantage + advantages(cost, beside, near, failed, config.clip)
        logits = barred(self.network.logits(*self._encode(seen), action), bar)
        real = seen["nodes"][:, :, 0]  # groups that the graph has
        log_pi, entropy = self.draws.log_prob_entropy(logits, action)
        mean_entropy = (entropy * real)[~moved].sum() / real[~moved].sum().clamp(min=1)
        loss = reinforce_loss((log_pi * real * (keep < 0)).sum(1), advantage, counts)
        bonus = config.entropy_weight * mean_entropy * real.sum(1).mean()
        named = self.network.named_parameters
        norm = descend(self.optimizer, loss - bonus, named, config.max_gradient_norm)
        return {
            "policy_loss": loss.detach(),
            "entropy": mean_entropy.detach(),
            "gradient_norm": norm,
            "cost": cost.mean,
            "baseline": self.baseline.value,
            "failing": failed.float().mean,
            "best_reward": self.best.reward,
            **({"incumbent_reward": self.incumbent.reward} if moved.any() else {}),
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
        self.incumbent.forget()

    def _drops(self) -> bool:
        return bool(self.num_updates >= self.config.drop_failing_after)
