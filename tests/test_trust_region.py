"""The trust region's update against sb3-contrib's TRPO, parameter by parameter."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from sb3_contrib import TRPO
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.distributions import kl_divergence as theirs
from stable_baselines3.common.logger import Logger
from torch import nn

from daedalus import scenarios
from daedalus.agents.policies import Gaussian
from daedalus.agents.trust_region import (
    LocalModel,
    kl_divergence,
    sample_rows,
    standardised,
    trpo_step,
)
from daedalus.agents.vector_network import Policy

ACTIONS, STEPS = 3, 64


class Nowhere(gymnasium.Env[Any, Any]):
    """Spaces alone: the batch is made below."""

    observation_space = Box(-1, 1, (4,), np.float32)
    action_space = Box(-1, 1, (ACTIONS,), np.float32)


def test_the_divergence_is_summed_over_components_and_not_averaged_as_theirs() -> None:
    """Means apart by 1, 2, 0 at sigma = 1: 0.5 + 2 + 0 = 2.5 nats; theirs reports 2.5 / 3."""
    space = Box(-1, 1, (ACTIONS,), np.float32)
    mean, zeros = torch.tensor([[1.0, 2.0, 0.0]]), torch.zeros(1, ACTIONS)
    found = kl_divergence(Gaussian(space), mean, zeros, zeros[0])
    assert found.tolist() == pytest.approx([2.5])
    new, old = (DiagGaussianDistribution(ACTIONS) for _ in range(2))
    new.proba_distribution(mean, zeros)
    old.proba_distribution(zeros, zeros)
    assert float(theirs(new, old).mean()) == pytest.approx(2.5 / ACTIONS)


def theirs_of(model: TRPO) -> tuple[nn.Linear, nn.Linear]:
    """Return the layers of their policy."""
    hidden, last = model.policy.mlp_extractor.policy_net[0], model.policy.action_net
    assert isinstance(hidden, nn.Linear)
    assert isinstance(last, nn.Linear)
    return hidden, last


def peers() -> tuple[TRPO, Policy]:
    """Return their algorithm with a full buffer, and our policy with its weights."""
    model = TRPO(
        "MlpPolicy",
        Nowhere(),
        n_steps=STEPS,
        batch_size=STEPS,
        n_critic_updates=1,
        cg_max_steps=60,
        cg_damping=0.1,
        target_kl=0.02,
        policy_kwargs={"net_arch": [8]},
        seed=3,
        device="cpu",
    )
    model.set_logger(Logger(None, []))
    policy = Policy(4, Nowhere.action_space, (8,), 0.0)
    layers = [layer for layer in policy.layers if isinstance(layer, nn.Linear)]
    source = theirs_of(model)
    with torch.no_grad():
        source[1].weight.mul_(50)  # so that no curvature is far below another
        for ours, other in zip(layers, source, strict=True):
            ours.load_state_dict(other.state_dict())
    rng, buffer = np.random.default_rng(0), model.rollout_buffer
    buffer.reset()
    for _ in range(STEPS):
        seen = rng.uniform(-1, 1, (1, 4)).astype(np.float32)
        with torch.no_grad():
            action, value, log_pi = model.policy(torch.from_numpy(seen))
        reward = action.numpy()[:, 0] * seen[:, 1]
        buffer.add(seen, action.numpy(), reward, np.zeros(1), value, log_pi)
    buffer.compute_returns_and_advantage(torch.zeros(1), np.zeros(1))
    return model, policy


def test_a_step_is_that_of_sb3_contrib_with_a_bound_of_as_many_components() -> None:
    """Their bound and damping count for a component's mean, so ours are three times as large."""
    model, policy = peers()
    buffer = model.rollout_buffer
    arrays = (buffer.observations, buffer.actions, buffer.advantages)
    seen, action, advantage = (torch.from_numpy(x.reshape(STEPS, -1).copy()) for x in arrays)
    before = torch.nn.utils.parameters_to_vector(policy.parameters()).detach()
    damping, delta = ACTIONS * 0.1, ACTIONS * 0.02
    local = LocalModel(policy, seen, action, damping=damping, iterations=60)
    search, _ = trpo_step(local, standardised(advantage[:, 0]), delta)
    model.train()
    layers = theirs_of(model)
    parts = [model.policy.log_std, *(p for layer in layers for p in layer.parameters())]
    expected = torch.cat([p.detach().flatten() for p in parts])
    found = torch.nn.utils.parameters_to_vector(policy.parameters()).detach()
    assert search.scale > 0
    assert float((expected - before).norm()) > 0.1
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "components"), [("pendulum", 1), ("swimmer", 2), ("hopper", 3), ("half_cheetah", 6)]
)
def test_scenarios_give_both_the_same_trust_region(name: str, components: int) -> None:
    agents = scenarios.load(name).agents
    assert agents["qprop"]["delta"] == pytest.approx(components * agents["trpo"]["target_kl"])


@pytest.mark.parametrize("envs", [5, 20, 50, 100])
def test_a_fifth_of_the_batch_is_of_all_environments_and_times(envs: int) -> None:
    """Every fifth row would be of envs / 5 environments alone."""
    rows = sample_rows(200 * envs, 5)
    assert len(rows) == len(set(rows.tolist())) == 40 * envs
    assert len(set((rows % envs).tolist())) == envs
    times = torch.bincount(rows // envs // 50, minlength=4) / len(rows)
    assert times.tolist() == pytest.approx([0.25] * 4, abs=0.06)
    assert torch.equal(rows, sample_rows(200 * envs, 5))
    assert sample_rows(7, 3).shape == (3,)
    assert sample_rows(4, 1).tolist() == [0, 1, 2, 3]


def test_the_divergence_speaks_of_all_environments() -> None:
    """Ten environments, of which only the first has s = 1: H of the weight is E[s^2] / var = 0.1.

    Every tenth row would have said 1.
    """
    torch.manual_seed(0)
    policy = Policy(1, Box(-1, 1, (1,)), (), 0.0)
    seen = torch.zeros(500, 10, 1)
    seen[:, 0] = 1.0
    rows = seen.flatten(0, 1)
    model = LocalModel(policy, rows, torch.zeros(5000, 1), damping=0.0, iterations=10, stride=10)
    weight = torch.cat([torch.full_like(p, float(p.ndim == 2)).flatten() for p in model.parameters])
    assert float(model.product(weight) @ weight) == pytest.approx(0.1, abs=0.03)
