"""Learning in seconds on tasks with known answers, bounded below and above; and the value test."""

from typing import Any

import numpy as np
import pytest
import torch

from daedalus.agents import make_agent
from daedalus.agents.base import Agent, Inputs
from daedalus.agents.losses import explained_variance, mean_of

OURS = ("actor_critic", "unreal", "nav", "pgq")
NO_IMAGE: dict[str, dict[str, Any]] = {
    "actor_critic": {},
    "unreal": {"pixel_control": 0.0, "replay_length": 200, "replay_start": 40},
    "nav": {"depth_2": 0.0, "loop_closure": 0.0},
    "pgq": {"replay_length": 200, "replay_start": 40},
}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained(name: str, env: str, steps: int, num_envs: int = 16, **settings: Any) -> Agent:
    """Return an agent after ``steps`` steps."""
    cls = make_agent(name)
    small = {"hidden": 32, "lstm": 0, "n_steps": 5, "learning_rate": 5e-3}
    config = cls.Config(**(small | NO_IMAGE[name] | settings))
    return cls(env, config, num_envs=num_envs, seed=1).learn(steps)  # type: ignore[no-any-return]


def mean_return(agent: Agent) -> float:
    return float(np.mean([episode["r"] for episode in agent.ep_info_buffer]))


def value_of(agent: Agent, observation: dict[str, torch.Tensor], state: Any) -> float:
    inputs = Inputs(
        observation, torch.zeros(1, dtype=torch.int64), torch.ones(1), torch.zeros(1).bool()
    )
    return float(agent.learner.value(inputs, state))  # type: ignore[attr-defined]


# -------------------------------------------------------------------------------- the value test


def test_a_cut_episode_is_judged_by_what_it_ended_with() -> None:
    """The observation after its last step and the LSTM's state then, neither those of later."""
    cls = make_agent("actor_critic")
    config = cls.Config(hidden=8, lstm=8, n_steps=12, feed_back=False)
    agent: Any = cls("daedalus/Catch-v0", config, num_envs=2, seed=1, device="cpu")
    rollout = agent.collector.collect(12)
    (t, b), *rest = rollout.final_index.tolist()
    assert rest
    assert t < 11
    cut = torch.zeros(12, 2, dtype=torch.bool)
    cut[t, b] = True
    rows = len(rollout.final_index)
    state = {k: torch.rand(rows, *v.shape[1:]) for k, v in rollout.final_state.items()}
    seen = torch.rand(rows, *rollout.final_observation["board"].shape[1:])
    rollout = rollout._replace(
        truncated=cut, terminated=~cut, final_state=state, final_observation={"board": seen}
    )
    found = agent.learner.next_value(rollout)
    first = {k: v[:1] for k, v in state.items()}
    assert found[t, b] == pytest.approx(value_of(agent, {"board": seen[:1]}, first), rel=1e-5)
    assert found[t, b] != pytest.approx(value_of(agent, {"board": seen[1:2]}, first), rel=1e-3)
    assert found[:-1].count_nonzero() == 1
    # where nothing is cut, the end of the rollout alone, with the memory of then
    plain = agent.learner.next_value(rollout._replace(truncated=torch.zeros_like(cut)))
    now = {k: v[:1] for k, v in rollout.state.items()}
    last = {"board": rollout.observation["board"][-1, :1]}
    assert plain[-1, 0] == pytest.approx(value_of(agent, last, now), rel=1e-5)


@pytest.mark.parametrize("name", OURS)
def test_a_time_limit_does_not_end_the_value(name: str) -> None:
    """Reward 1 for ever, cut after 20 steps: V = 1 / (1 - 0.9) = 10 (as an end: below 8.8)."""
    lstm = 8 if name == "nav" else 0
    steps = 60_000 if name == "nav" else 30_000
    agent = trained(name, "daedalus/ConstantReward-v0", steps, gamma=0.9, lstm=lstm)
    assert agent.collector is not None
    state = {k: v[:1] for k, v in agent.collector.state.items()}  # type: ignore[union-attr]
    value = value_of(agent, {"one": torch.ones(1, 1)}, state)
    assert 9.5 < value < 10.5


@pytest.mark.parametrize("name", OURS)
def test_a_terminal_state_has_no_value(name: str) -> None:
    """Episodes of one step and reward 1: V = 1, whatever the discount."""
    import gymnasium

    lstm = 8 if name == "nav" else 0
    env = gymnasium.make_vec("daedalus/ConstantReward-v0", 16, "vector_entry_point", length=1)
    cls = make_agent(name)
    small = {"hidden": 32, "lstm": lstm, "n_steps": 5, "learning_rate": 5e-3}
    agent = cls(env, cls.Config(**(small | NO_IMAGE[name])), seed=1).learn(12_000)
    observation = {"one": torch.ones(1, 1)}
    state = agent.initial_state(1)
    assert 0.95 < value_of(agent, observation, state) < 1.05


# ------------------------------------------------------------------------------------- probes


@pytest.mark.parametrize("name", ["actor_critic", "unreal", "pgq"])
def test_identity(name: str) -> None:
    agent = trained(name, "daedalus/Identity-v0", 24_000, gamma=0.5)
    assert 90 <= mean_return(agent) <= 100


@pytest.mark.parametrize("name", ["actor_critic", "unreal", "pgq"])
def test_catch(name: str) -> None:
    agent = trained(name, "daedalus/Catch-v0", 60_000, n_steps=9)
    assert 0.8 <= mean_return(agent) <= 1.0


@pytest.mark.parametrize("name", OURS)
def test_memory_needs_the_lstm(name: str) -> None:
    agent = trained(name, "daedalus/Recall-v0", 40_000, n_steps=12, lstm=32)
    assert 0.8 <= mean_return(agent) <= 1.0


def test_without_memory_recall_is_a_coin_toss() -> None:
    agent = trained("actor_critic", "daedalus/Recall-v0", 30_000, n_steps=12, lstm=0)
    assert -0.4 <= mean_return(agent) <= 0.4


# ------------------------------------------------------------------------------- what is logged


def test_means_and_explained_variance_count_the_steps_that_are_any() -> None:
    """V = 1, 2, 3 and R = 1, 3, 3 where valid: Var(R - V) = 1/3 of Var(R) = 4/3, so 3/4.

    A constant R has nothing to explain, and a rollout without a step that counts no mean.
    """
    value, returns = torch.tensor([[1.0, 2.0], [9.0, 3.0]]), torch.tensor([[1.0, 3.0], [0.0, 3.0]])
    valid = torch.tensor([[True, True], [False, True]])
    assert explained_variance(value, returns, valid).item() == pytest.approx(0.75)
    assert explained_variance(value, torch.full((2, 2), 0.1)).item() == 0.0
    assert mean_of(value, valid).item() == pytest.approx(2.0)
    assert mean_of(value.unsqueeze(-1).expand(2, 2, 5), valid).item() == pytest.approx(2.0)
    assert mean_of(value, torch.zeros(2, 2, dtype=torch.bool)).item() == 0.0
