"""The synchronous A3C that `actor_critic`, `unreal` and `nav` share: network, loss, step.

L = sum_t [ -log pi(a_t|s_t) sg(R_t - V_t) + 0.5 c_v (R_t - V_t)^2 - beta H(pi(.|s_t)) ]

summed over the T steps of a rollout and averaged over its B environments; R_t is the n-step return
to the end of the rollout (Mnih et al. 2016, 1602.01783).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daedalus.accelerators.guards import check_gradients
from daedalus.accelerators.returns import n_step_return
from daedalus.accelerators.rollout import Acted, Inputs, Rollout, State
from daedalus.agents.base import Metric, Spaces
from daedalus.agents.losses import actor_critic_loss, explained_variance
from daedalus.agents.networks import Encoder, Known, flat_size, flatten
from daedalus.agents.optimizers import RMSProp
from daedalus.agents.policies import policy_for
from daedalus.agents.recurrent import LSTM, Recorded


@dataclass(frozen=True)
class A3CConfig:
    """Settings of the synchronous A3C."""

    n_steps: int = 20
    """Steps per rollout and environment."""
    gamma: float = 0.99
    """Discount."""
    learning_rate: float = 2e-3
    """Step size of RMSProp at the start."""
    anneal: bool = True
    """Let the learning rate fall linearly to 0 at the end of training."""
    entropy_weight: float = 0.003
    """beta: weight of the entropy bonus."""
    value_weight: float = 0.5
    """c_v: weight of the value loss, which has a factor 0.5 of its own."""
    max_gradient_norm: float = 40.0
    """Longer gradients are scaled to this norm; 0 for no limit."""
    rmsprop_decay: float = 0.99
    """Decay of RMSProp's mean square."""
    rmsprop_epsilon: float = 1e-5
    """RMSProp's epsilon; 0.1 in the original, for gradients of single workers."""
    epsilon_inside: bool = True
    """Keep epsilon inside the square root, as the original A3C does."""
    rmsprop_corrected: bool = True
    """Correct RMSProp's mean square for its start from zero; the original does not."""
    reward_clip: float = 0.0
    """Clip rewards to +- this before learning from them and feeding them back; 0 for never."""
    hidden: int = 256
    """Units of the fully connected layer."""
    lstm: int = 256
    """Units of the LSTM; 0 for a feed-forward agent."""
    torso: str = "a3c"
    """Convolutions: "a3c" (two, by resolution) or "nature" (three)."""
    feed_back: bool = True
    """Give the LSTM the previous action and reward."""
    reuse_acting: bool = True
    """Keep the forward pass of acting for the update instead of computing it again."""


class Core(Protocol):
    """What stands between the encoder's features and the heads."""

    size: int

    def initial_state(self, num_envs: int) -> State:
        """Return zeros, (num_envs, ...)."""

    def step(
        self, features: Tensor, inputs: Inputs, state: State
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Take one step without a graph; also return what `unroll` may reuse."""

    def unroll(self, features: Tensor, inputs: Inputs, state: State, known: Known | None) -> Tensor:
        """Map features (T, B, F) to outputs (T, B, size)."""


class FeedForwardCore(nn.Module):
    """No memory: the features are the output."""

    def __init__(self, features: int) -> None:
        """Pass ``features`` on."""
        super().__init__()
        self.size = features

    def initial_state(self, num_envs: int) -> State:
        """Return nothing."""
        return {}

    def step(
        self, features: Tensor, inputs: Inputs, state: State
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Return the features."""
        return features, {}, {}

    def unroll(self, features: Tensor, inputs: Inputs, state: State, known: Known | None) -> Tensor:
        """Return the features."""
        return features


class LSTMCore(nn.Module):
    """One LSTM over the features, the one-hot previous action and the previous reward."""

    def __init__(self, features: int, hidden: int, spaces: Spaces, feed_back: bool) -> None:
        """Build for ``features`` inputs."""
        super().__init__()
        self.size = hidden
        self.action_space = spaces.action
        self.feed_back = feed_back
        extra = flat_size(spaces.action) + 1 if feed_back else 0
        self.lstm = LSTM(features + extra, hidden)

    def initial_state(self, num_envs: int) -> State:
        """Return zeros."""
        zeros = self.lstm.bias.new_zeros(num_envs, self.size)
        return {"h": zeros, "c": zeros}

    def _input(self, features: Tensor, inputs: Inputs) -> Tensor:
        if not self.feed_back:
            return features
        return torch.cat([features, *fed_back(inputs, self.action_space)], -1)

    def step(
        self, features: Tensor, inputs: Inputs, state: State
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Take one step."""
        x = self._input(features, inputs)
        h, c, gates = self.lstm.step(x, state["h"], state["c"], inputs.episode_start)
        return h, {"h": h, "c": c}, {"lstm/output": h, "lstm/gates": gates, "lstm/cell": c}

    def unroll(self, features: Tensor, inputs: Inputs, state: State, known: Known | None) -> Tensor:
        """Run over T steps."""
        x = self._input(features, inputs)
        recorded = recorded_lstm(known, "lstm")
        return self.lstm(x, state["h"], state["c"], inputs.episode_start, recorded)  # type: ignore[no-any-return]


def recorded_lstm(known: Known | None, name: str) -> Recorded | None:
    """Return what a core kept of the LSTM ``name`` while acting."""
    if known is None:
        return None
    return Recorded(*(list(known[f"{name}/{part}"]) for part in Recorded._fields))


def fed_back(inputs: Inputs, space: Any) -> tuple[Tensor, Tensor]:
    """Return previous action (..., A) and reward (..., 1), zero at the start of an episode."""
    lead = inputs.episode_start.shape
    rows = inputs.previous_action.reshape(-1, *inputs.previous_action.shape[len(lead) :])
    action = flatten(rows, space).view(*lead, -1)
    keep = (~inputs.episode_start).unsqueeze(-1)
    return action * keep, inputs.previous_reward.unsqueeze(-1) * keep


class Unrolled(NamedTuple):
    """The network over (T, B)."""

    encoded: Tensor  # (T, B, E), convolved images
    features: Tensor  # (T, B, F), after the fully connected layer
    output: Tensor  # (T, B, H), of the core
    policy: Tensor  # (T, B, P), parameters of the distribution
    value: Tensor  # (T, B)


class A3CNetwork(nn.Module):
    """Encoder, core, policy and value."""

    def __init__(self, spaces: Spaces, config: A3CConfig, core: Any = None) -> None:
        """Build for ``spaces``; by default with the core that ``config.lstm`` asks for."""
        super().__init__()
        self.encoder = Encoder(spaces.observation, config.hidden, config.torso)
        if core is not None:
            self.core = core
        elif config.lstm:
            self.core = LSTMCore(config.hidden, config.lstm, spaces, config.feed_back)
        else:
            self.core = FeedForwardCore(config.hidden)
        self.distribution = policy_for(spaces.action)
        self.actor = _small(nn.Linear(self.core.size, self.distribution.size), 0.01)
        self.critic = _small(nn.Linear(self.core.size, 1), 1.0)

    def step(
        self, inputs: Inputs, state: State, keep: bool
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Take one step without a graph.

        Args:
            inputs: (B, ...).
            state: Of the core.
            keep: Also return what `unroll` can reuse.

        Returns:
            The core's output (B, H), its state, and what was kept.
        """
        features, kept = self.encoder.step(inputs.observation)
        with torch.no_grad():
            output, state, recorded = self.core.step(features, inputs, state)
        return output, state, {**kept, **recorded} if keep else {}

    def unroll(self, inputs: Inputs, state: State, known: Known | None = None) -> Unrolled:
        """Run over (T, B) inputs, reusing what `step` kept of them: ``known``."""
        steps, batch = inputs.episode_start.shape
        flat = {name: value.flatten(0, 1) for name, value in inputs.observation.items()}
        encoded = self.encoder.encode(flat, known)
        features = self.encoder(encoded, known).view(steps, batch, -1)
        output = self.core.unroll(features, inputs, state, known)
        policy, value = self.heads(output)
        return Unrolled(encoded.view(steps, batch, -1), features, output, policy, value)

    def heads(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return policy (..., P) and value (...) by one product: they read the same rows."""
        weight = torch.cat([self.actor.weight, self.critic.weight])
        both = F.linear(output, weight, torch.cat([self.actor.bias, self.critic.bias]))
        return both[..., :-1], both[..., -1]


def _small(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Learner:
    """Acts and learns with an `A3CNetwork`; agents add their own losses to its loss."""

    def __init__(self, network: A3CNetwork, config: A3CConfig, heads: nn.Module | None = None):
        """Make the optimiser of ``network`` and of the ``heads`` of auxiliary tasks."""
        self.network, self.config, self.heads = network, config, heads
        parameters = [*network.parameters(), *(heads.parameters() if heads else [])]
        self.optimizer = RMSProp(
            parameters,
            config.learning_rate,
            config.rmsprop_decay,
            config.rmsprop_epsilon,
            config.epsilon_inside,
            config.rmsprop_corrected,
        )
        self._version = 0
        self._kept = -1

    def act(
        self, inputs: Inputs, state: State, generator: torch.Generator, deterministic: bool
    ) -> Acted:
        """Sample (or take the most likely) actions; keeps graphs if gradients are enabled.

        Without gradients, so outside training, the extras hold the values ``"value"`` (B,) to show.
        """
        training = torch.is_grad_enabled()
        keep = self.config.reuse_acting and training
        self._kept = self._version if keep else -1
        output, state, extras = self.network.step(self.clip(inputs), state, keep)
        with torch.no_grad():
            parameters = self.network.actor(output)
            policy = self.network.distribution
            chosen = (
                policy.mode(parameters) if deterministic else policy.sample(parameters, generator)
            )
            if not training:
                extras = {"value": self.network.critic(output).squeeze(-1)}
        return Acted(chosen, state, extras)

    def clip(self, inputs: Inputs) -> Inputs:
        """Return ``inputs`` with the reward clipped as the losses see it."""
        limit = self.config.reward_clip
        if limit <= 0:
            return inputs
        return inputs._replace(previous_reward=inputs.previous_reward.clamp(-limit, limit))

    def prepare(self, rollout: Rollout) -> Rollout:
        """Clip the rewards of ``rollout``; all losses start from this."""
        limit = self.config.reward_clip
        if limit <= 0:
            return rollout
        return rollout._replace(
            reward=rollout.reward.clamp(-limit, limit),
            previous_reward=rollout.previous_reward.clamp(-limit, limit),
        )

    def value(self, inputs: Inputs, state: State) -> Tensor:
        """Return the values (N,) of ``inputs``, without a graph."""
        with torch.no_grad():
            output, _, _ = self.network.step(self.clip(inputs), state, keep=False)
            value: Tensor = self.network.critic(output).squeeze(-1)
            return value

    def next_value(self, rollout: Rollout) -> Tensor:
        """Return (T, B): the bootstrap values of the last step and of truncated ones, in one call.

        Zero elsewhere: `n_step_return` reads nothing else.
        """
        result = torch.zeros_like(rollout.reward)
        last, final = rollout.last_inputs, rollout.final_inputs
        t, b = rollout.final_index.unbind(1)
        cut = rollout.truncated[t, b] & ~rollout.terminated[t, b]
        if not bool(cut.any()):
            result[-1] = self.value(last, rollout.state)
            return result
        rows = cut.nonzero().squeeze(1)
        values = self.value(
            _join(last, final, rows),
            {k: torch.cat([v, rollout.final_state[k][rows]]) for k, v in rollout.state.items()},
        )
        count = len(values) - len(rows)
        result[-1] = values[:count]
        result[t[rows], b[rows]] = values[count:]
        return result

    def returns(self, rollout: Rollout) -> Tensor:
        """Return the n-step returns (T, B) of a prepared rollout."""
        arrays = (
            value.cpu().numpy()
            for value in (
                rollout.reward,
                rollout.terminated,
                rollout.truncated,
                self.next_value(rollout),
            )
        )
        return torch.from_numpy(n_step_return(*arrays, self.config.gamma)).to(rollout.reward.device)

    def loss(self, rollout: Rollout) -> tuple[Tensor, Unrolled, dict[str, Metric]]:
        """Return A3C's loss of a prepared rollout, the unrolled network and what to log."""
        returns = self.returns(rollout)
        unrolled = self.network.unroll(
            sequence_inputs(rollout), rollout.initial_state, self._recorded(rollout)
        )
        policy, action = self.network.distribution, rollout.action.flatten(0, 1)
        log_pi, entropy = policy.log_prob_entropy(unrolled.policy.flatten(0, 1), action)
        shape = rollout.reward.shape
        terms = actor_critic_loss(
            log_pi.view(shape), entropy.view(shape), unrolled.value, returns, rollout.valid
        )
        value, entropy = unrolled.value.detach(), entropy.detach()
        metrics: dict[str, Metric] = {
            "policy_loss": terms.policy.detach(),
            "value_loss": terms.value.detach(),
            "entropy": entropy.mean,
            "explained_variance": lambda: explained_variance(value, returns),
            "value": value.mean,
        }
        total = terms.total(self.config.value_weight, self.config.entropy_weight)
        return total, unrolled, metrics

    def _recorded(self, rollout: Rollout) -> Known | None:
        """Return what acting kept, if the parameters are still those it acted with."""
        return rollout.extras if self._kept == self._version else None

    def _named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.network.named_parameters("network")
        if self.heads is not None:
            yield from self.heads.named_parameters("heads")

    def apply(self, loss: Tensor, progress: float) -> dict[str, Metric]:
        """Take a step down the gradient of ``loss``.

        Args:
            loss: 0-d.
            progress: Share of training that is done, for annealing.

        Raises:
            NotFiniteError: The loss or a gradient is not finite; no weight has changed.
        """
        optimizer, config = self.optimizer, self.config
        rate = config.learning_rate * (max(0.0, 1.0 - progress) if config.anneal else 1.0)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        norm = optimizer.norm()
        check_gradients(self._named_parameters, loss, norm)
        optimizer.clip(norm, config.max_gradient_norm)
        optimizer.step()
        self._version += 1
        return {"loss": loss.detach(), "gradient_norm": norm, "learning_rate": rate}


def sequence_inputs(rollout: Rollout) -> Inputs:
    """Return what the agent saw at steps 0 .. T-1, (T, B, ...)."""
    return Inputs(
        {name: value[:-1] for name, value in rollout.observation.items()},
        rollout.previous_action[:-1],
        rollout.previous_reward[:-1],
        rollout.episode_start[:-1],
    )


def _join(first: Inputs, second: Inputs, rows: Tensor) -> Inputs:
    """Return ``first`` followed by ``rows`` of ``second``."""
    observation = {
        name: torch.cat([value, second.observation[name][rows]])
        for name, value in first.observation.items()
    }
    rest = (torch.cat([a, b[rows]]) for a, b in zip(first[1:], second[1:], strict=True))
    return Inputs(observation, *rest)


def seeded_progress(num_timesteps: int, total_timesteps: int) -> float:
    """Return the share of training that is done, in [0, 1]."""
    return float(np.clip(num_timesteps / max(total_timesteps, 1), 0.0, 1.0))
