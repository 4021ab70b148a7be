"""What `cpo`, `pdo`, `trpo_penalty` and `ppo_lagrangian` share: costs, advantages, values.

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

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from daedalus.accelerators.returns import gae
from daedalus.accelerators.rollout import Inputs, Outputs, Rollout, State
from daedalus.agents.base import Acted, Agent
from daedalus.agents.consolidation import Likelihoods, consolidation_from
from daedalus.agents.constrained_network import ConstrainedConfig, Network, TrustRegionConfig
from daedalus.agents.losses import explained_variance
from daedalus.agents.optimizers import Adam
from daedalus.agents.policy_fisher import row_likelihoods
from daedalus.agents.settings import above_zero
from daedalus.agents.vector_network import fit_values, minibatches


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
    """Judges rollouts and fits values; the agents decide how the policy moves."""

    def __init__(self, network: Network, config: ConstrainedConfig, num_envs: int) -> None:
        """Make the optimiser of the values and the counters."""
        self.network, self.config = network, config
        self.lengths = EpisodeLengths(num_envs)
        self.ledger = Ledger()
        parameters = network.values.parameters()
        self.optimizer = Adam(parameters, config.value_learning_rate, fused=True)

    def outputs(self, inputs: Inputs, state: State) -> Outputs:
        """Return logits or means, values and activations; see `Agent.outputs`."""
        return self.network.outputs(inputs, state)

    def judge(
        self,
        rollout: Rollout,
        reward: Tensor | None = None,
        cost: Tensor | None = None,
        extra: Sequence[str] = (),
    ) -> Experience:
        """Return what a rollout says of the policy that made it.

        Args:
            rollout: (T, B).
            reward: (T, B) to learn from instead of the rollout's.
            cost: (K, T, B) to limit instead of the rollout's.
            extra: Names of all costs but the first.
        """
        cost = rollout.cost[None] if cost is None else cost
        reward = rollout.reward if reward is None else reward
        valid = rollout.valid
        length = self.lengths.update(rollout)
        value, following = self.network.judge(rollout)
        signals = torch.cat([reward[None], cost])
        advantage = self._advantages(rollout, signals, value, following)[:, valid]
        target = advantage + value[:, valid]
        paid = signals[1:, valid].double().mean(1).cpu().numpy() * length
        gained = float(rollout.reward[valid].double().mean()) * length
        metrics = {"episode_return": gained, "episode_length": length}
        for i, name in enumerate(("", "cost_", *(f"{name}_" for name in extra))):
            explained = explained_variance(value[i][valid], target[i])
            metrics[f"{name}explained_variance"] = float(explained)
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
        values, count = self.network.values, len(experience.advantage)
        parts = minibatches(count, self.config.value_epochs, self.config.value_batch, rng)
        target = experience.target
        loss = fit_values(values, self.optimizer, experience.observation, target, parts)
        return {"value_loss": loss}


class ConstrainedAgent(Agent):
    """An agent that judges by `Learner`; subclasses say how the policy moves."""

    default_num_envs = 50
    costs = 1

    def build(self) -> None:
        """Make policy and values, one for the return and each of ``costs``.

        Raises:
            ValueError: A setting is out of its range.
        """
        if isinstance(self.config, TrustRegionConfig):
            above_zero(self.name, self.config, "delta")
        network = Network(self.spaces, self.config, self.costs).to(self.device)
        self.learner = Learner(network, self.config, self.num_envs)
        self.modules = {"network": network, "ledger": self.learner.ledger}
        self.optimizers = {"values": self.learner.optimizer}
        self.stores = {"lengths": self.learner.lengths}
        self.consolidation = consolidation_from(self.config, network.policy.parameters())

    def likelihoods(self) -> Likelihoods:
        """Yield log-likelihoods of the policy at the end of a task."""
        return row_likelihoods(self, self.learner.network)

    def finish_task(self, task: str) -> None:
        """End the training of a task: the next one has lengths and a price of its own."""
        super().finish_task(task)
        self.learner.lengths.forget()
        self.learner.ledger.multiplier.fill_(getattr(self.config, "multiplier_start", 0.0))

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Sample actions, or take the most likely."""
        return self.learner.network.act(inputs, self.generators["act"], deterministic)


class EpisodeLengths:
    """The mean length of the episodes that ended in the latest rollout where any did."""

    def __init__(self, num_envs: int) -> None:
        """Begin with no episode."""
        self.running = np.zeros(num_envs, np.int64)
        self.mean, self.warned = 0.0, False

    def update(self, rollout: Rollout) -> float:
        """Count the steps of ``rollout`` and return the mean length.

        Before any episode has ended it is that of the running ones so far: a lower bound, of which
        a warning tells.
        """
        counted = rollout.valid.cpu().numpy().cumsum(0)
        if len(self.running) != counted.shape[1]:  # another task's environments
            self.running = np.zeros(counted.shape[1], np.int64)
        self.running[rollout.episode_start[0].cpu().numpy()] = 0
        base, lengths = -self.running, []
        for t, b in rollout.final_index.tolist():
            lengths.append(int(counted[t, b] - base[b]))
            base[b] = counted[t, b]
        self.running = counted[-1] - base
        if lengths:
            self.mean = float(np.mean(lengths))
        if not self.mean and not self.warned:
            self.warned = True
            warnings.warn(
                f"no episode has ended in a rollout of {len(counted)} steps: until one does, costs "
                "are those of as many steps as were played, so the limit is taken for a wider one; "
                "set n_steps to an episode",
                stacklevel=2,
            )
        return self.mean or float(self.running.mean())

    def forget(self) -> None:
        """Begin with no episode again."""
        self.running[:], self.mean = 0, 0.0

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
