"""Independent Q-learning with a replay that knows how old it is.

Foerster, Nardelli, Farquhar et al. 2017, "Stabilising experience replay for deep multi-agent
reinforcement learning" (1702.08887). Every agent learns Q_a(o, u) as if the others were a part of
the world:

    L = mean w (r + gamma max_u' Q-(o', u') - Q(o, u))^2

The others learn too, so what a replay holds was made by others than they are now. Two remedies:

- *fingerprint*: the observation goes on with (epsilon, e), the exploration rate and the share of
  training done, as of when the step was taken, also in o'. Q then depends on how old the step is;
- *importance*: w is the probability of the others' actions by their policies now, over that by
  their policies then; clipped to [0.01, 2], to the power 1 / (n - 1) for n agents, and divided by
  its running average.

Without both (``fingerprint=False``) this is plain independent Q-learning with replay, and with
``replay=False`` it learns from the last steps only. Where this differs from the paper:

- networks are feed-forward, with all agents in one that sees who it is (``shared``) or each its
  own; the paper also has recurrent ones, which can tell the others' age from what they did;
- single steps are replayed, not episodes, and targets bootstrap from a network that follows slowly;
- the paper's fingerprint has the training iteration, here divided by all there will be.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from daedalus.accelerators.step_replay import StepReplay
from daedalus.agents.base import Acted, Agent, Inputs, Metric, Metrics, Rollout, Seen, State
from daedalus.agents.consolidation import Consolidated, Likelihoods, consolidation_from
from daedalus.agents.optimizers import Adam, descend
from daedalus.agents.roles import MASK, MLP, Observation, Roles, agents_in, allowed

LEAST = -87.0
"""What counts as the log of probability 0: about that of the least float32; sums stay finite."""

FINGERPRINT = "fingerprint"
OBSERVED, FOLLOWING = "observation/", "next/"


@dataclass(frozen=True)
class Config(Consolidated):
    """Settings of `IQL`."""

    n_steps: int = 8
    """Steps per rollout and environment; learning follows each rollout."""
    gamma: float = 0.99
    """Discount."""
    learning_rate: float = 5e-4
    """Step size of Adam."""
    fingerprint: bool = True
    """Show Q the exploration rate and the share of training done, as of the step."""
    importance: bool = False
    """Weigh steps by how likely the others' actions are now against then."""
    replay: bool = True
    """Learn from replay; otherwise from the last rollout only."""
    shared: bool = True
    """One network for all agents, which sees who it is; otherwise one for each."""
    buffer_size: int = 50_000
    """Joint steps (of all agents of an environment) that the replay holds."""
    batch_size: int = 64
    """Joint steps of a gradient step."""
    gradient_steps: int = 4
    """Gradient steps after each rollout."""
    learning_starts: int = 1000
    """Agents' steps before the first gradient step."""
    target_update_interval: int = 200
    """Gradient steps between copies of the network into the target network."""
    exploration_start: float = 1.0
    """Probability of a random action at first, epsilon."""
    exploration_end: float = 0.02
    """Epsilon from the end of exploration on."""
    exploration_fraction: float = 0.6
    """Share of training over which epsilon falls linearly."""
    hidden: int = 64
    """Units of the two hidden layers."""
    max_gradient_norm: float = 10.0
    """Longer gradients are scaled to this norm; 0 for no limit."""


# ------------------------------------------------------------------------------ the correction


def rows_of(batch: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return what all agents saw, (N n, ...) by name, of joint steps ``batch`` (N, n, ...)."""
    return {
        name.removeprefix(prefix): value.flatten(0, 1)
        for name, value in batch.items()
        if name.startswith(prefix)
    }


def probability(q: Tensor, action: Tensor, mask: Tensor | None, epsilon: Tensor | float) -> Tensor:
    """Return epsilon / A + (1 - epsilon) [action is the greedy one], shaped as ``action``.

    Args:
        q: (..., A), missing actions at their least.
        action: int64 (...).
        mask: (..., A), 1 for the A actions that there are; None for all.
        epsilon: Probability of a uniform draw.
    """
    count = q.shape[-1] if mask is None else (mask > 0).sum(-1)
    return epsilon / count + (1 - epsilon) * (q.argmax(-1) == action).float()


def others(log_probability: Tensor) -> Tensor:
    """Return the sum over all other agents (N, n) of log pi(u) (N, n), each at least `LEAST`."""
    finite = log_probability.clamp(min=LEAST)  # or one's own -inf would leave -inf - -inf
    return finite.sum(-1, keepdim=True) - finite


class ImportanceWeights(nn.Module):
    """Weights of old steps: ratios clipped to [0.01, 2], rooted, over their running average."""

    average: Tensor

    def __init__(self, agents: int, decay: float = 0.99) -> None:
        """Begin with an average of 1."""
        super().__init__()
        self.power, self.decay = 1.0 / max(agents - 1, 1), decay
        self.register_buffer("average", torch.ones(()))

    @torch.no_grad()
    def forward(self, log_now: Tensor, log_then: Tensor) -> Tensor:
        """Return the weights (N, n) of the others' log probabilities (N, n), now and then."""
        weight = (log_now - log_then).exp().clamp(0.01, 2.0) ** self.power
        self.average.mul_(self.decay).add_((1 - self.decay) * weight.mean())
        return weight / self.average


# --------------------------------------------------------------------------------- the loss


def q_target(reward: Tensor, following: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """Return r + gamma max_u Q-(o', u), and r where the episode ends.

    Args:
        reward: (...).
        following: (..., A), Q- of the following observations, missing actions at their least.
        terminated: bool (...).
        gamma: Discount.
    """
    return reward + gamma * following.max(-1).values * ~terminated


def td_loss(q: Tensor, action: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return mean w (target - Q(o, u))^2, 0-d.

    Args:
        q: (..., A).
        action: int64 (...).
        target: (...), constants.
        weight: (...), constants.
    """
    chosen = q.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    return (weight * (target - chosen).square()).mean()


# ------------------------------------------------------------------------------------- the agent


class IQL(Agent):
    """Independent Q-learners with fingerprints or importance weights for their replay."""

    name = "iql"
    Config: ClassVar[type[Any]] = Config
    default_num_envs: ClassVar[int] = 16

    def build(self) -> None:
        """Make networks, replay and optimiser.

        Raises:
            TypeError: The actions are not those of a Discrete space.
        """
        config, space = self.config, self.spaces.action
        if not isinstance(space, Discrete):
            raise TypeError(
                f"iql compares the values of single actions, these are {space}: use ppo"
            )
        self.start, actions = int(space.start), int(space.n)
        seen = dict(self.spaces.observation)
        self.agents = agents_in(seen)
        if config.fingerprint:
            seen[FINGERPRINT] = Box(0.0, 1.0, (2,), np.float32)
        if config.shared:
            who = {"who": seen["agent"]} if "agent" in seen else {}
            self.network: nn.Module = MLP(seen | who, config.hidden, actions)
        else:
            self.network = Roles(self.agents, lambda _: MLP(seen, config.hidden, actions))
        self.network.to(self.device)
        self.target = deepcopy(self.network).requires_grad_(False)
        self.weights = ImportanceWeights(self.agents).to(self.device)
        parameters = self.network.parameters()
        self.optimizer = Adam(parameters, config.learning_rate, fused=True)
        self.replay = StepReplay(config.buffer_size if config.replay else 1, self.device)
        self.modules = {"network": self.network, "target": self.target, "weights": self.weights}
        self.optimizers = {"adam": self.optimizer}
        self.stores = {"replay": self.replay}
        self.consolidation = consolidation_from(config, self.network.parameters())

    # ------------------------------------------------------------------ acting

    @property
    def epsilon(self) -> float:
        """Probability of a random action."""
        config = self.config
        share = min(self.progress / max(config.exploration_fraction, 1e-9), 1.0)
        return float(
            config.exploration_start + share * (config.exploration_end - config.exploration_start)
        )

    def now(self, count: int) -> Tensor:
        """Return the fingerprint of this moment, (count, 2)."""
        return torch.tensor([self.epsilon, self.progress], device=self.device).expand(count, 2)

    def q(self, network: nn.Module, observation: Observation, fingerprint: Tensor) -> Tensor:
        """Return the values (N, A) of observations, those of missing actions at their least."""
        seen = {**observation, FINGERPRINT: fingerprint}
        if "agent" in observation:
            seen["who"] = observation["agent"]
        return allowed(network(seen), observation)

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Draw at random with probability epsilon while training; otherwise act greedily."""
        training, seen = torch.is_grad_enabled(), inputs.observation
        with torch.no_grad():
            count = len(inputs.previous_reward)
            fingerprint = self.now(count)
            q = self.q(self.network, seen, fingerprint)
        greedy = q.argmax(-1)
        if deterministic or not training:
            return Acted(greedy + self.start, state, {"value": q.max(-1).values, "q": q})
        generator, mask = self.generators["act"], seen.get(MASK)
        race = torch.empty_like(q).exponential_(generator=generator)
        drawn = (race if mask is None else race * (mask > 0)).argmax(-1)
        explore = torch.empty(count, device=q.device).uniform_(generator=generator) < self.epsilon
        action = torch.where(explore, drawn, greedy)
        extras = {FINGERPRINT: fingerprint}
        if self.config.importance:
            likely = probability(q, action, mask, self.epsilon)
            extras["log_probability"] = likely.log()
        return Acted(action + self.start, state, extras)

    def inspect(
        self, now: Seen, before: Seen | None, label: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Show the values of the first agent's actions."""
        return {"action values": now.acted.extras["q"]}

    # ------------------------------------------------------------------ learning

    def update(self, rollout: Rollout) -> Metrics:
        """Store the steps of ``rollout`` and learn from replay, or from them alone."""
        config, steps = self.config, self._steps(rollout)
        if config.replay:
            self.replay.add(steps)
        metrics: dict[str, Metric] = {"epsilon": self.epsilon}
        begun = self.num_timesteps - self.task_started >= config.learning_starts
        if not begun or not len(steps["terminated"]):
            return metrics
        for number in range(config.gradient_steps):
            batch = self.replay.sample(config.batch_size, self.rng) if config.replay else steps
            metrics |= self._learn(batch)
            done = self.num_updates * config.gradient_steps + number + 1
            if done % config.target_update_interval == 0:
                self.target.load_state_dict(self.network.state_dict())
        return metrics

    def _steps(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the joint steps of a rollout: fields (N, n, ...), without what only reset."""
        following = {name: value[1:].clone() for name, value in rollout.observation.items()}
        t, b = rollout.final_index.unbind(1)
        for name, value in following.items():
            value[t, b] = rollout.final_observation[name]
        fields = {f"{OBSERVED}{name}": v[:-1] for name, v in rollout.observation.items()}
        fields |= {f"{FOLLOWING}{name}": value for name, value in following.items()}
        fields |= {"action": rollout.action - self.start, "reward": rollout.reward}
        fields |= {"terminated": rollout.terminated}
        fields |= {name: torch.stack(values) for name, values in rollout.extras.items()}
        valid = rollout.valid.reshape(-1, self.agents)[:, 0]
        return {
            name: value.reshape(-1, self.agents, *value.shape[2:])[valid]
            for name, value in fields.items()
        }

    def _learn(self, batch: Mapping[str, Tensor]) -> dict[str, Metric]:
        """Take a gradient step on joint steps; see `_steps` for the fields."""
        shape = batch["action"].shape
        seen, following = rows_of(batch, OBSERVED), rows_of(batch, FOLLOWING)
        then = batch[FINGERPRINT].flatten(0, 1)
        q = self.q(self.network, seen, then).view(*shape, -1)
        with torch.no_grad():
            best = self.q(self.target, following, then).view(*shape, -1)
            target = q_target(batch["reward"], best, batch["terminated"], self.config.gamma)
            weight = self._weights(batch, seen)
        loss = td_loss(q, batch["action"], target, weight)
        chosen = q.detach().gather(-1, batch["action"].unsqueeze(-1)).squeeze(-1)
        return {
            "td_loss": loss.detach(),
            "td_error": lambda: (target - chosen).abs().mean(),
            "q": chosen.mean,
            "weight_least": weight.min,
            "weight_greatest": weight.max,
            "replay_age": lambda: self.progress - batch[FINGERPRINT][..., 1].mean(),
            "gradient_norm": descend(
                self.optimizer,
                loss,
                partial(self.network.named_parameters, "network"),
                self.config.max_gradient_norm,
                self.consolidation,
            ),
        }

    def likelihoods(self) -> Likelihoods:
        """Yield the values of the actions of steps drawn from the replay, for EWC.

        Each is read as the mean of a normal with unit variance; the loss sees one of them a step.

        Raises:
            ValueError: There is no replay.
        """
        if not self.config.replay:
            raise ValueError("iql draws EWC's steps from its replay: leave replay on, or take si")
        if not self.replay.count:
            raise ValueError("iql has no steps of this task: EWC needs some at its end")
        batch = self.replay.sample(self.config.fisher_samples, self.rng)
        seen, then = rows_of(batch, OBSERVED), batch[FINGERPRINT].flatten(0, 1)
        for i in range(len(then)):
            one = {name: value[i : i + 1] for name, value in seen.items()}
            q = self.q(self.network, one, then[i : i + 1])[0]
            there = (one[MASK][0] > 0).nonzero().flatten() if MASK in one else range(len(q))
            yield [(1.0 / len(there), q[int(a)]) for a in there]

    def _weights(self, batch: Mapping[str, Tensor], seen: Observation) -> Tensor:
        """Return the importance weights (N, n), or ones."""
        if not self.config.importance:
            return torch.ones_like(batch["reward"])
        q = self.q(self.network, seen, self.now(batch["action"].numel()))
        likely = probability(q, batch["action"].flatten(), seen.get(MASK), self.epsilon)
        log_now = others(likely.log().view(batch["action"].shape))
        weight: Tensor = self.weights(log_now, others(batch["log_probability"]))
        return weight
