"""The synchronous A3C that `actor_critic`, `unreal`, `nav` and `pgq` share: acting, loss, step.

L = sum_t [ -log pi(a_t|s_t) sg(R_t - V_t) + 0.5 c_v (R_t - V_t)^2 - beta H(pi(.|s_t)) ]

summed over the T steps of a rollout and averaged over its B environments; R_t is the n-step return
to the end of the rollout (Mnih et al. 2016, 1602.01783).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from daedalus.accelerators.replay import STATE
from daedalus.accelerators.returns import n_step_return
from daedalus.accelerators.rollout import Acted, Inputs, Outputs, Rollout, Seen, State
from daedalus.agents.a3c_network import A3CConfig, A3CNetwork, Unrolled
from daedalus.agents.base import Metric
from daedalus.agents.consolidation import consolidation_from
from daedalus.agents.losses import actor_critic_loss, explained_variance, mean_of
from daedalus.agents.networks import Known
from daedalus.agents.optimizers import RMSProp, descend
from daedalus.agents.policy_fisher import rollout_likelihoods
from daedalus.agents.tasks import ROLLOUTS


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
        self.consolidation = consolidation_from(config, parameters)
        self._version = 0
        self._kept = -1

    def act(
        self, inputs: Inputs, state: State, generator: torch.Generator, deterministic: bool
    ) -> Acted:
        """Sample (or take the most likely) actions; keeps graphs if gradients are enabled.

        Without gradients, so outside training, the extras hold what can be shown: ``"value"`` (B,),
        the ``"policy"``'s parameters (B, P) and the core's ``"output"`` (B, H). With them they hold
        what the update may reuse, and ``state`` for a replay.
        """
        training = torch.is_grad_enabled()
        before = {f"{STATE}{name}": value for name, value in state.items()}
        output, state, extras = self.network.step(self.clip(inputs), state, self.keeps())
        extras |= before
        with torch.no_grad():
            parameters = self.network.actor(output)
            policy = self.network.distribution
            chosen = (
                policy.mode(parameters) if deterministic else policy.sample(parameters, generator)
            )
            if not training:
                value = self.network.critic(output).squeeze(-1)
                extras = {"value": value, "policy": parameters, "output": output}
        return Acted(chosen, state, extras)

    def outputs(self, inputs: Inputs, state: State) -> Outputs:
        """Return logits (or means), values and activations; see `Agent.outputs`."""
        inputs = self.clip(inputs)
        unrolled = self.network.unroll(inputs.at(None), state)
        layers = {
            name: getattr(unrolled, name)[0].float()
            for name in ("encoded", "features", "output", "latent")
            if hasattr(unrolled, name)
        }
        return Outputs(unrolled.policy[0], unrolled.value[0], layers)

    def inspect(self, now: Seen) -> dict[str, Any]:
        """Return the distribution over actions of a step without gradients."""
        return {**self.network.distribution.describe(now.acted.extras["policy"])}

    def keeps(self) -> bool:
        """Tell whether acting, now, is to keep its forward pass for the update."""
        keep = self.config.reuse_acting and torch.is_grad_enabled()
        self._kept = self._version if keep else -1
        return keep

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
        last, final = rollout.inputs.at(-1), rollout.final_inputs
        t, b = rollout.final_index.unbind(1)
        cut = rollout.truncated[t, b] & ~rollout.terminated[t, b]
        if not bool(cut.any()):
            result[-1] = self.value(last, rollout.state)
            return result
        rows = cut.nonzero().squeeze(1)
        values = self.value(
            joined(last, final, rows),
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
        unrolled = self.unroll(rollout)
        policy, action = self.network.distribution, rollout.action.flatten(0, 1)
        log_pi, entropy = policy.log_prob_entropy(unrolled.policy.flatten(0, 1), action)
        log_pi, entropy = (x.view_as(returns) for x in (log_pi, entropy))
        terms = actor_critic_loss(log_pi, entropy, unrolled.value, returns, rollout.valid)
        value, entropy = unrolled.value.detach(), entropy.detach()
        metrics: dict[str, Metric] = {
            "policy_loss": terms.policy.detach(),
            "value_loss": terms.value.detach(),
            "entropy": partial(mean_of, entropy, rollout.valid),
            "explained_variance": partial(explained_variance, value, returns, rollout.valid),
            "value": partial(mean_of, value, rollout.valid),
        }
        total = terms.total(self.config.value_weight, self.config.entropy_weight)
        return total, unrolled, metrics

    def unroll(self, rollout: Rollout) -> Unrolled:
        """Run the network over a prepared rollout, reusing what acting kept of it."""
        known = self.recorded(rollout)
        return self.network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state, known)

    def recorded(self, rollout: Rollout) -> Known | None:
        """Return what acting kept, if the parameters are still those it acted with."""
        return rollout.extras if self._kept == self._version else None

    def _named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.network.named_parameters("network")
        if self.heads is not None:
            yield from self.heads.named_parameters("heads")

    def likelihoods(
        self, rollouts: Iterable[Rollout], generator: torch.Generator
    ) -> Iterator[Sequence[tuple[float, Tensor]]]:
        """Yield log-likelihoods of what the network says, see `daedalus.agents.policy_fisher`."""
        each = math.ceil(self.config.fisher_samples / ROLLOUTS)
        for rollout in rollouts:
            yield from rollout_likelihoods(self, rollout, each, generator)

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
        norm = descend(
            optimizer, loss, self._named_parameters, config.max_gradient_norm, self.consolidation
        )
        self._version += 1
        return {"loss": loss.detach(), "gradient_norm": norm, "learning_rate": rate}


def joined(first: Inputs, second: Inputs, rows: Tensor) -> Inputs:
    """Return ``first`` followed by ``rows`` of ``second``."""
    second = second.at(rows)
    observation = {
        name: torch.cat([value, second.observation[name]])
        for name, value in first.observation.items()
    }
    rest = (torch.cat([a, b]) for a, b in zip(first[1:], second[1:], strict=True))
    return Inputs(observation, *rest)
