"""The values that algorithms of stable-baselines3 show beside their actions."""

from typing import Any

import numpy as np
import pytest
import torch

from daedalus.agents import make_agent
from daedalus.evaluation.policy import AgentPolicy

DISCRETE = ("a2c", "dqn", "maskable_ppo", "ppo", "qrdqn", "recurrent_ppo", "trpo")
CONTINUOUS = ("crossq", "ddpg", "sac", "td3", "tqc")


def make(name: str, env: str = "CartPole-v1", **settings: Any) -> Any:
    kind = make_agent(name)
    config = kind.Config(**{"net_arch": (8,)} | settings)
    return kind(env, config, num_envs=1, device="cpu")


def observations(size: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, size)).astype(np.float32)


def choose(agent: Any, seen: np.ndarray) -> Any:
    """Let the agent act as evaluation does, at the start of episodes."""
    policy = AgentPolicy(agent, deterministic=True)
    policy.start(len(seen), seed=0)
    name = next(iter(agent.spaces.observation))
    return policy.choose({name: seen}, np.zeros(len(seen)), np.ones(len(seen), bool))


@pytest.mark.parametrize(
    ("name", "env", "size"),
    [(n, "CartPole-v1", 4) for n in DISCRETE if n != "maskable_ppo"]
    + [(n, "Pendulum-v1", 3) for n in CONTINUOUS],
)
def test_every_algorithm_that_estimates_a_value_shows_it(name: str, env: str, size: int) -> None:
    choice = choose(make(name, env), observations(size))
    assert choice.value.shape == (5,)
    assert np.isfinite(choice.value).all()
    assert np.unique(choice.value).size == 5


def test_random_search_estimates_none() -> None:
    assert choose(make("ars", net_arch=None), observations(4)).value is None


def test_values_are_those_of_the_networks() -> None:
    seen = observations(4)
    tensor = torch.from_numpy(seen)
    with torch.no_grad():
        ppo, dqn, qrdqn = make("ppo"), make("dqn"), make("qrdqn")
        expected = ppo.model.policy.predict_values(tensor).squeeze(1)
        np.testing.assert_allclose(choose(ppo, seen).value, expected, rtol=1e-5)
        q = dqn.model.q_net(tensor)
        chosen = q.gather(1, torch.from_numpy(choose(dqn, seen).action)[:, None]).squeeze(1)
        np.testing.assert_allclose(choose(dqn, seen).value, chosen, rtol=1e-5)
        quantiles = qrdqn.model.quantile_net(tensor).mean(1).max(1).values
        np.testing.assert_allclose(choose(qrdqn, seen).value, quantiles, rtol=1e-5)


def test_critics_judge_the_action_that_was_taken() -> None:
    agent, seen = make("sac", "Pendulum-v1"), observations(3)
    choice = choose(agent, seen)
    scaled = torch.from_numpy(choice.action / 2)  # torques of Pendulum reach from -2 to 2
    with torch.no_grad():
        both = torch.cat(agent.model.critic(torch.from_numpy(seen), scaled), 1)
    np.testing.assert_allclose(choice.value, both.min(1).values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("own", [True, False])
def test_a_recurrent_critic_remembers(own: bool) -> None:
    agent = make("recurrent_ppo")
    if not own:  # the actor's memory serves both
        policy = agent.model.policy
        policy.lstm_critic, policy.shared_lstm = None, True
    seen, state = observations(4, 3), None
    for t in range(3):
        start = np.array([t == 0])
        _, state = agent.predict(seen[t : t + 1], state, start, deterministic=True)
    assert state is not None
    memory = {k.removeprefix("recurrent/"): torch.from_numpy(v) for k, v in state.items()}
    assert ("critic_hidden" in memory) == own
    policy = agent.model.policy
    lstm = policy.lstm_critic if own else policy.lstm_actor
    with torch.no_grad():
        whole = torch.from_numpy(seen).unsqueeze(1)
        output, (hidden, _) = lstm(policy.vf_features_extractor(whole.flatten(1)).unsqueeze(1))
        value = policy.value_net(policy.mlp_extractor.forward_critic(output[-1]))
    name = "critic_hidden" if own else "hidden"
    torch.testing.assert_close(memory[name].transpose(0, 1), hidden, rtol=1e-4, atol=1e-6)
    from daedalus.agents.sb3_value import recurrent_value

    before = {k: v.numpy() for k, v in agent.initial_state(1).items()}
    found = None
    with torch.no_grad():
        memory = {k: torch.from_numpy(v) for k, v in before.items()}
        for t in range(3):
            start = np.array([t == 0])
            found, after = recurrent_value(policy, seen[t : t + 1], memory, start)
            if own:
                memory |= after
            else:
                _, (h, c) = lstm(
                    torch.from_numpy(seen[t])[None, None],
                    (memory["hidden"].transpose(0, 1), memory["cell"].transpose(0, 1)),
                )
                memory = {"hidden": h.transpose(0, 1), "cell": c.transpose(0, 1)}
    assert found is not None
    torch.testing.assert_close(found, value.flatten(), rtol=1e-4, atol=1e-6)
