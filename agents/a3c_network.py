"""The network that `actor_critic`, `unreal` and `nav` share: encoder, memory, policy and value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daedalus.accelerators.rollout import Inputs, State
from daedalus.agents.base import Spaces
from daedalus.agents.consolidation import Consolidated
from daedalus.agents.networks import Encoder, Known, dtype_of, flat_size, flatten, orthogonal
from daedalus.agents.policies import policy_for
from daedalus.agents.recurrent import LSTM, Recorded


@dataclass(frozen=True)
class A3CConfig(Consolidated):
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
    precision: str = "float32"
    """What encoder and LSTM multiply in: "float32", or "bfloat16" where the processor has it."""
    feed_back: bool = True
    """Give the LSTM the previous action and reward."""
    reuse_acting: bool = True
    """Keep the forward pass of acting for the update instead of computing it again."""
    task_gains: bool = False
    """Gains and biases of each task's own, where observations tell tasks apart."""
    fisher_exact: bool = True
    """Take the Fisher information over all actions of a Discrete space, not a drawn one."""
    fisher_value: float = 1.0
    """Share of the value's Fisher information beside the policy's; 1 for its weight in the loss."""


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


class TaskCore(nn.Module):
    """Gains and biases of each task's own on every unit: f(gain_task x + bias_task).

    Those of other tasks stay as they are while a task is learnt (Kirkpatrick et al. 2017,
    1612.00796, supplement 4.2, has them in every layer; here the last hidden layer has them, and
    the one-hot task among the inputs is a bias of the first).
    """

    def __init__(self, features: int, tasks: int) -> None:
        """Start with gains of 1 and biases of 0."""
        super().__init__()
        self.size = features
        self.gain = nn.Parameter(torch.ones(tasks, features))
        self.bias = nn.Parameter(torch.zeros(tasks, features))

    def initial_state(self, num_envs: int) -> State:
        """Return nothing."""
        return {}

    def step(
        self, features: Tensor, inputs: Inputs, state: State
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Return the features (B, H) as their tasks have them."""
        task = inputs.observation["task"]
        return F.relu(features * (task @ self.gain) + task @ self.bias), {}, {}

    def unroll(self, features: Tensor, inputs: Inputs, state: State, known: Known | None) -> Tensor:
        """Return the features (T, B, H) as their tasks have them."""
        return self.step(features, inputs, state)[0]


class LSTMCore(nn.Module):
    """One LSTM over the features, the one-hot previous action and the previous reward."""

    def __init__(
        self,
        features: int,
        hidden: int,
        spaces: Spaces,
        feed_back: bool,
        precision: str = "float32",
    ) -> None:
        """Build for ``features`` inputs."""
        super().__init__()
        self.size = hidden
        self.action_space = spaces.action
        self.feed_back = feed_back
        extra = flat_size(spaces.action) + 1 if feed_back else 0
        self.lstm = LSTM(features + extra, hidden, dtype_of(precision))

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
        self.encoder = Encoder(spaces.observation, config.hidden, config.torso, config.precision)
        if core is not None:
            self.core = core
        elif config.task_gains:
            if config.lstm or "task" not in spaces.observation:
                raise ValueError(
                    "task_gains needs observations that tell the task (task_id: known) and lstm = 0"
                )
            self.core = TaskCore(config.hidden, spaces.observation["task"].shape[0])  # type: ignore[index]
        elif config.lstm:
            self.core = LSTMCore(
                config.hidden, config.lstm, spaces, config.feed_back, config.precision
            )
        else:
            self.core = FeedForwardCore(config.hidden)
        self.distribution = policy_for(spaces.action)
        self.actor = orthogonal(nn.Linear(self.core.size, self.distribution.size), 0.01)
        self.critic = orthogonal(nn.Linear(self.core.size, 1), 1.0)

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
