"""Log-likelihoods of what agents with a policy say, for the Fisher information of EWC.

The policy is a distribution over actions. The value of an actor-critic is read as the mean of a
normal with variance 1 / c_v, whose negative log-likelihood is the value loss: its Fisher
information is c_v (dV/dtheta)^2, whatever the returns are. Squared gradients of the losses
themselves would not do: those of temporal differences vanish where training has converged.
The policy's information falls as it grows sure of itself, the value's does not and then outweighs
it; ``fisher_value`` is a factor on the value's. Where policy and values of our own share no layers,
only the policy is kept: it alone is what the agent does in an earlier task.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from daedalus.accelerators.rollout import Inputs, Rollout
from daedalus.agents.ewc import categorical_outcomes
from daedalus.agents.policies import Categorical
from daedalus.agents.tasks import observed, rollouts_for

if TYPE_CHECKING:
    from daedalus.agents.base import Agent
    from daedalus.agents.learner import Learner
    from daedalus.agents.vector_network import VectorNetwork

Outcomes = list[tuple[float, Tensor]]


def policy_outcomes(
    policy: Any, output: Tensor, generator: torch.Generator, exact: bool = True
) -> Outcomes:
    """Return weights and log-likelihoods of the actions of one step.

    Args:
        policy: The distribution that reads ``output``.
        output: (1, size), with a graph.
        generator: Draws an action.
        exact: Take all actions of a Discrete space instead, with their probabilities.
    """
    if exact and isinstance(policy, Categorical):
        return [each for each in categorical_outcomes(output.squeeze(0)) if each[0] > 0]
    with torch.no_grad():
        action = policy.sample(output, generator)
    return [(1.0, policy.log_prob_entropy(output, action)[0].squeeze())]


def observed_steps(agent: Agent) -> Iterator[tuple[Rollout, int, int]]:
    """Yield rollout, time and environment of ``fisher_samples`` steps of acting as in training."""
    count = agent.config.fisher_samples
    number = rollouts_for(count, agent.rollout_length * agent.num_envs)
    for rollout in observed(agent, number):
        for t, b in drawn_steps(rollout, math.ceil(count / number), agent.generators["update"]):
            yield rollout, t, b


def drawn_steps(
    rollout: Rollout, count: int, generator: torch.Generator
) -> Iterator[tuple[int, int]]:
    """Yield time and environment of ``count`` valid steps of a rollout, none if it has none."""
    steps = rollout.valid.nonzero().cpu()
    if not len(steps):  # all of them only reset
        return
    drawn = torch.randint(len(steps), (count,), generator=generator, device=generator.device)
    yield from steps[drawn.cpu()].tolist()


def row_likelihoods(agent: Agent, network: VectorNetwork) -> Iterator[Outcomes]:
    """Yield the outcomes of steps whose observations are rows, under the policy of ``network``."""
    policy = network.policy
    for rollout, t, b in observed_steps(agent):
        seen = {name: x[t, b : b + 1] for name, x in rollout.observation.items()}
        output = policy(network.flatten(seen))
        yield policy_outcomes(policy.distribution, output, agent.generators["update"])


def history(rollout: Rollout, t: int, b: int) -> tuple[Inputs, Any]:
    """Return the inputs (T', 1, ...) that step ``t`` depends on, and the state before them.

    A recurrent agent's step is seen from the start of the rollout: gradients flow through the
    steps before it, as in training.
    """
    first = 0 if rollout.initial_state else t
    inputs = rollout.inputs.at(slice(first, t + 1), slice(b, b + 1))
    return inputs, {name: value[b : b + 1] for name, value in rollout.initial_state.items()}


def rollout_likelihoods(
    learner: Learner, rollout: Rollout, count: int, generator: torch.Generator
) -> Iterator[Outcomes]:
    """Yield what an actor-critic says in ``count`` steps of a rollout, the value included."""
    rollout = learner.prepare(rollout)
    config, policy = learner.config, learner.network.distribution
    for t, b in drawn_steps(rollout, count, generator):
        unrolled = learner.network.unroll(*history(rollout, t, b))
        output, value = unrolled.policy[-1], unrolled.value[-1].squeeze()
        said = policy_outcomes(policy, output, generator, config.fisher_exact)
        yield [*said, (config.fisher_value * config.value_weight, value)]
