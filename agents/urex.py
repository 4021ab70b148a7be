"""UREX: exploring under-appreciated rewards (Nachum, Norouzi and Schuurmans 2017, 1611.09321).

For instances h of a task, whole sequences of actions a and their sums of rewards r(a|h):

    O_UREX = E_h [ sum_a pi(a|h) r(a|h) + tau sum_a pi*(a|h) log pi(a|h) ],  pi* ~ exp(r / tau)
    O_MENT = E_h [ sum_a pi(a|h) (r(a|h) - tau log pi(a|h)) ]

The second term of UREX pulls the policy towards all sequences that deserve more than it gives them.
K sequences of the same instance estimate it by self-normalised importance weights:

    w_k = softmax_k(r_k / tau - log pi(a_k|h))
    grad = 1/N sum_n sum_k grad log pi(a_k|h_n) [ (r_k - mean r) / K + tau w_k ]

log pi is that of a sequence: summed over its steps and over the components of its actions. MENT,
the baseline (``objective="ment"``), has (s_k - mean s) / K with s = r - tau log pi in the bracket;
with tau 0 it is REINFORCE. Where this differs from the paper:

- the K environments of a group begin an episode in the same state
  (`daedalus.accelerators.instances`), play it to its end and wait for the others, which counts as
  steps, too: most of them, while a tape ends at the first mistakes;
- tau w_k is centred to tau (w_k - 1/K), as in the authors' code: the mean of the gradient's second
  part, tau, times that of grad log pi, which is 0, only adds noise (``centre``);
- the LSTM sees the encoded observation and the previous reward besides the previous action;
- a time limit ends a sequence: what counts is the reward so far, and nothing is bootstrapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from daedalus.accelerators.instances import SharedInstances
from daedalus.agents.a3c_network import LSTMCore
from daedalus.agents.base import Acted, Agent, Inputs, Metric, Metrics, Rollout, Spaces, State
from daedalus.agents.consolidation import Consolidated, Likelihoods, consolidation_from
from daedalus.agents.networks import Encoder
from daedalus.agents.optimizers import Adam, descend
from daedalus.agents.policies import policy_for
from daedalus.agents.policy_fisher import history, observed_steps, policy_outcomes


@dataclass(frozen=True)
class Config(Consolidated):
    """Settings of `UREX`."""

    samples: int = 10
    """K: sequences of one instance; the environments must be a multiple of it."""
    tau: float = 0.1
    """Temperature, in units of the reward; the weight of the second term."""
    objective: str = "urex"
    """What is maximised: "urex", or "ment" for the entropy-regularised baseline."""
    centre: bool = True
    """Subtract its mean from tau w, as the authors' code does."""
    n_steps: int = 100
    """Steps after which a sequence is cut; rollouts are as long as sequences need."""
    learning_rate: float = 1e-2
    """Step size of Adam; the paper's grid has 0.1, 0.01 and 0.001."""
    adam_epsilon: float = 2e-4
    """Adam's epsilon, of the authors' code."""
    max_gradient_norm: float = 50.0
    """Longer gradients are scaled to this norm, 0 for no limit; the paper's grid has 1, 10, 40 and
    100."""
    hidden: int = 64
    """Units of the encoder's fully connected layers."""
    lstm: int = 128
    """Units of the LSTM."""


class Network(nn.Module):
    """Encoder, LSTM, policy; no value: the baseline is the mean over a group."""

    def __init__(self, spaces: Spaces, config: Config) -> None:
        """Build for ``spaces``."""
        super().__init__()
        self.encoder = Encoder(spaces.observation, config.hidden)
        self.core = LSTMCore(config.hidden, config.lstm, spaces, feed_back=True)
        self.distribution = policy_for(spaces.action)
        self.actor = nn.Linear(config.lstm, self.distribution.size)
        nn.init.orthogonal_(self.actor.weight, 0.01)
        nn.init.zeros_(self.actor.bias)

    def forward(self, inputs: Inputs, state: State) -> Tensor:
        """Return the policy's parameters (T, B, P) of inputs (T, B, ...)."""
        flat = {name: value.flatten(0, 1) for name, value in inputs.observation.items()}
        features = self.encoder(self.encoder.encode(flat))
        shape = inputs.episode_start.shape
        output: Tensor = self.actor(
            self.core.unroll(features.view(*shape, -1), inputs, state, None)
        )
        return output


# -------------------------------------------------------------------------------------- the losses


def importance_weights(log_prob: Tensor, reward: Tensor, tau: float) -> Tensor:
    """Return w_k = softmax_k(r_k / tau - log pi_k), constants that sum to 1 in each row.

    Args:
        log_prob: (N, K), of whole sequences.
        reward: (N, K), their sums of rewards.
        tau: Temperature, positive.
    """
    return (reward / tau - log_prob.detach()).softmax(1)


def urex_coefficients(log_prob: Tensor, reward: Tensor, tau: float, centre: bool) -> Tensor:
    """Return (r_k - mean r) / K + tau w_k, the coefficients (N, K) of grad log pi.

    Args:
        log_prob: (N, K).
        reward: (N, K).
        tau: Temperature, positive.
        centre: tau (w_k - 1/K) in place of tau w_k.
    """
    count = reward.shape[1]
    weights = importance_weights(log_prob, reward, tau) - (1.0 / count if centre else 0.0)
    return (reward - reward.mean(1, keepdim=True)) / count + tau * weights


def ment_coefficients(log_prob: Tensor, reward: Tensor, tau: float) -> Tensor:
    """Return (s_k - mean s) / K with s = r - tau log pi, (N, K); arguments as above."""
    score = reward - tau * log_prob.detach()
    return (score - score.mean(1, keepdim=True)) / reward.shape[1]


def sequence_loss(log_prob: Tensor, coefficient: Tensor, counts: Tensor) -> Tensor:
    """Return minus the mean over instances of sum_k coefficient_k log pi_k, 0-d.

    Args:
        log_prob: (N, K).
        coefficient: (N, K), constants.
        counts: bool (N,), the instances that count.
    """
    row = (coefficient.detach() * log_prob).sum(1)
    return -(row * counts).sum() / counts.sum().clamp(min=1)


def by_length(lengths: Tensor) -> list[tuple[int, Tensor]]:
    """Sort sequences by how often their length (B,) doubles, that few steps are computed in vain.

    Returns:
        For each sort, its greatest length and its rows (B',); sequences have at least one step.
    """
    doublings = lengths.double().log2().ceil()
    sorts = [(doublings == count).nonzero().squeeze(1) for count in doublings.unique()]
    return [(int(lengths[rows].max()), rows) for rows in sorts]


# --------------------------------------------------------------------------------------- the agent


class UREX(Agent):
    """Policy gradient that also imitates its own under-appreciated sequences."""

    name = "urex"
    Config: ClassVar[type[Any]] = Config
    default_num_envs: ClassVar[int] = 400

    def wrapped(self, batch: Any) -> Any:
        """Return environments that begin in groups of ``samples`` in the same state."""
        return SharedInstances(batch, self.config.samples, self.config.n_steps + 1)

    def build(self) -> None:
        """Make network and optimiser.

        Raises:
            ValueError: Unknown ``objective``, or a ``tau`` that it cannot have.
        """
        config = self.config
        if config.objective not in ("urex", "ment"):
            raise ValueError(f"objective must be 'urex' or 'ment', got {config.objective!r}")
        if config.tau < 0 or (config.tau == 0 and config.objective == "urex"):
            raise ValueError(f"{config.objective} cannot have tau={config.tau}; 0.1 is usual")
        self.network = Network(self.spaces, config).to(self.device)
        rate, epsilon = config.learning_rate, config.adam_epsilon
        self.optimizer = Adam(self.network.parameters(), rate, eps=epsilon)
        self.modules = {"network": self.network}
        self.optimizers = {"adam": self.optimizer}
        self.consolidation = consolidation_from(config, self.network.parameters())

    @property
    def rollout_length(self) -> int:
        """Steps of the next rollout: what the instances need, and one that begins the next."""
        if isinstance(self.batch, SharedInstances):
            return self.batch.horizon
        return int(self.config.n_steps)

    def get_env(self) -> Any:
        """Return the environments, ungrouped, as an SB3 ``VecEnv``, or None."""
        if not isinstance(self.batch, SharedInstances):
            return None
        from daedalus.accelerators.sb3_vec_env import as_vec_env

        return as_vec_env(self.batch.batch)

    def initial_state(self, num_envs: int) -> State:
        """Return the LSTM's zeros."""
        state: State = self.network.core.initial_state(num_envs)
        return state

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Sample actions, or take the most likely."""
        network = self.network
        features, _ = network.encoder.step(inputs.observation)
        output, state, _ = network.core.step(features, inputs, state)
        with torch.no_grad():
            parameters = network.actor(output)
        if deterministic:
            return Acted(network.distribution.mode(parameters), state, {})
        return Acted(network.distribution.sample(parameters, self.generators["act"]), state, {})

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step on the sequences of ``rollout``, one for each environment."""
        config = self.config
        steps = rollout.valid.float()
        log_pi, entropy = self._sequences(rollout)
        log_prob = log_pi.view(-1, config.samples)
        reward = (rollout.reward * steps).sum(0).view(-1, config.samples)
        if config.objective == "urex":
            coefficient = urex_coefficients(log_prob, reward, config.tau, config.centre)
        else:
            coefficient = ment_coefficients(log_prob, reward, config.tau)
        loss = sequence_loss(log_prob, coefficient, self._whole(rollout))
        named = partial(self.network.named_parameters, "network")
        norm = descend(self.optimizer, loss, named, config.max_gradient_norm, self.consolidation)
        return {
            "loss": loss.detach(),
            "gradient_norm": norm,
            **_diagnostics(log_prob.detach(), reward, config.tau),
            "entropy": lambda: entropy.detach().sum() / steps.sum(),
            "length": lambda: steps.sum(0).mean(),
            **self._level(),
        }

    def _sequences(self, rollout: Rollout) -> Tensor:
        """Return (2, B): log pi of each sequence, and the entropies of its steps summed.

        Sequences begin with the rollout, so their valid steps are its first.
        """
        sums, order = [], []
        for length, rows in by_length(rollout.valid.sum(0)):
            part = slice(length), rows
            state = {name: value[rows] for name, value in rollout.initial_state.items()}
            output = self.network(rollout.inputs.at(*part), state).flatten(0, 1)
            action, valid = rollout.action[part].flatten(0, 1), rollout.valid[part]
            each = torch.stack(self.network.distribution.log_prob_entropy(output, action))
            sums.append((each.view(2, *valid.shape) * valid).sum(1))
            order.append(rows)
        return torch.cat(sums, 1)[:, torch.cat(order).argsort()]

    def likelihoods(self) -> Likelihoods:
        """Yield log-likelihoods of the policy at the end of a task, of steps within sequences."""
        generator, policy = self.generators["update"], self.network.distribution
        for rollout, t, b in observed_steps(self):
            output = self.network(*history(rollout, t, b))[-1]
            yield policy_outcomes(policy, output, generator)

    def _whole(self, rollout: Rollout) -> Tensor:
        """Return bool (N,): no sequence was cut, or only by the greatest length."""
        ended = (rollout.terminated | rollout.truncated).any(0).view(-1, self.config.samples)
        longest: bool = len(rollout.reward) > self.config.n_steps
        return torch.logical_or(ended.all(1), torch.tensor(longest, device=self.device))

    def _level(self) -> dict[str, Metric]:
        """Return the level of the curriculum, where the environment has one."""
        info = self.batch.info if self.batch is not None else {}
        return {"level": float(info["level"].mean())} if "level" in info else {}


def _diagnostics(log_prob: Tensor, reward: Tensor, tau: float) -> dict[str, Metric]:
    """Return what the weights look like: their effective number collapses to 1 if tau is small."""
    weights = importance_weights(log_prob, reward, max(tau, 1e-3))
    best = reward >= reward.max(1, keepdim=True).values
    pairs = torch.stack([reward.flatten(), log_prob.flatten()])
    return {
        "effective_samples": lambda: (1 / weights.square().sum(1)).mean(),
        "reward_log_prob_correlation": lambda: torch.corrcoef(pairs)[0, 1].nan_to_num(),
        "share_of_best": lambda: best.float().mean(),
        "sequence_reward": reward.mean,
        "sequence_log_prob": log_prob.mean,
    }
