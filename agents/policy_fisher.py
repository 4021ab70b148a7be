"""Log-likelihoods of what an actor-critic says, for the Fisher information of EWC.

The policy is a distribution over actions. The value is read as the mean of a normal with variance
1 / c_v, whose negative log-likelihood is the value loss: its Fisher information is
c_v (dV/dtheta)^2, whatever the returns are. Squared gradients of the losses themselves would not
do: those of temporal differences vanish where training has converged.
The policy's information falls as it grows sure of itself, the value's does not and then outweighs
it; ``fisher_value`` is a factor on the value's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from daedalus.accelerators.rollout import Inputs, Rollout
from daedalus.agents.ewc import categorical_outcomes
from daedalus.agents.policies import Categorical

if TYPE_CHECKING:
    from daedalus.agents.learner import Learner

Outcomes = list[tuple[float, Tensor]]


def rollout_likelihoods(
    learner: Learner, rollout: Rollout, count: int, generator: torch.Generator
) -> Iterator[Outcomes]:
    """Yield the outcomes of ``count`` steps drawn from a rollout, with their log-likelihoods.

    A recurrent agent's step is seen from the start of the rollout: gradients flow through the
    steps before it, as in training.
    """
    rollout = learner.prepare(rollout)
    steps = rollout.valid.nonzero().cpu()
    drawn = torch.randint(len(steps), (count,), generator=generator, device=generator.device)
    for t, b in steps[drawn.cpu()].tolist():
        yield _outcomes(learner, *_history(rollout, t, b), generator)


def _history(rollout: Rollout, t: int, b: int) -> tuple[Inputs, Any]:
    """Return the inputs (T', 1, ...) that step ``t`` depends on, and the state before them."""
    first = 0 if rollout.initial_state else t

    def cut(value: Tensor) -> Tensor:
        return value[first : t + 1, b : b + 1]

    inputs = Inputs(
        {name: cut(value) for name, value in rollout.observation.items()},
        cut(rollout.previous_action),
        cut(rollout.previous_reward),
        cut(rollout.episode_start),
    )
    return inputs, {name: value[b : b + 1] for name, value in rollout.initial_state.items()}


def _outcomes(learner: Learner, inputs: Inputs, state: Any, generator: torch.Generator) -> Outcomes:
    """Return the outcomes of the last step of ``inputs``."""
    config, policy = learner.config, learner.network.distribution
    unrolled = learner.network.unroll(inputs, state)
    output, value = unrolled.policy[-1], unrolled.value[-1].squeeze()
    if config.fisher_exact and isinstance(policy, Categorical):
        outcomes = list(categorical_outcomes(output.squeeze(0)))
    else:
        with torch.no_grad():
            action = policy.sample(output, generator)
        outcomes = [(1.0, policy.log_prob_entropy(output, action)[0].squeeze())]
    return [*outcomes, (config.fisher_value * config.value_weight, value)]
