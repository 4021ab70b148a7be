"""The network of `feudal`: a Manager that sets goals and a Worker whose actions they weigh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daedalus.accelerators.rollout import Inputs, State
from daedalus.agents.a3c_network import A3CConfig, LSTMCore
from daedalus.agents.base import Spaces
from daedalus.agents.dilated import DilatedLSTM, summed
from daedalus.agents.networks import Encoder, Known, dtype_of
from daedalus.agents.policies import policy_for


@dataclass(frozen=True)
class Config(A3CConfig):
    """Settings of `Feudal`: those of the synchronous A3C, which are the Worker's, and its own."""

    n_steps: int = 40
    """Steps per rollout and environment; at least the horizon, better four times it."""
    gamma: float = 0.95
    """g_W: discount of the Worker, for the environment's and the intrinsic reward."""
    manager_gamma: float = 0.99
    """g_M: discount of the Manager."""
    horizon: int = 10
    """c: steps over which a goal is a direction to move in."""
    dilation: int = 10
    """r: cores of the Manager's dilated LSTM; 1 for a plain LSTM."""
    goal_size: int = 256
    """d: length of latent states and goals."""
    embedding: int = 16
    """k: length of what the Worker is told of the goals."""
    intrinsic_weight: float = 0.5
    """alpha: weight of the intrinsic reward; published 0 to 1; 0 leaves the Worker its own way."""
    manager_weight: float = 1.0
    """Weight of the Manager's policy gradient."""
    random_goal: float = 1e-3
    """Probability, per step of training, of a random goal in place of the Manager's."""
    centre_rate: float = 0.01
    """Share of each rollout in the mean state that the Manager's LSTM sees subtracted; 0: none. It
    stands still after the first task where a consolidation protects it."""
    shuffle_goals: bool = False
    """A control: give every Worker the goals of the next environment's Manager."""


class Unrolled(NamedTuple):
    """The network over (T, B); over (B,) where it took one step."""

    policy: Tensor  # (T, B, P), parameters of the distribution
    value: Tensor  # (T, B), V^W
    manager_value: Tensor  # (T, B), V^M
    hidden: Tensor  # (T, B, H), of the Worker's LSTM
    told: Tensor  # (T, B, k), w_t
    latent: Tensor  # (T, B, d), s_t
    goal: Tensor  # (T, B, d), g_t as the Manager means it: gradients flow
    given: Tensor  # (T, B, d), the goal in force: a constant, random here and there


class FeudalNetwork(nn.Module):
    """Encoder; latent space, dilated LSTM and critic of the Manager; LSTM and heads of the Worker.

    Its state holds, besides both memories, the last c goals and latent states of the episode, zero
    where there were none yet.
    """

    def __init__(self, spaces: Spaces, config: Config) -> None:
        """Build for ``spaces``."""
        super().__init__()
        self.horizon, self.shuffles = config.horizon, config.shuffle_goals
        size = config.goal_size
        self.encoder = Encoder(spaces.observation, config.hidden, config.torso, config.precision)
        self.space = nn.Linear(config.hidden, size)
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(size))
        self.manager = DilatedLSTM(size, size, config.dilation, dtype_of(config.precision))
        self.manager_critic = nn.Linear(config.hidden, 1)
        self.distribution = policy_for(spaces.action)
        self.core = LSTMCore(config.hidden, config.lstm, spaces, config.feed_back, config.precision)
        self.actor = nn.Linear(config.lstm, self.distribution.size * config.embedding)
        self.phi = nn.Linear(size, config.embedding, bias=False)
        self.critic = nn.Linear(config.lstm, 1)
        gains = {self.space: 2**0.5, self.actor: 0.01, self.critic: 1.0, self.manager_critic: 1.0}
        for layer, gain in gains.items():
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
        reach = (size / config.embedding) ** 0.5 / (config.horizon + 1)
        nn.init.orthogonal_(self.phi.weight, reach)  # w begins with a length of about 1

    def initial_state(self, num_envs: int) -> State:
        """Return zeros."""
        h, c = self.manager.initial_state(num_envs)
        queue = h.new_zeros(num_envs, self.horizon, self.space.out_features)
        own = {"manager_h": h, "manager_c": c, "latents": queue, "goals": queue}
        return self.core.initial_state(num_envs) | own

    def step(
        self, inputs: Inputs, state: State, drawn: Tensor | None = None
    ) -> tuple[Unrolled, State, dict[str, Tensor]]:
        """Take one step without a graph.

        Args:
            inputs: (B, ...).
            state: (B, ...).
            drawn: (B, d), goals in force instead of the Manager's, in rows that are not zero.

        Returns:
            The outputs, the state after the step, and what `unroll` can reuse.
        """
        start = inputs.episode_start
        features, kept = self.encoder.step(inputs.observation)
        with torch.no_grad():
            latent = F.relu(self.space(features))
            memory = state["manager_h"], state["manager_c"]
            pooled, h, c = self.manager.step(latent - self.centre, *memory, start)
            goal = F.normalize(pooled, dim=-1)
            given = goal if drawn is None else _in_force(goal, drawn)
            keep = (~start).view(-1, 1, 1)
            goals = torch.cat([state["goals"] * keep, given.unsqueeze(1)], 1)
            latents = torch.cat([state["latents"] * keep, latent.unsqueeze(1)], 1)
            hidden, after, recorded = self.core.step(features, inputs, state)
            heads = self._heads(features, hidden, self.tell(goals.sum(1)))
        own = {"manager_h": h, "manager_c": c, "latents": latents[:, 1:], "goals": goals[:, 1:]}
        outputs = Unrolled(**heads, latent=latent, goal=goal, given=given)
        return outputs, after | own, kept | recorded

    def unroll(
        self,
        inputs: Inputs,
        state: State,
        drawn: Tensor | None = None,
        known: Known | None = None,
        through: bool = False,
    ) -> Unrolled:
        """Run over (T, B) inputs.

        Args:
            inputs: (T, B, ...).
            state: (B, ...).
            drawn: (T, B, d), as in `step`.
            known: What `step` kept.
            through: Let the policy's gradient flow through the goals; they are constants otherwise.
        """
        start = inputs.episode_start
        steps, batch = start.shape
        flat = {name: value.flatten(0, 1) for name, value in inputs.observation.items()}
        features = self.encoder(self.encoder.encode(flat, known), known).view(steps, batch, -1)
        latent = F.relu(self.space(features))
        memory = state["manager_h"], state["manager_c"]
        pooled = self.manager(latent - self.centre, *memory, start)
        goal = F.normalize(pooled, dim=-1)
        set_goal = goal if through else goal.detach()
        given = set_goal if drawn is None else _in_force(set_goal, drawn)
        past = state["goals"].transpose(0, 1)
        told = self.tell(summed(past, given, start, self.horizon + 1))
        hidden = self.core.unroll(features, inputs, state, known)
        heads = self._heads(features, hidden, told)
        return Unrolled(**heads, latent=latent, goal=goal, given=given)

    def tell(self, goals: Tensor) -> Tensor:
        """Return w (..., B, k) of the sums (..., B, d) of the goals from t - c to t."""
        told: Tensor = self.phi(goals)
        return told.roll(1, -2) if self.shuffles else told

    def policy(self, hidden: Tensor, told: Tensor) -> Tensor:
        """Return U_t w_t (..., P): without goals it is zero, a uniform policy."""
        weights = self.actor(hidden).unflatten(-1, (self.distribution.size, -1))
        result: Tensor = (weights @ told.unsqueeze(-1)).squeeze(-1)
        return result

    def _heads(self, features: Tensor, hidden: Tensor, told: Tensor) -> dict[str, Tensor]:
        return {
            "policy": self.policy(hidden, told),
            "value": self.critic(hidden).squeeze(-1),
            "manager_value": self.manager_critic(features).squeeze(-1),
            "hidden": hidden,
            "told": told,
        }


def _in_force(goal: Tensor, drawn: Tensor) -> Tensor:
    """Return ``drawn`` (..., d) where it is not zero, else ``goal``."""
    return torch.where((drawn != 0).any(-1, keepdim=True), drawn, goal)
