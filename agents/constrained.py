"""What `cpo`, `pdo`, `trpo_penalty` and `ppo_lagrangian` share: networks, advantages, values.

A constraint is J_C = E[sum_t C_t] <= d: the undiscounted cost of an *episode*. From here come

- J_C of the present policy, from the present batch alone: cost per step times steps per episode
  (with whole episodes in the batch this is their mean cost, exactly);
- advantages by generalised advantage estimation (Schulman et al. 2016, 1506.02438). Those of the
  reward bootstrap at a time limit; those of a cost do not, as a cost after the cut is not counted;
- the factor from a mean over steps to an episode: dJ_C = T E[A_C ratio], T the mean length.
  `Experience.cost_advantage` is only centred, never divided by its standard deviation, so that T
  times its gradient is that of J_C.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from daedalus.accelerators.guards import check_gradients
from daedalus.accelerators.returns import gae
from daedalus.accelerators.rollout import Acted, Inputs, Rollout
from daedalus.agents.base import Spaces
from daedalus.agents.losses import explained_variance
from daedalus.agents.networks import flat_size, flatten, image_size, is_image
from daedalus.agents.policies import Gaussian, policy_for


@dataclass(frozen=True)
class ConstrainedConfig:
    """Settings that all constrained agents have."""

    cost_limit: float = 25.0
    """d: cost that an episode may have on average, the undiscounted sum of its steps."""
    n_steps: int = 200
    """Steps per rollout and environment; whole episodes make the estimate of their cost exact."""
    gamma: float = 0.99
    """Discount of rewards."""
    gae_lambda: float = 0.95
    """Decay of the reward's advantage estimate."""
    cost_gamma: float = 1.0
    """Discount in the cost's advantages; below 1 less noise and a bias. The limit knows none."""
    cost_lambda: float = 1.0
    """Decay of the cost's advantage estimate; the paper has 1 for points, 0.5 for ants."""
    net_arch: tuple[int, ...] = (64, 32)
    """Units of the tanh layers, of policy and values alike."""
    log_std: float = -0.5
    """Logarithm of the policy's standard deviation at the start (continuous actions)."""
    value_learning_rate: float = 3e-3
    """Step size of Adam for the values of reward and cost."""
    value_epochs: int = 8
    """Passes over the batch that the values are fitted with."""
    value_batch: int = 1000
    """Steps in a minibatch of the values' fit."""


class Policy(nn.Module):
    """Tanh layers to the parameters of a distribution; a Gaussian's deviation knows no state."""

    def __init__(self, inputs: int, action_space: Any, config: ConstrainedConfig) -> None:
        """Build with a last layer near zero, so that all actions begin alike."""
        super().__init__()
        self.distribution = policy_for(action_space)
        self.layers = _tanh_layers(inputs, config.net_arch, self.distribution.size)
        with torch.no_grad():
            for parameter in self.layers[-1].parameters():
                parameter.mul_(0.1)
            if isinstance(self.distribution, Gaussian):
                self.distribution.log_std.fill_(config.log_std)

    def forward(self, observation: Tensor) -> Tensor:
        """Map (N, D) to the distribution's outputs (N, size)."""
        result: Tensor = self.layers(observation)
        return result


class Values(nn.Module):
    """The values of the reward and of K costs: networks of their own, multiplied in one go.

    V = mean + std * network, with the targets' mean and standard deviation; when they are renewed
    the last layers change so that no value does (PopArt, van Hasselt et al. 2016, 1602.07714).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, hidden: tuple[int, ...], count: int) -> None:
        """Build ``count`` networks with the layers' usual start."""
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise((inputs, *hidden, 1)):
            bound = before**-0.5
            self.weights.append(torch.empty(count, before, after).uniform_(-bound, bound))
            self.biases.append(torch.empty(count, 1, after).uniform_(-bound, bound))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))

    def forward(self, rows: Tensor) -> Tensor:
        """Map (N, D) to values (count, N)."""
        return self.mean[:, None] + self.std[:, None] * self.normalised(rows)

    def normalised(self, rows: Tensor) -> Tensor:
        """Map (N, D) to what the networks say, (count, N)."""
        x = rows.expand(len(self.mean), *rows.shape)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = x if i == last else x.tanh()
        return x.squeeze(-1)

    @torch.no_grad()
    def renormalise(self, target: Tensor) -> None:
        """Take mean and deviation from ``target`` (count, N)."""
        mean, std = target.mean(1), target.std(1, correction=0).clamp(min=1e-3)
        scale, shift = self.std / std, (self.mean - mean) / std
        self.weights[-1].mul_(scale[:, None, None])
        self.biases[-1].mul_(scale[:, None, None]).add_(shift[:, None, None])
        self.mean.copy_(mean)
        self.std.copy_(std)


class Network(nn.Module):
    """A policy, and values of the reward and of each of K costs."""

    def __init__(self, spaces: Spaces, config: ConstrainedConfig, constraints: int = 1) -> None:
        """Build for vectors and discrete values.

        Raises:
            TypeError: An observation is an image, or the actions are of an unknown space.
        """
        super().__init__()
        self.spaces = spaces.observation
        for name, space in self.spaces.items():
            if is_image(space):
                size = " x ".join(str(side) for side in image_size(space))
                raise TypeError(
                    f"constrained agents see vectors, and {name!r} is an image of {size}: take ppo "
                    "or actor_critic (which know no limit), or an environment that gives a vector"
                )
        self.inputs = sum(flat_size(space) for space in self.spaces.values())
        self.policy = Policy(self.inputs, spaces.action, config)
        self.values = Values(self.inputs, config.net_arch, 1 + constraints)

    def flatten(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return observations as rows (N, D)."""
        return torch.cat([flatten(observation[n], s) for n, s in self.spaces.items()], 1)


def _tanh_layers(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    sizes = (inputs, *hidden)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class Experience(NamedTuple):
    """The N valid steps of a rollout, and what they say of episodes."""

    observation: Tensor  # (N, D)
    action: Tensor  # (N, ...)
    advantage: Tensor  # (N,), of the reward, centred
    cost_advantage: Tensor  # (K, N), centred
    target: Tensor  # (1 + K, N), what the values should be
    cost_return: np.ndarray  # float64 (K,), J_C: what is limited of an episode
    length: float  # steps of an episode
    metrics: dict[str, float]


class Learner:
    """Acts, judges rollouts and fits values; the agents decide how the policy moves."""

    def __init__(self, network: Network, config: ConstrainedConfig, num_envs: int) -> None:
        """Make the optimiser of the values and the counters."""
        self.network, self.config = network, config
        self.lengths = EpisodeLengths(num_envs)
        self.ledger = Ledger()
        parameters = network.values.parameters()
        self.optimizer = torch.optim.Adam(parameters, config.value_learning_rate, fused=True)

    def act(self, inputs: Inputs, generator: torch.Generator, deterministic: bool) -> Acted:
        """Sample or take the most likely actions; outside training with the reward's value."""
        extras = {}
        showing = not torch.is_grad_enabled()
        with torch.no_grad():
            rows = self.network.flatten(inputs.observation)
            output = self.network.policy(rows)
            if showing:
                extras = {"value": self.network.values(rows)[0]}
            policy = self.network.policy.distribution
            action = policy.mode(output) if deterministic else policy.sample(output, generator)
        return Acted(action, {}, extras)

    def judge(
        self, rollout: Rollout, reward: Tensor | None = None, cost: Tensor | None = None
    ) -> Experience:
        """Return what a rollout says of the policy that made it.

        Args:
            rollout: (T, B).
            reward: (T, B) to learn from instead of the rollout's.
            cost: (K, T, B) to limit instead of the rollout's.
        """
        cost = rollout.cost[None] if cost is None else cost
        reward = rollout.reward if reward is None else reward
        valid = rollout.valid
        length = self.lengths.update(rollout)
        value, following = self._values(rollout)
        signals = torch.cat([reward[None], cost])
        advantage = self._advantages(rollout, signals, value, following)[:, valid]
        target = advantage + value[:, valid]
        paid = signals[1:, valid].double().mean(1).cpu().numpy() * length
        gained = float(rollout.reward[valid].double().mean()) * length
        metrics = {"episode_return": gained, "episode_length": length}
        metrics["explained_variance"] = float(explained_variance(value[0][valid], target[0]))
        metrics["cost_explained_variance"] = float(explained_variance(value[1][valid], target[1]))
        spent = float(rollout.cost[valid].double().mean()) * length  # without any shaping
        rows = {name: x[:-1][valid] for name, x in rollout.observation.items()}
        centred = advantage - advantage.mean(1, keepdim=True)
        return Experience(
            self.network.flatten(rows),
            rollout.action[valid],
            centred[0],
            centred[1:],
            target,
            paid,
            length,
            metrics | self.ledger.pay(spent, self.config.cost_limit),
        )

    @torch.no_grad()
    def _values(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Return V(s_t) and V of the true successors, (1 + K, T, B) each."""
        steps, envs = rollout.reward.shape
        rows = {name: x.flatten(0, 1) for name, x in rollout.observation.items()}
        value = self.network.values(self.network.flatten(rows)).view(-1, steps + 1, envs)
        following = value[:, 1:].clone()
        if len(rollout.final_index):
            t, b = rollout.final_index.unbind(1)
            last = self.network.flatten(rollout.final_observation)
            following[:, t, b] = self.network.values(last)
        return value[:, :-1], following

    def _advantages(
        self, rollout: Rollout, signals: Tensor, value: Tensor, following: Tensor
    ) -> Tensor:
        """Return advantages (1 + K, T, B): of the reward, and of costs that end with an episode."""
        config = self.config
        over = rollout.terminated | rollout.truncated
        rest = torch.zeros_like(over)
        found = []
        for i, (signal, v, w) in enumerate(zip(signals, value, following, strict=True)):
            ends = (over, rest) if i else (rollout.terminated, rollout.truncated)
            arrays = (x.cpu().numpy() for x in (signal, v, w, *ends))
            decay = (config.cost_gamma, config.cost_lambda)
            found.append(gae(*arrays, *(decay if i else (config.gamma, config.gae_lambda))))
        return torch.from_numpy(np.stack(found)).to(value.device)

    def fit(self, experience: Experience, rng: np.random.Generator) -> dict[str, float]:
        """Fit the values to their targets; return the mean loss in normalised units.

        Raises:
            NotFiniteError: The loss or a gradient is not finite; no value has changed by it.
        """
        values, total, count = self.network.values, 0.0, 0
        values.renormalise(experience.target)
        wanted = (experience.target - values.mean[:, None]) / values.std[:, None]
        for rows in minibatches(len(experience.advantage), self.config, rng):
            index = torch.from_numpy(rows).to(wanted.device)
            error = values.normalised(experience.observation[index]) - wanted[:, index]
            loss = 0.5 * error.square().mean(1).sum()
            self.optimizer.zero_grad()
            loss.backward()
            slopes = [p.grad for p in values.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(slopes)
            check_gradients(values.named_parameters, loss, norm)
            self.optimizer.step()
            total, count = total + float(loss.detach()), count + 1
        return {"value_loss": total / max(count, 1)}


def minibatches(
    count: int, config: ConstrainedConfig, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Return the rows of each minibatch of ``value_epochs`` passes over ``count`` steps."""
    parts = max(1, round(count / config.value_batch))
    for _ in range(config.value_epochs):
        yield from np.array_split(rng.permutation(count), parts)


class EpisodeLengths:
    """The mean length of the episodes that ended in the latest rollout where any did."""

    def __init__(self, num_envs: int) -> None:
        """Begin with no episode."""
        self.running = np.zeros(num_envs, np.int64)
        self.mean = 0.0

    def update(self, rollout: Rollout) -> float:
        """Count the steps of ``rollout`` and return the mean length.

        Before any episode has ended it is that of the running ones so far: a lower bound.
        """
        counted = rollout.valid.cpu().numpy().cumsum(0)
        self.running[rollout.episode_start[0].cpu().numpy()] = 0
        base, lengths = -self.running, []
        for t, b in rollout.final_index.tolist():
            lengths.append(int(counted[t, b] - base[b]))
            base[b] = counted[t, b]
        self.running = counted[-1] - base
        if lengths:
            self.mean = float(np.mean(lengths))
        return self.mean or float(self.running.mean())

    def get_state(self) -> dict[str, np.ndarray]:
        """Return everything for a checkpoint."""
        return {"running": self.running.copy(), "mean": np.array(self.mean)}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `get_state` returned."""
        self.running = np.array(state["running"])
        self.mean = float(state["mean"])


class Ledger(nn.Module):
    """What training has paid so far; part of a checkpoint."""

    updates: Tensor
    violations: Tensor
    worst: Tensor
    cases: Tensor
    multiplier: Tensor

    def __init__(self) -> None:
        """Begin with nothing paid."""
        super().__init__()
        for name, size in (("updates", 1), ("violations", 1), ("worst", 1), ("cases", 5)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))
        self.register_buffer("multiplier", torch.zeros(1, dtype=torch.float64))

    def pay(self, cost: float, limit: float) -> dict[str, float]:
        """Enter the cost of an episode of this batch; return what to log."""
        self.updates += 1
        self.violations += cost > limit
        self.worst.clamp_(min=cost)
        share = float(self.violations / self.updates)
        return {
            "cost_return": cost,
            "cost_limit": limit,
            "violation_rate": share,
            "worst_cost_return": float(self.worst),
        }

    def price(self, step: float, excess: float) -> float:
        """Move the multiplier of a primal-dual agent: nu <- max(0, nu + step * excess)."""
        self.multiplier += step * excess
        self.multiplier.clamp_(min=0.0)
        return float(self.multiplier)
