"""Log-likelihoods of what the networks of stable-baselines3 say, for the Fisher information of EWC.

Policies are distributions over actions. Values, action values and critics are read as means of
normals, so that their information is their squared gradient: with unit variance, V as much as it
weighs in the loss (see `daedalus.agents.policy_fisher`, and Kirkpatrick et al. 2017, whose agent is
a deep Q-network).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from gymnasium.spaces import Discrete
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from daedalus.agents.ewc import categorical_outcomes
from daedalus.agents.tasks import observed, rollouts_for

if TYPE_CHECKING:
    from daedalus.agents.sb3_adapter import SB3Agent

Outcomes = list[tuple[float, Tensor]]


def likelihoods_of(agent: SB3Agent) -> Iterator[Outcomes]:
    """Yield the outcomes of ``fisher_samples`` observations.

    They are drawn from the replay; without one from rollouts of acting on, up to `ROLLOUTS` of
    them, which do not count as steps.

    Raises:
        ValueError: The replay is empty.
    """
    agent.model.policy.set_training_mode(False)
    if hasattr(agent.model.policy, "lstm_actor"):
        yield from _unrolled(agent, agent.config.fisher_samples)
        return
    for seen in _observations(agent, agent.config.fisher_samples):
        named = {"": seen} if isinstance(seen, Tensor) else seen
        for i in range(len(next(iter(named.values())))):
            one = {name: value[i : i + 1] for name, value in named.items()}
            yield _outcomes(agent, one.get("", one))


def _observations(agent: SB3Agent, count: int) -> Iterator[Any]:
    model = agent.model
    if isinstance(model, OffPolicyAlgorithm):
        assert model.replay_buffer is not None
        if not model.replay_buffer.size():
            raise ValueError(f"{agent.name} has no steps of this task: EWC needs some at its end")
        with agent.streams.active():
            yield model.replay_buffer.sample(count).observations
        return
    number = rollouts_for(count, model.n_steps * model.n_envs)
    for _ in observed(agent, number):
        with agent.streams.active():
            drawn = next(model.rollout_buffer.get(math.ceil(count / number)))
        yield drawn.observations


def _unrolled(agent: SB3Agent, count: int) -> Iterator[Outcomes]:
    """Yield the outcomes of steps of an LSTM, each seen from the start of episode or rollout."""
    model, number = agent.model, rollouts_for(count, agent.model.n_steps * agent.model.n_envs)
    for _ in observed(agent, number):
        kept = model.rollout_buffer
        held = [getattr(kept, f"{what}_states_{of}") for of in ("pi", "vf") for what in STATES]
        for i in agent.rng.integers(kept.buffer_size * kept.n_envs, size=math.ceil(count / number)):
            t, b = divmod(int(i), kept.n_envs)
            seen = kept.observations
            named = seen if isinstance(seen, dict) else {"": seen}
            first = max(kept.episode_starts[: t + 1, b].nonzero()[0], default=0)
            rows = {name: kept.to_torch(value[first : t + 1, b]) for name, value in named.items()}
            starts = kept.to_torch(kept.episode_starts[first : t + 1, b])
            h, c, *others = (kept.to_torch(state[first, :, b : b + 1]) for state in held)
            one = rows.get("", rows)
            with torch.backends.cudnn.flags(enabled=False):  # which has no gradient in evaluation
                found, _ = model.policy.get_distribution(one, (h, c), starts)
                value = model.policy.predict_values(one, tuple(others), starts)[-1].squeeze()
            yield [*_said(agent, found), (model.vf_coef, value)]


STATES = ("hidden", "cell")


def _said(agent: SB3Agent, found: Any) -> Outcomes:
    """Return the outcomes of the last row of a policy's distribution."""
    if isinstance(agent.model.policy.action_space, Discrete):
        likely = categorical_outcomes(found.distribution.logits[-1])
        return [outcome for outcome in likely if outcome[0] > 0]
    with agent.streams.active(), torch.no_grad():
        action = found.sample()
    return [(1.0, found.log_prob(action)[-1])]


def _outcomes(agent: SB3Agent, seen: Any) -> Outcomes:
    """Return weights and log-likelihoods of what is said of one observation."""
    policy = agent.model.policy
    if hasattr(policy, "q_net"):
        return _each(policy.q_net(seen)[0])
    if hasattr(policy, "quantile_net"):
        return _each(policy.quantile_net(seen).mean(1)[0])
    if hasattr(policy, "actor"):
        return _actor_and_critic(agent, seen)
    masks = {"action_masks": seen["action_mask"]} if agent.name == "maskable_ppo" else {}
    found = policy.get_distribution(seen, **masks)
    return [*_said(agent, found), (agent.model.vf_coef, policy.predict_values(seen).squeeze())]


def _each(values: Tensor) -> Outcomes:
    """Return every action's value; the loss sees one of them a step."""
    return [(1.0 / len(values), value) for value in values]


def _actor_and_critic(agent: SB3Agent, seen: Any) -> Outcomes:
    """Return the outcomes of an actor and of critics of its action, which is squashed or fixed."""
    policy = agent.model.policy
    if hasattr(policy.actor, "get_action_dist_params"):
        mean, log_std, _ = policy.actor.get_action_dist_params(seen)
        normal = torch.distributions.Normal(mean, log_std.exp())
        with agent.streams.active():
            drawn = normal.sample()
        action, said = drawn.tanh(), [(1.0, normal.log_prob(drawn).sum())]
    else:
        mean = policy.actor(seen)
        action, said = mean.detach(), [(1.0, component) for component in mean[0]]
    found = policy.critic(seen, action)
    columns = torch.cat(found, 1)[0] if isinstance(found, tuple) else found.mean(2)[0]
    return [*said, *((1.0, value) for value in columns)]
