"""One test body for every registered agent; registering is enough to be tested."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

from daedalus.accelerators.guards import NotFiniteError
from daedalus.agents import agent_names, make_agent
from daedalus.agents.base import Agent
from daedalus.envs.batch import Batch
from daedalus.envs.web.family import Web

SMALL: dict[str, Any] = {
    **{"n_steps": 8, "hidden": 16, "lstm": 8, "net_arch": (16,)},  # small networks, short rollouts
    **{"batch_size": 8, "n_epochs": 1, "buffer_size": 400, "learning_starts": 16},
    **{"replay_start": 16, "replay_length": 40, "n_delta": 2, "target_update_interval": 16},
    **{"horizon": 3, "dilation": 3, "goal_size": 8, "embedding": 4},
    **{"samples": 2},
    **{"demonstrations": 0},  # nor pages to fill in
    **{"pixel_control": 0.0, "depth_1": 0.0, "depth_2": 0.0, "loop_closure": 0.0},  # no images here
}
"""Settings that make an update quick; each agent takes those that it has."""
STEPS = 96


class World(gymnasium.Env[Any, Any]):
    """A vector that shows which action pays; episodes of 7 steps that end or are cut in turn."""

    def __init__(self, continuous: bool = False, masked: bool = False, graph: str = "") -> None:
        """Choose the kind of actions, whether some are forbidden, and what a graph is placed by."""
        self.action_space = Box(-1, 1, (2,), np.float32) if continuous else Discrete(3)
        self.observation_space: gymnasium.Space[Any] = Box(-1, 1, (3,), np.float32)
        if masked:
            spaces = {"vector": self.observation_space, "action_mask": MultiBinary(3)}
            self.observation_space = Dict(spaces)
        if graph:  # four groups on three devices, "whole" or "one" group at a time
            self.action_space = MultiDiscrete([3] * 4) if graph == "whole" else Discrete(3)
            nodes, edges = Box(-1, 10, (4, 11), np.float32), Box(-1, 3, (3, 2), np.int32)
            self.observation_space = Dict({"nodes": nodes, "edges": edges})
        self.masked, self.graph = masked, graph
        self.steps = self.episodes = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.episodes = 0, self.episodes + 1
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        assert not self.masked or self.mask[action], "a forbidden action"
        reward = float(self.vector[0] * np.sum(action))
        self.steps += 1
        over, ends = self.steps == 7, self.episodes % 2 == 0
        return self._observe(), reward, over and ends, over and not ends, {}

    def _observe(self) -> Any:
        self.vector = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        self.mask = np.array([1, *self.np_random.integers(0, 2, 2)], np.int8)
        if self.graph:
            nodes = np.full((4, 11), self.vector[0], np.float32)
            nodes[:, 0] = 1.0
            return {"nodes": nodes, "edges": np.array([[0, 1], [0, 2], [1, 3]], np.int32)}
        return {"vector": self.vector, "action_mask": self.mask} if self.masked else self.vector


KINDS: dict[str, dict[str, Any]] = {
    name: {"continuous": True} for name in ("ddpg", "td3", "sac", "tqc", "crossq", "qprop")
}
KINDS["maskable_ppo"] = {"masked": True}
KINDS |= {name: {"graph": "whole"} for name in ("placer", "hierarchical_placer")}
KINDS["placeto"] = {"graph": "one"}
OWN: dict[str, dict[str, Any]] = {"progressive": {"lstm": 0}, "distral": {"lstm": 0}}
"""What an agent needs instead of `SMALL`."""
every_agent = pytest.mark.parametrize("name", agent_names())


def worlds(name: str) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Make two worlds of the kind that an agent can act in."""
    kind, mode = KINDS.get(name, {}), gymnasium.vector.AutoresetMode.SAME_STEP
    return gymnasium.vector.SyncVectorEnv([lambda: World(**kind)] * 2, autoreset_mode=mode)


def new(name: str, seed: int = 3, device: str = "cpu", env: Any = None, **settings: Any) -> Agent:
    """Make a small agent in two worlds."""
    cls = make_agent(name)
    known = {field.name for field in fields(cls.Config)}
    small = {key: value for key, value in SMALL.items() if key in known}
    config = cls.Config(**(small | OWN.get(name, {}) | settings))
    made = cls(worlds(name) if env is None else env, config, seed=seed, device=device)
    assert isinstance(made, Agent)
    return made


def parameters(agent: Agent) -> torch.Tensor:
    """Return everything that the agent has learned as one vector."""
    modules = [m.state_dict().values() for m in agent.modules.values()]
    found = [value.flatten().double() for values in modules for value in values]
    if not found:  # an algorithm without gradients keeps its weights elsewhere
        state = agent.get_state()[0]
        found = [torch.as_tensor(v).flatten().double() for k, v in state.items() if "weights" in k]
    return torch.cat(found).clone()


@every_agent
def test_it_learns_from_truncated_and_terminated_episodes(name: str) -> None:
    agent = new(name)
    before = parameters(agent)
    agent.learn(STEPS)
    after = parameters(agent)
    assert agent.num_timesteps >= STEPS
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    assert agent.ep_info_buffer


LIMITED = [n for n in agent_names() if hasattr(make_agent(n).Config, "max_gradient_norm")]


@pytest.mark.parametrize("name", LIMITED)
def test_a_limit_of_0_leaves_gradients_as_they_are(name: str) -> None:
    """As one that none reaches; a limit that all reach is felt."""
    none, far, near = (
        parameters(new(name, max_gradient_norm=limit).learn(40)) for limit in (0.0, 1e9, 1e-9)
    )
    assert torch.equal(none, far)
    assert not torch.equal(none, near)


@every_agent
def test_it_predicts_as_stable_baselines3_does(name: str) -> None:
    agent = new(name)
    world = World(**KINDS.get(name, {}))
    observation, _ = world.reset(seed=1)
    action, state = agent.predict(observation)
    assert world.action_space.contains(action)
    action, _ = agent.predict(observation, state, np.array([False]), deterministic=True)
    assert world.action_space.contains(action)
    batched, _ = agent.predict(agent.get_env().reset())
    assert batched.shape == (2, *(world.action_space.shape or ()))


@every_agent
def test_the_same_seed_gives_the_same_agent(name: str) -> None:
    first, second, other = (parameters(new(name, seed).learn(STEPS)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@every_agent
def test_a_saved_agent_is_the_same_agent(name: str, tmp_path: Path) -> None:
    agent = new(name).learn(STEPS)
    agent.save(tmp_path / "saved")
    loaded = make_agent(name).load(tmp_path / "saved", device="cpu")
    assert torch.equal(parameters(agent), parameters(loaded))
    assert loaded.num_timesteps == agent.num_timesteps
    observation = agent.get_env().reset()
    for a, b in zip(
        agent.predict(observation, deterministic=True)[0],
        loaded.predict(observation, deterministic=True)[0],
        strict=True,
    ):
        assert np.array_equal(a, b)


def tables() -> Batch:
    """Make two pages, shown as tables, for `web`."""
    return Batch(Web(task="click-test-2", instances=8), 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("ignore:saved on another kind of device")
def test_all_train_on_a_gpu_and_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    """Replays, too, must come back to where the networks are; a CPU can watch what was learnt."""
    shown = {"demonstrations": 2, "clone_updates": 2, "width": 8}
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        *((name, partial(worlds, name), {}) for name in agent_names()),
        ("web", tables, shown),
    ]
    for i, (name, make, settings) in enumerate(cases):
        agent = new(name, device="cuda", env=make(), **settings).learn(STEPS)
        agent.save(tmp_path / f"{i}")
        loaded = make_agent(name).load(tmp_path / f"{i}", env=make(), device="cuda")
        assert torch.equal(parameters(agent).cpu(), parameters(loaded).cpu()), name
        loaded.learn(STEPS, reset_num_timesteps=False)
        assert torch.isfinite(parameters(loaded)).all(), name
        assert loaded.num_timesteps >= 2 * STEPS, name
        elsewhere = make_agent(name).load(tmp_path / f"{i}", env=make(), device="cpu")
        assert torch.equal(parameters(agent).cpu(), parameters(elsewhere)), name
        elsewhere.learn(STEPS, reset_num_timesteps=False)


@every_agent
def test_a_checkpoint_of_another_agent_is_refused(name: str, tmp_path: Path) -> None:
    other = "ppo" if name != "ppo" else "a2c"
    new(other).save(tmp_path / "saved")
    with pytest.raises(ValueError, match=other):
        make_agent(name).load(tmp_path / "saved", device="cpu")


@every_agent
def test_what_is_not_finite_stops_it_before_it_reaches_a_weight(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = new(name).learn(STEPS)
    before = parameters(agent)
    observation = World(**KINDS.get(name, {})).reset(seed=5)[0]
    monkeypatch.setattr(World, "step", lambda *_: (observation, np.nan, False, False, {}))
    with pytest.raises(NotFiniteError, match="reward"):
        agent.learn(STEPS, reset_num_timesteps=False)
    assert torch.equal(before, parameters(agent))


# ------------------------------------------------------------------- other spaces than `World`'s


class Several(gymnasium.Env[Any, Any]):
    """Several vectors of all kinds, any actions, a cost in half of the steps; 7 steps."""

    def __init__(self, actions: Any) -> None:
        """Choose the actions."""
        self.action_space = actions
        kinds = {
            "place": Box(-1, 1, (2, 2), np.float32),
            "heading": Discrete(4, start=1),
            "gear": MultiDiscrete([2, 3]),
            "doors": MultiBinary(2),
        }
        self.observation_space = Dict(kinds)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.steps += 1
        seen, cost = self.observation_space.sample(), float(self.steps % 2)
        return seen, float(np.sum(action)), False, self.steps == 7, {"cost": cost}


MULTIPLE = MultiDiscrete([2, 3], start=[0, -1])
CONSTRAINED = ("cpo", "pdo", "trpo_penalty", "ppo_lagrangian")


def acting_part(agent: Agent) -> torch.Tensor:
    """Return the weights of the policy as one vector."""
    named = agent.modules["network"].named_parameters()
    return torch.cat([p.detach().flatten() for n, p in named if "policy" in n or "actor" in n])


def learned(name: str, actions: Any) -> Agent:
    """Train a small agent in `Several`, and see that its policy moved and acts within its space."""
    cls = make_agent(name)
    known = {field.name for field in fields(cls.Config)}
    config = cls.Config(**{key: value for key, value in SMALL.items() if key in known})
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    envs = gymnasium.vector.SyncVectorEnv([lambda: Several(actions)] * 2, autoreset_mode=mode)
    agent: Agent = cls(envs, config, seed=3, device="cpu")
    before = acting_part(agent)
    agent.learn(STEPS)
    after = acting_part(agent)
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    observation, _ = Several(actions).reset(seed=1)
    for deterministic in (True, False):
        action, _ = agent.predict(observation, deterministic=deterministic)
        assert actions.contains(np.asarray(action, actions.dtype))
    return agent


@pytest.mark.parametrize("name", [*CONSTRAINED, "pgq", "feudal"])
def test_it_learns_with_several_vectors_and_actions_of_several_components(name: str) -> None:
    learned(name, MULTIPLE)


@pytest.mark.parametrize("name", [*CONSTRAINED, "feudal"])
def test_it_learns_with_several_vectors_and_continuous_actions(name: str) -> None:
    learned(name, Box(-1, 1, (2,), np.float32))


@pytest.mark.parametrize("name", CONSTRAINED)
def test_constrained_agents_read_every_vector(name: str) -> None:
    """2 x 2 numbers, one-hot 4, 2 and 3, and 2 bits: 15 in a row, in the order of their names."""
    agent: Any = learned(name, Discrete(3))
    network = agent.learner.network
    assert network.inputs == 15
    assert 3 < agent.learner.ledger.worst < 5  # an episode costs 4, in steps 1, 3, 5 and 7
    seen = {
        "place": torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]),
        "heading": torch.tensor([3]),
        "gear": torch.tensor([[1, 0]]),
        "doors": torch.tensor([[0, 1]]),
    }
    rows: dict[str, list[float]] = {"place": [0.1, 0.2, 0.3, 0.4], "doors": [0, 1]}
    rows |= {"gear": [0, 1, 1, 0, 0], "heading": [0, 0, 1, 0]}
    expected = [float(x) for name in network.spaces for x in rows[name]]
    assert network.flatten(seen)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["pgq", "distral", "iql"])
def test_agents_that_cannot_take_continuous_actions_name_one_that_can(name: str) -> None:
    with pytest.raises(TypeError, match=r"these are Box.+: use .*ppo") as caught:
        learned(name, Box(-1, 1, (2,), np.float32))
    assert "\n" not in str(caught.value)
