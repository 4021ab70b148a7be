"""PGQ: policy gradient and Q-learning in one policy (O'Donoghue et al. 2017, 1611.01626).

Where a policy gradient with an entropy bonus of weight alpha comes to rest, the policy is
pi(a|s) proportional to exp(A(s,a) / alpha). So a policy and a value hold Q-values:

    Q~(s,a) = alpha (log pi(a|s) + H(pi(.|s))) + V(s)

and one update moves both, by the n-step return R of acting and by Bellman's equation on replay:

    d theta = (1 - eta) E_pi[(R - Q~) grad log pi] + eta E_replay[(T*Q~ - Q~) grad log pi]
    d w     = (1 - eta) E_pi[(R - Q~) grad V]      + eta E_replay[(T*Q~ - Q~) grad V]
    T*Q~(s,a) = r + gamma max_b Q~(s',b),  r at a terminal state

All brackets are constants. The entropy bonus is in the first one: E_pi[-alpha log pi grad log pi]
is alpha times the gradient of H. So alpha is one number, ``entropy_weight``, and the two uses of it
cannot come apart; and there is no entropy in the returns (with it, this would be soft Q-learning).
max_b Q~ is that of the most probable action, also where an action has several components.
Where this differs from the paper:

- synchronous, as `daedalus.agents.actor_critic`; one step on the sum of both parts, each summed
  over the steps of a sequence and averaged over sequences, as `daedalus.agents.learner`;
- the replay gives sequences of one-step targets, so that it also serves an LSTM (from its state
  when acting); they go on into the next episode, so that all steps are replayed alike; the paper
  draws 32 transitions per update of 5 steps;
- until ``replay_start`` steps are held, the first part has weight 1;
- both lines of V are multiplied by ``value_weight``, 0.5 as in A3C; the paper leaves it open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from gymnasium.spaces import Box
from torch import Tensor

from daedalus.accelerators.replay import SequenceReplay, Sequences
from daedalus.agents.a3c_network import A3CConfig, Unrolled
from daedalus.agents.actor_critic import ActorCritic
from daedalus.agents.base import Metric, Metrics, Rollout
from daedalus.agents.losses import explained_variance, mean_of
from daedalus.agents.policies import Policy
from daedalus.agents.settings import at_least


@dataclass(frozen=True)
class Config(A3CConfig):
    """Settings of `PGQ`: those of the synchronous A3C, and of the Q-learning."""

    entropy_weight: float = 0.01
    """alpha: weight of the entropy bonus, and scale of log pi in the Q-values."""
    lstm: int = 0
    """Units of the LSTM; 0 for a feed-forward agent, as the paper's."""
    eta: float = 0.5
    """Share of Q-learning, 0 to 1; 0 is the regularised actor-critic alone."""
    replay_length: int = 2000
    """Latest steps held of each environment; the paper's workers hold 100,000."""
    replay_start: int = 200
    """Steps held of each environment before the Q-learning begins."""
    replay_sequences: int = 1
    """Sequences of ``n_steps`` per environment that an update replays."""


# -------------------------------------------------------------------------------------- the losses


class Judged(NamedTuple):
    """Actions as a policy and a value judge them, (...) each."""

    log_pi: Tensor
    value: Tensor
    entropy: Tensor  # a constant
    q: Tensor  # Q~ of the actions, a constant


def judge(
    policy: Policy, output: Tensor, value: Tensor, action: Tensor | None, alpha: float
) -> Judged:
    """Read Q~ = alpha (log pi + H) + V out of a policy and a value.

    Args:
        policy: Distribution over finitely many actions.
        output: (..., P), its parameters.
        value: (...).
        action: (..., *action shape); None for the most probable ones, those of max_b Q~.
        alpha: Weight of the entropy bonus.
    """
    rows = output.reshape(-1, output.shape[-1])
    chosen = policy.mode(rows) if action is None else action.flatten(0, value.ndim - 1)
    log_pi, entropy = (x.view(value.shape) for x in policy.log_prob_entropy(rows, chosen))
    entropy = entropy.detach()
    return Judged(log_pi, value, entropy, (alpha * (log_pi + entropy) + value).detach())


def bellman_target(reward: Tensor, best_next: Tensor, ends: Tensor, gamma: float) -> Tensor:
    """Return T*Q~ = r + gamma max_b Q~(s',b), and r where the episode ends.

    Args:
        reward: (...).
        best_next: (...), max_b Q~ of the following states.
        ends: bool (...): the following state is terminal.
        gamma: Discount.
    """
    return reward + gamma * best_next * ~ends


class PGQLoss(NamedTuple):
    """Losses whose gradients are PGQ's, 0-d each; their values mean nothing."""

    policy: Tensor
    value: Tensor

    def total(self, value_weight: float) -> Tensor:
        """Return policy + value_weight * value."""
        return self.policy + value_weight * self.value


def pgq_loss(judged: Judged, target: Tensor, mask: Tensor) -> PGQLoss:
    """Return -delta log pi and -delta V with delta = target - Q~ a constant.

    Args:
        judged: Of (T, N) steps.
        target: (T, N), n-step returns or T*Q~.
        mask: bool (T, N), the steps that count.

    Returns:
        The losses, summed over T and averaged over N.
    """
    delta = ((target - judged.q) * mask).detach() / mask.shape[1]
    return PGQLoss(-(delta * judged.log_pi).sum(), -(delta * judged.value).sum())


# --------------------------------------------------------------------------------------- the agent


class PGQ(ActorCritic):
    """Actor-critic whose policy also learns from replay, as Q-values."""

    name = "pgq"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> None:
        """Make network, replay and optimiser.

        Raises:
            TypeError: The actions are not finitely many.
            ValueError: ``eta`` is not a share, ``entropy_weight`` not positive, or the replay too
                short for a sequence.
        """
        config = self.config
        if isinstance(self.spaces.action, Box):
            raise TypeError(
                "pgq reads Q-values out of the probabilities of finitely many actions, these are "
                f"{self.spaces.action}: use actor_critic, ppo or sac"
            )
        if not 0 <= config.eta <= 1 or config.entropy_weight <= 0:
            raise ValueError(
                "pgq needs 0 <= eta <= 1 and entropy_weight > 0, got "
                f"{config.eta} and {config.entropy_weight}"
            )
        if config.eta > 0:
            at_least("pgq", config, replay_sequences=1, replay_length=config.n_steps + 2)
        super().build()
        self.replay = SequenceReplay(config.replay_length, self.device)
        self.stores = {"replay": self.replay}

    def update(self, rollout: Rollout) -> Metrics:
        """Store ``rollout`` and take one step on both parts."""
        config, rollout = self.config, self.learner.prepare(rollout)
        eta, length = config.eta, config.n_steps
        loss, metrics = self._acted(rollout)
        if eta > 0:
            stored = torch.full_like(rollout.reward, self.num_timesteps, dtype=torch.int64)
            self.replay.add(rollout, {"stored": stored})
        if eta > 0 and self.replay.holds(config.replay_start, length):
            each = range(config.replay_sequences)
            drawn = [self.replay.sequences(length, self.rng, ("stored",)) for _ in each]
            replayed, more = self._replayed(drawn)
            share = _share(eta, metrics["return_error"], more["replay_bellman_residual"])
            loss = (1 - eta) * loss + eta * replayed
            metrics |= {**more, "replay_error_share": share}
            metrics["replay_gradient_share"] = partial(self._gradient_share, rollout, drawn)
        return {**metrics, **self.learner.apply(loss, self.progress)}

    def _judge(self, unrolled: Unrolled, action: Tensor | None) -> Judged:
        """Judge actions (T, N, ...) at the first T steps, or the most probable ones at all."""
        policy, alpha = self.learner.network.distribution, self.config.entropy_weight
        steps = len(unrolled.value) if action is None else len(action)
        return judge(policy, unrolled.policy[:steps], unrolled.value[:steps], action, alpha)

    def _acted(self, rollout: Rollout) -> tuple[Tensor, dict[str, Metric]]:
        """Return the loss of the first part, and what to log."""
        returns, unrolled = self.learner.returns(rollout), self.learner.unroll(rollout)
        judged = self._judge(unrolled, rollout.action)
        value, valid, gamma = judged.value.detach(), rollout.valid, self.config.gamma
        with torch.no_grad():
            best = self._judge(unrolled, None).q[1:]
        target = bellman_target(rollout.reward[:-1], best, rollout.terminated[:-1], gamma)
        inside = valid[:-1] & valid[1:] & ~rollout.truncated[:-1]
        return pgq_loss(judged, returns, valid).total(self.config.value_weight), {
            "return_error": _mean_size(returns - judged.q, valid),
            "bellman_residual": _mean_size(target - judged.q[:-1], inside),
            "advantage_correlation": lambda: _correlation(
                (judged.q - value)[valid], (returns - value)[valid]
            ),
            "entropy": partial(mean_of, judged.entropy, valid),
            "explained_variance": partial(explained_variance, value, returns, valid),
            "value": partial(mean_of, value, valid),
        }

    def _replayed(self, batches: list[Sequences]) -> tuple[Tensor, dict[str, Metric]]:
        """Return the loss of the second part, and what to log of the last batch of it."""
        config, total = self.config, torch.zeros((), device=self.device)
        for drawn in batches:
            unrolled = self.learner.network.unroll(drawn.inputs, drawn.state)
            judged = self._judge(unrolled, drawn.action)
            with torch.no_grad():
                best = self._judge(unrolled, None).q
            target = bellman_target(drawn.reward, best[1:], drawn.terminated, config.gamma)
            loss = pgq_loss(judged, target, drawn.known)
            total = total + loss.total(config.value_weight)
        mask, now = drawn.known, self.num_timesteps
        greedy, age = judged.q >= best[:-1], now - drawn.extra["stored"]
        return total / len(batches), {
            "replay_bellman_residual": _mean_size(target - judged.q, mask),
            "replay_greedy_actions": partial(mean_of, greedy.float(), mask),
            "replay_age": partial(mean_of, age.float(), mask),
        }

    def _gradient_share(self, rollout: Rollout, batches: list[Sequences]) -> Tensor:
        """Return replay's share of the weighted norms of both parts' gradients.

        Both are computed again, by the parameters after the step.
        """
        weights = self.learner.optimizer.param_groups[0]["params"]
        norms = []
        for loss in (self._acted(rollout)[0], self._replayed(batches)[0]):
            found = torch.autograd.grad(loss, weights, materialize_grads=True)
            norms.append(torch.cat([gradient.flatten() for gradient in found]).norm())
        return _share(self.config.eta, *norms)()


def _mean_size(error: Tensor, mask: Tensor) -> Callable[[], Tensor]:
    """Return a function for the mean of |error| where ``mask``."""
    return lambda: (error.abs() * mask).sum() / mask.sum().clamp(min=1)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([a, b]))[0, 1].nan_to_num()


def _share(eta: float, acted: Metric, replayed: Metric) -> Callable[[], Tensor]:
    """Return a function for replay's share of the sizes of both parts, as they are weighted."""

    def share() -> Tensor:
        first, second = (torch.as_tensor(m() if callable(m) else m) for m in (acted, replayed))
        return eta * second / ((1 - eta) * first + eta * second).clamp(min=1e-12)

    return share
