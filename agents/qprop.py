"""Q-Prop: policy gradients with an off-policy critic (Gu et al. 2017, 1611.02247).

A policy gradient from samples is unbiased and noisy, a deterministic one (DDPG) the other way
round. Q-Prop samples only what a critic's first-order expansion at the policy's mean cannot
explain, and takes the gradient of the expansion in closed form:

    Abar(s, a) = grad_a Q(s, a)|_{a = mu(s)} . (a - mu(s))
    grad J = E[grad log pi(a|s) (A - eta Abar)] + E[eta grad_a Q(s, a)|_{a = mu(s)} grad mu(s)]

With eta* = Cov(A, Abar) / Var(Abar) the variance falls by 1 - corr^2. ``eta`` is one of

- conservative, 1[A Abar > 0]: off where the sample speaks against the critic;
- aggressive, sign(A Abar): turns a wrong critic around;
- standard, 1: the only one without bias, whatever the critic;
- none, 0: the policy gradient alone (within a trust region, TRPO), on the same code.

Each update stores the rollout, takes ``critic_ratio`` critic steps for every step of it on

    y = r + gamma Q'(s', mu(s')),

estimates A by generalised advantage estimation with the values as they were (they are fitted
afterwards), and moves the policy once: to the border of a trust region on the surrogate
E[ratio (A - eta Abar)] + E[eta Q(s, mu)], or by a step of Adam. The residual A - eta Abar is
centred, and both terms are divided by its standard deviation. Where this differs from the paper:

- actions go to the critic as they were sampled; what an environment makes of one beyond its bounds
  belongs to the environment. So A, Abar and Q speak of the same action;
- the target has the mean of the present policy, which stands still while the critic learns, and a
  slow copy of the critic only; a time limit does not end the value;
- the critic learns in units of the widest deviation of returns so far, where the paper searches
  over reward scales, and its targets stay within some of these units of the returns' mean;
- layers begin orthogonal; tanh follows all hidden layers of the policy, and values are a network,
  fitted by Adam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from daedalus.accelerators.returns import gae
from daedalus.accelerators.rollout import Outputs
from daedalus.accelerators.transitions import TransitionReplay, transitions
from daedalus.agents.action_value import ActionValue, TemporalDifference
from daedalus.agents.base import Acted, Agent, Inputs, Metrics, Rollout, Spaces, State
from daedalus.agents.consolidation import Consolidated, Likelihoods, consolidation_from
from daedalus.agents.control_variate import (
    ETAS,
    Signal,
    diagnostics,
    improvement,
    learning_signal,
    surrogate,
)
from daedalus.agents.losses import explained_variance
from daedalus.agents.optimizers import Adam, descend
from daedalus.agents.policies import Gaussian
from daedalus.agents.policy_fisher import row_likelihoods
from daedalus.agents.settings import above_zero
from daedalus.agents.trust_region import LocalModel, Trial, kl_divergence, trust_region_step
from daedalus.agents.vector_network import VectorNetwork, fit_values, minibatches


@dataclass(frozen=True)
class Config(Consolidated):
    """Settings of `QProp`."""

    eta: str = "conservative"
    """Weight of the control variate: conservative, aggressive, standard, or none (no critic)."""
    one_scale: bool = True
    """Divide the critic's part by the residual's deviation, too; False is the authors' code, whose
    gradient leans on the critic by as much as returns deviate (Tucker et al. 2018, 1802.10031):
    biased, and sooner on HalfCheetah (docs/qprop.md)."""
    trust_region: bool = True
    """Move the policy within a trust region; otherwise by a step of Adam."""
    n_steps: int = 1000
    """Steps per rollout and environment."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.97
    """Decay of the advantage estimate."""
    net_arch: tuple[int, ...] = (100, 50, 25)
    """Units of the tanh layers, of policy and values alike."""
    log_std: float = 0.0
    """Logarithm of the policy's standard deviation at the start."""
    delta: float = 0.01
    """Bound of the mean divergence of an update within the trust region."""
    damping: float = 0.01
    """Added to the diagonal of the divergence's Hessian."""
    cg_iterations: int = 10
    """Iterations of conjugate gradients, at most."""
    fisher_stride: int = 1
    """The Hessian is the mean over one of so many steps."""
    learning_rate: float = 1e-3
    """Step size of Adam for the policy, without a trust region."""
    value_learning_rate: float = 1e-3
    """Step size of Adam for the values."""
    value_epochs: int = 10
    """Passes over the batch that the values are fitted with."""
    value_batch: int = 64
    """Steps in a minibatch of the values' fit."""
    critic_arch: tuple[int, ...] = (100, 100)
    """Units of the critic's ReLU layers; the action joins after the first."""
    critic_learning_rate: float = 1e-3
    """Step size of Adam for the critic."""
    critic_ratio: float = 0.5
    """Critic steps for every step of an environment; 0.1 to 1 in the paper."""
    critic_batch: int = 64
    """Transitions in a critic step."""
    target_decay: float = 0.999
    """Share of itself that the critic's slow copy keeps in a critic step."""
    target_bound: float | None = 6.0
    """Deviations of the returns that a target of the critic may be from their mean. The paper has
    no bound (None); without one some critics diverge."""
    replay_size: int = 1_000_000
    """Latest steps held, of all environments together."""


class Network(VectorNetwork):
    """Policy, value and critic."""

    seers = "qprop's networks"
    instead = "ppo or actor_critic"

    def __init__(self, spaces: Spaces, config: Config) -> None:
        """Build for vectors and continuous actions; see `VectorNetwork`."""
        super().__init__(spaces, config.net_arch, config.log_std)
        self.critic = ActionValue(self.inputs, self.gaussian.size, config.critic_arch)
        _orthogonal([*self.policy.layers.parameters()][::2], 0.01)
        _orthogonal([w[0].t() for w in self.values.weights], 1.0)

    @property
    def gaussian(self) -> Gaussian:
        """The distribution of actions around the policy's outputs, which are their means."""
        assert isinstance(self.policy.distribution, Gaussian)
        return self.policy.distribution


@torch.no_grad()
def _orthogonal(weights: Sequence[Tensor], last: float) -> None:
    """Start with orthogonal layers (Saxe et al. 2013, 1312.6120), so that three pass a signal on.

    Under the layers' usual start the features of three tanh layers hardly differ between states:
    all that learns at first is a constant action.

    Args:
        weights: Of each layer, (out, in).
        last: Gain of the last layer; the others have sqrt(2).
    """
    for weight in weights:
        gain = last if weight is weights[-1] else 2**0.5
        weight.copy_(nn.init.orthogonal_(torch.empty(weight.shape), gain))


class QProp(Agent):
    """Policy gradients with an off-policy critic as control variate."""

    name = "qprop"
    Config: ClassVar[type[Any]] = Config
    default_num_envs = 1

    def build(self) -> None:
        """Make networks, replay and optimisers.

        Raises:
            TypeError: The actions are not continuous, or an observation is an image.
            ValueError: ``eta`` is unknown, or a setting out of its range.
        """
        config = self.config
        if not isinstance(self.spaces.action, Box):
            raise TypeError(
                "qprop differentiates its critic by the action, which must be continuous (a Box), "
                f"and here is {self.spaces.action}: use trpo, ppo or actor_critic"
            )
        if config.eta not in ETAS:
            raise ValueError(f"qprop has no eta {config.eta!r}; there are: {', '.join(ETAS)}")
        limits = {"delta": config.trust_region, "target_bound": config.target_bound is not None}
        above_zero("qprop", config, *[name for name, used in limits.items() if used])
        network = self.network = Network(self.spaces, config).to(self.device)
        self.replay = TransitionReplay(config.replay_size, self.device)
        self.learning = TemporalDifference(
            network.critic, config.critic_learning_rate, config.target_decay, config.target_bound
        )
        self.optimizers = {
            "policy": Adam(network.policy.parameters(), config.learning_rate),
            "values": Adam(network.values.parameters(), config.value_learning_rate, fused=True),
            "critic": self.learning.optimizer,
        }
        self.modules = {"network": network}
        self.stores = {"replay": self.replay}
        self.consolidation = consolidation_from(config, network.policy.parameters())

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Sample actions, or take the means."""
        return self.network.act(inputs, self.generators["act"], deterministic)

    def outputs(self, inputs: Inputs, state: State) -> Outputs:
        """Return means, values and activations; see `Agent.outputs`."""
        return self.network.outputs(inputs, state)

    def likelihoods(self) -> Likelihoods:
        """Yield log-likelihoods of the policy at the end of a task."""
        return row_likelihoods(self, self.network)

    def update(self, rollout: Rollout) -> Metrics:
        """Train the critic, move the policy once, fit the values."""
        config, network = self.config, self.network
        steps = transitions(rollout, network.flatten)
        advantage, target = self._advantage(rollout)
        metrics: dict[str, Any] = {}
        if config.eta != "none":
            self.replay.add(steps)
            network.critic.renormalise(target)
            metrics = self._criticise(round(config.critic_ratio * len(target)))
        moved = self._move(steps.observation, steps.action.reshape(len(target), -1), advantage)
        value = target - advantage
        parts = minibatches(len(target), config.value_epochs, config.value_batch, self.rng)
        optimizer = self.optimizers["values"]
        loss = fit_values(network.values, optimizer, steps.observation, target[None], parts)
        fitted = {"value_loss": loss, "explained_variance": explained_variance(value, target)}
        return {**metrics, **moved, **fitted}

    # ------------------------------------------------------------------ the critic

    def _criticise(self, number: int) -> dict[str, Any]:
        """Take steps of the critic on draws from the replay; return what to log."""
        config, learning = self.config, self.learning
        square, bounded = torch.zeros(2, device=self.device)
        for start in range(0, number, CHUNK):
            count = min(CHUNK, number - start)
            drawn = self.replay.draw((count, config.critic_batch), self.rng)
            with torch.no_grad():
                then = self.network.policy(drawn.following.flatten(0, 1))
            then = then.view(count, config.critic_batch, -1)
            action = drawn.action.reshape(count, config.critic_batch, -1)
            targets = torch.empty_like(drawn.reward)
            for i in range(count):
                following = drawn.terminated[i], drawn.following[i], then[i]
                targets[i] = learning.target(drawn.reward[i], *following, config.gamma)
                error = learning.step(drawn.observation[i], action[i], targets[i])
                square += error.square().mean()
            bounded += (targets.abs() >= learning.bound).sum()
        return {
            "critic_error": self.network.critic.std * (square / max(number, 1)).sqrt(),
            "critic_bounded": bounded / max(number * config.critic_batch, 1),
            "replay_steps": float(self.replay.count),
        }

    def _slope(self, seen: Tensor, mean: Tensor) -> Tensor:
        """Return the gradient of Q by the action at the mean, (N, A)."""
        if self.config.eta == "none":
            return torch.zeros_like(mean)
        return self.network.critic.slope(seen, mean)

    # ------------------------------------------------------------------ the policy

    def _advantage(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Return advantages and targets of the values, (N,) each, of the valid steps."""
        value, following = self.network.judge(rollout)
        config = self.config
        signals = (rollout.reward, value[0], following[0], rollout.terminated, rollout.truncated)
        arrays = (x.cpu().numpy() for x in signals)
        advantage = torch.from_numpy(gae(*arrays, config.gamma, config.gae_lambda)).to(self.device)
        return advantage[rollout.valid], (advantage + value[0])[rollout.valid]

    def _move(self, seen: Tensor, action: Tensor, advantage: Tensor) -> dict[str, Any]:
        """Move the policy once; return what to log."""
        policy = self.network.policy
        with torch.no_grad():
            mean, std = policy(seen), self.network.gaussian.log_std.exp()
        slope, one_scale = self._slope(seen, mean), self.config.one_scale
        signal = learning_signal(self.config.eta, advantage, slope, action, mean, one_scale)
        found = diagnostics(signal, advantage, action, mean, std)
        step = self._within_trust_region if self.config.trust_region else self._by_adam
        return {**found, **step(seen, action, mean, signal), "std": std.mean()}

    def _within_trust_region(
        self, seen: Tensor, action: Tensor, mean: Tensor, signal: Signal
    ) -> dict[str, float]:
        """Go to the border of the trust region, as far as the sampled surrogate grows."""
        config, critic = self.config, self.network.critic
        model = LocalModel.of(config, self.network.policy, seen, action)
        gradient = model.gradient_of(surrogate(model.ratio, model.output, signal))
        with torch.no_grad():
            before = critic(seen, mean)

        @torch.no_grad()
        def gain(trial: Trial) -> float:
            return float(improvement(trial.ratio, critic(seen, trial.output) - before, signal))

        return trust_region_step(model, gradient, gain, config.delta, self.consolidation)[1]

    def _by_adam(
        self, seen: Tensor, action: Tensor, mean: Tensor, signal: Signal
    ) -> dict[str, float]:
        """Take a step of Adam."""
        policy, optimizer = self.network.policy, self.optimizers["policy"]
        output, before = policy(seen), self.network.gaussian.log_std.detach().clone()
        log_pi, _ = self.network.gaussian.log_prob_entropy(output, action)
        loss = -surrogate(log_pi, output, signal)
        norm = descend(optimizer, loss, policy.named_parameters, kept=self.consolidation)
        with torch.no_grad():
            kl = kl_divergence(self.network.gaussian, policy(seen), output, before).mean()
        return {"policy_gradient_norm": float(norm), "kl": float(kl)}


CHUNK = 64
"""Critic steps whose transitions are drawn together."""
