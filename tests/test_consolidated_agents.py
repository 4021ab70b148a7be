"""EWC, SI and L2 with agents that learn action values, and with those of stable-baselines3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from daedalus.agents import make_agent
from daedalus.agents.consolidation import L2
from daedalus.agents.ewc import diagonal_fisher
from daedalus.agents.sb3_fisher import likelihoods_of
from daedalus.agents.si import SI

CATCH, PENDULUM = "daedalus/Catch-v0", "Pendulum-v1"
SETTINGS: dict[str, dict[str, Any]] = {
    "dqn": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "sac": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "td3": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "tqc": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "qrdqn": {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "net_arch": (16,)},
    "ppo": {"n_steps": 10, "batch_size": 20, "n_epochs": 2, "net_arch": (16,)},
    "a2c": {"n_steps": 5, "net_arch": (16,)},
    "iql": {"learning_starts": 20, "batch_size": 8, "hidden": 16},
}


def made(name: str, env: str = CATCH, **settings: Any) -> Any:
    cls = make_agent(name)
    config = cls.Config(**{**SETTINGS[name], "fisher_samples": 64, **settings})
    return cls(env, config, num_envs=2, seed=1, device="cpu")


def numbers(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def test_the_penalty_reaches_what_each_optimiser_moves_by_hand() -> None:
    """Two optimisers, anchors at 0: a step of .1 down 2 * 3 theta takes 1 to .4, and 2 stays 2."""
    first, second, free = numbers(1.0), numbers(2.0), numbers(5.0)
    kept = L2([first, second], 6.0)
    kept.put("latest", torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    optimizers = [torch.optim.SGD([p, free], lr=0.1) for p in (first, second)]
    for optimizer in optimizers:
        kept.attach(optimizer)
    free.grad = torch.zeros_like(free)
    optimizers[0].step()
    assert [first.item(), second.item(), free.item()] == pytest.approx([0.4, 2.0, 5.0])
    optimizers[1].step()
    assert second.item() == pytest.approx(2 - 0.1 * 6 * 2)


def test_the_path_integral_takes_the_gradient_of_the_step_that_is_taken() -> None:
    """Gradients that another loss left on the second parameter are none of the first one's step."""
    first, second = numbers(1.0), numbers(2.0)
    kept = SI([first, second], 1.0, 0.1)
    optimizer = torch.optim.SGD([first], lr=0.5)
    kept.attach(optimizer)
    first.grad, second.grad = torch.full_like(first, 3.0), torch.full_like(second, 7.0)
    optimizer.step()
    assert kept.omega.tolist() == [pytest.approx(3.0 * 1.5), 0.0]


@pytest.mark.parametrize("name", ["dqn", "ppo", "a2c"])
def test_the_fisher_information_of_last_biases_by_hand(name: str) -> None:
    """1 / A for each action's value; E[pi (1 - pi)] for an action, the loss's weight for V."""
    agent = made(name, consolidation="ewc").learn(60)
    model = agent.model
    if name == "dqn":
        fisher = diagonal_fisher([model.policy.q_net.q_net[-1].bias], likelihoods_of(agent))
        assert fisher.tolist() == pytest.approx([1 / 3] * 3)
        return
    parameters = [model.policy.action_net.bias, model.policy.value_net.bias]
    fisher = diagonal_fisher(parameters, likelihoods_of(agent))
    assert fisher[3].item() == pytest.approx(model.vf_coef)
    likely = torch.full((3,), 1 / 3)  # an untrained policy's, about
    torch.testing.assert_close(fisher[:3], likely * (1 - likely), rtol=0.1, atol=0)


@pytest.mark.parametrize("name", ["sac", "td3", "tqc"])
def test_the_fisher_information_of_actors_and_critics(name: str) -> None:
    """Last biases: 1 of a critic, 1 / q^2 of each of q quantiles; 1 / std^2 of an actor's mean."""
    agent = made(name, PENDULUM, consolidation="ewc", fisher_samples=200).learn(40)
    policy = agent.model.policy
    first = policy.critic.q_networks[0] if name == "tqc" else policy.critic.qf0
    critic = diagonal_fisher([first[-1].bias], likelihoods_of(agent))
    assert critic.tolist() == pytest.approx([1 / len(critic) ** 2] * len(critic), rel=1e-4)
    if name == "td3":
        return
    actor = diagonal_fisher([policy.actor.mu.bias], likelihoods_of(agent))
    seen = agent.model.replay_buffer.sample(200).observations
    with torch.no_grad():
        log_std = policy.actor.get_action_dist_params(seen)[1]
    assert actor.item() == pytest.approx(float((-2 * log_std).exp().mean()), rel=0.3)


def test_the_fisher_information_of_independent_learners_by_hand() -> None:
    agent = made("iql", consolidation="ewc").learn(80)
    bias = [p for name, p in agent.network.named_parameters() if name.endswith("bias")][-1]
    assert diagonal_fisher([bias], agent.likelihoods()).tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("name", ["dqn", "qrdqn", "ppo", "iql"])
@pytest.mark.parametrize("method", ["ewc", "si", "l2"])
def test_it_goes_on_bit_for_bit(name: str, method: str, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    whole = made(name, consolidation=method, consolidation_weight=1.0).learn(80)
    whole.finish_task("first")
    whole.logger.sinks.append(lambda _, row: rows.append(dict(row)))
    whole.learn(40, reset_num_timesteps=False)
    assert rows[-1]["train/consolidation_distance"] > 0
    whole.save(tmp_path / "half")
    second = gymnasium.make_vec(CATCH, 2, "vector_entry_point")
    again = make_agent(name).load(tmp_path / "half", env=second, device="cpu")
    for agent in (whole, again):
        agent.learn(60, reset_num_timesteps=False)
        agent.finish_task("second")
    assert torch.equal(whole.consolidation.vector(), again.consolidation.vector())
    for key, value in whole.consolidation.get_state().items():
        assert torch.equal(value, again.consolidation.get_state()[key]), key


@pytest.mark.parametrize("name", ["dqn", "sac", "a2c"])
def test_what_was_learnt_is_held(name: str) -> None:
    """A strong penalty keeps all parameters nearer to where they were than none does."""
    away = []
    for weight in (0.0, 100.0):
        env = PENDULUM if name == "sac" else CATCH
        agent = made(name, env, consolidation="l2", consolidation_weight=weight).learn(80)
        agent.finish_task("first")
        before = agent.consolidation.vector()
        agent.learn(300, reset_num_timesteps=False)
        away.append(float((agent.consolidation.vector() - before).norm()))
    assert away[1] < 0.8 * away[0]


def test_what_is_annealed_begins_anew_with_a_task() -> None:
    """Exploration falls to .05 over a tenth of a task, and learning waits for 20 steps of it."""
    agent = made("dqn", consolidation="si").learn(200)
    assert agent.model.exploration_rate == pytest.approx(0.05)
    agent.finish_task("first")
    updates = agent.model._n_updates
    agent.learn(10, reset_num_timesteps=False)
    assert agent.model._n_updates == updates
    agent.learn(190, reset_num_timesteps=False)
    assert agent.model.exploration_rate == pytest.approx(0.05)
    assert agent.model._n_updates > updates


def test_who_cannot_says_so() -> None:
    cls = make_agent("recurrent_ppo")
    agent = cls(CATCH, cls.Config(n_steps=4, consolidation="ewc"), num_envs=2, device="cpu")
    with pytest.raises(ValueError, match="take consolidation si or l2"):
        agent.learn(8).finish_task("first")
    alone = made("iql", consolidation="ewc", replay=False, fingerprint=False).learn(80)
    with pytest.raises(ValueError, match="leave replay on"):
        alone.finish_task("first")
    for name in ("trpo", "ars"):
        assert not hasattr(make_agent(name).Config(), "consolidation")
    with pytest.raises(ValueError, match="none, l2, ewc, online_ewc or si"):
        made("dqn", consolidation="evc")
    assert np.isfinite(made("dqn").learn(60).num_updates)
