"""stable-baselines3's algorithms as agents, and its ``VecEnv`` both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import daedalus
from daedalus.accelerators.checkpoint import load_checkpoint
from daedalus.accelerators.guards import NotFiniteError
from daedalus.accelerators.sb3_vec_env import SB3Batch, as_vec_env
from daedalus.accelerators.vector import make_batch
from daedalus.agents import agent_names, entry_point, make_agent
from daedalus.agents.base import Inputs, Seen
from daedalus.agents.training import train

CATCH, CARTPOLE, PENDULUM = "daedalus/Catch-v0", "CartPole-v1", "Pendulum-v1"
SMALL = {"buffer_size": 500, "learning_starts": 20, "batch_size": 16, "net_arch": (16,)}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "a2c": (CARTPOLE, {"n_steps": 8}),
    "ars": (CARTPOLE, {"n_delta": 1, "n_top": 1}),
    "crossq": (PENDULUM, SMALL),
    "ddpg": (PENDULUM, SMALL | {"action_noise_std": 0.1}),
    "dqn": (CARTPOLE, SMALL),
    "maskable_ppo": ("test/Masked-v0", {"n_steps": 8, "batch_size": 16, "n_epochs": 1}),
    "ppo": (CARTPOLE, {"n_steps": 8, "batch_size": 16, "n_epochs": 1}),
    "qrdqn": (CARTPOLE, SMALL),
    "recurrent_ppo": (CARTPOLE, {"n_steps": 8, "batch_size": 16, "n_epochs": 1}),
    "sac": (PENDULUM, SMALL),
    "td3": (PENDULUM, SMALL),
    "tqc": (PENDULUM, SMALL),
    "trpo": (CARTPOLE, {"n_steps": 8, "batch_size": 16}),
}


class Scripted(gymnasium.Env[Any, Any]):
    """Returns what it was made to return; odd actions are not allowed where there is a mask."""

    def __init__(
        self, space: gymnasium.Space[Any] | None = None, bad: str = "", action: Any = None
    ) -> None:
        """Observe samples of ``space``, by default a masked one; ``bad`` is to be NaN once."""
        masked = Dict({"x": Box(-1, 1, (3,), np.float32), "action_mask": Box(0, 1, (4,), np.int8)})
        self.observation_space = space or masked
        self.action_space = action or Discrete(4)
        self.taken: list[Any] = []
        self.bad, self.time, self.masked = bad, 0, space is None

    def observe(self) -> Any:
        observation = self.observation_space.sample()
        if self.masked:
            observation["action_mask"] = np.array([1, 0, 1, 0], np.int8)
        return observation

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.time = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.taken.append(np.array(action).tolist())
        self.time += 1
        reward = float("nan") if self.bad == "reward" and self.time == 15 else 1.0
        reward -= 100 * (self.masked and action % 2)  # what the mask forbids
        return self.observe(), reward, False, self.time >= 20, {}


gymnasium.register("test/Masked-v0", entry_point=lambda **kwargs: Scripted(**kwargs))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name: str, env: Any = None, **config: Any) -> Any:
    agent_class = make_agent(name)
    env_id, small = CASES[name]
    return agent_class(env or env_id, agent_class.Config(**{**small, **config}), device="cpu")


def tensors_of(agent: Any) -> dict[str, np.ndarray]:
    tensors, _ = agent.get_state()
    return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in tensors.items()}


# -- VecEnv, both ways


def test_our_batch_as_vec_env_tells_of_ends_as_stable_baselines3_does() -> None:
    batch = make_batch(CATCH, 3)
    reference = make_batch(CATCH, 3)
    reference.reset([5, 6, 7])
    env = as_vec_env(batch)
    env.next_seeds([5, 6, 7])
    np.testing.assert_array_equal(env.reset(), reference.observation["board"])
    ends = 0
    for step in range(40):
        actions = np.array([step % 3, (step + 1) % 3, 1])
        observation, reward, done, infos = env.step(actions)
        reference.step(actions)
        np.testing.assert_array_equal(observation, reference.observation["board"])
        np.testing.assert_array_equal(reward, reference.reward)
        for i in np.flatnonzero(done):
            ends += 1
            last = reference.final_observation["board"][i]
            np.testing.assert_array_equal(infos[i]["terminal_observation"], last)
            assert infos[i]["TimeLimit.truncated"] is bool(reference.truncated[i])
            assert infos[i]["episode"]["l"] > 1
    assert ends > 5


def test_what_the_vec_env_returned_is_the_callers() -> None:
    env = as_vec_env(make_batch(CATCH, 2))
    before = env.reset()
    kept = before.copy()
    _, reward, _, _ = env.step(np.array([0, 0]))
    np.testing.assert_array_equal(before, kept)
    reward += 100.0
    assert env.batch.reward.max() < 100


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_autoreset_mode_looks_the_same_through_a_vec_env(mode: AutoresetMode) -> None:
    def play(mode: AutoresetMode) -> list[Any]:
        make_one = lambda: gymnasium.make(CARTPOLE)  # noqa: E731
        env = as_vec_env(make_batch(SyncVectorEnv([make_one] * 2, autoreset_mode=mode)))
        env.next_seeds([1, 2])
        seen: list[Any] = [env.reset()]
        for step in range(60):
            observation, reward, done, infos = env.step(np.array([step % 2, 1]))
            last = [info.get("terminal_observation") for info in infos]
            seen += [observation, reward, done, *[x for x in last if x is not None]]
        return seen

    expected, got = play(AutoresetMode.SAME_STEP), play(mode)
    assert len(expected) == len(got)
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_vec_env_as_a_batch_equals_the_environments_themselves() -> None:
    make_one = lambda: gymnasium.make(CARTPOLE, max_episode_steps=15)  # noqa: E731
    theirs = make_batch(DummyVecEnv([make_one] * 3))
    assert isinstance(theirs, SB3Batch)
    ours = make_batch(SyncVectorEnv([make_one] * 3, autoreset_mode=AutoresetMode.SAME_STEP))
    for batch in (theirs, ours):
        batch.reset([1, 2, 3])
    for step in range(100):
        for batch in (theirs, ours):
            batch.step(np.array([step % 2, 1, 0]))
        for name in ("reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))
        for a, b in zip(
            (theirs.observation, theirs.next_observation),
            (ours.observation, ours.next_observation),
            strict=True,
        ):
            np.testing.assert_array_equal(a["observation"], b["observation"])
    assert theirs.pop_episodes() == ours.pop_episodes()


def test_an_agent_of_ours_trains_on_a_wrapped_vec_env() -> None:
    env = VecMonitor(DummyVecEnv([lambda: gymnasium.make(CARTPOLE)] * 2))
    agent = make_agent("actor_critic")(env, device="cpu")
    agent.learn(100)
    assert agent.num_timesteps >= 100


# -- every algorithm


@pytest.mark.parametrize("name", CASES)
def test_an_algorithm_trains_saves_and_predicts_the_same_when_loaded(
    name: str, tmp_path: Path
) -> None:
    agent = make(name).learn(150)
    assert agent.num_timesteps >= 150
    agent.save(tmp_path)
    files = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {"manifest.json", "state.json", "tensors.safetensors"}
    loaded = type(agent).load(tmp_path, device="cpu")
    observation = {name: array.copy() for name, array in agent.batch.observation.items()}
    action, _ = agent.predict(observation, deterministic=True)
    again, state = loaded.predict(observation, deterministic=True)
    np.testing.assert_array_equal(action, again)
    loaded.predict(observation, state, np.ones(agent.num_envs, bool))


class _StateAt(BaseCallback):
    """Keeps the state of training between two updates."""

    def __init__(self, least: int) -> None:
        """Keep it at the first chance after ``least`` steps."""
        super().__init__()
        self.least = least
        self.state: dict[str, Any] = {}
        self.tensors: dict[str, np.ndarray] = {}

    def _on_rollout_start(self) -> None:
        if not self.state and self.model.num_timesteps >= self.least:
            self.tensors = {k: v.copy() for k, v in tensors_of(self.model).items()}
            self.state = json.loads(json.dumps(self.model.get_state()[1]))  # type: ignore[attr-defined]

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "env"),
    [("ppo", CATCH), ("a2c", CATCH), ("recurrent_ppo", CATCH), ("dqn", CATCH), ("ars", CATCH)],
)
def test_a_resumed_run_equals_one_that_never_stopped(name: str, env: str) -> None:
    middle = _StateAt(128)
    whole = make(name, env).learn(256, callback=middle)
    second = type(whole).from_state(middle.tensors, middle.state, env=env, device="cpu")
    train(second, 256)
    expected, got = tensors_of(whole), tensors_of(second)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(value, got[key], err_msg=key)


def test_masked_actions_are_never_taken() -> None:
    agent = make("maskable_ppo").learn(400)
    assert {episode["r"] for episode in agent.ep_info_buffer} == {20.0}
    action, _ = agent.predict(dict(agent.batch.observation))
    assert not (action % 2).any()


def test_continuous_replay_resumes_with_its_generators() -> None:
    one, other = make("sac").learn(60), make("sac").learn(60)
    for key, value in tensors_of(one).items():
        np.testing.assert_array_equal(value, tensors_of(other)[key], err_msg=key)
    kept = {k: v.copy() for k, v in tensors_of(one).items()}
    _, state = one.get_state()
    loaded = type(one).from_state(kept, state, env=PENDULUM, device="cpu")
    for key in ("store/replay/observations", "store/streams/numpy", "store/variables/log_ent_coef"):
        np.testing.assert_array_equal(kept[key], tensors_of(loaded)[key], err_msg=key)


def test_an_agent_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = torch.rand(1).item(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    agent = make("dqn").learn(60)
    agent.predict(dict(agent.batch.observation))
    assert (torch.rand(1).item(), np.random.rand()) == expected  # noqa: NPY002


# -- settings


@pytest.mark.parametrize("name", CASES)
def test_settings_come_from_the_signature(name: str) -> None:
    agent_class = make_agent(name)
    config = agent_class.Config()
    fields = dataclasses.fields(config)
    assert {"policy", "net_arch"} <= {field.name for field in fields}
    assert not {"seed", "device", "env", "verbose"} & {field.name for field in fields}
    told = [field for field in fields if field.metadata["help"]]
    assert len(told) >= 0.9 * len(fields)
    assert agent_class.Config(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_settings_reach_the_algorithm() -> None:
    agent = make("td3", gamma=0.9, net_arch=(7, 5), action_noise_std=0.2, policy_delay=3)
    assert agent.model.gamma == 0.9
    assert agent.model.policy_delay == 3
    assert agent.model.policy.net_arch == [7, 5]
    assert agent.model.action_noise is not None


@pytest.mark.parametrize(
    ("space", "policy", "features"),
    [
        (Box(0, 255, (40, 44, 3), np.uint8), "ActorCriticCnnPolicy", "NatureCNN"),
        (Box(0, 255, (21, 21, 3), np.uint8), "ActorCriticPolicy", "Features"),
        (Box(0, 255, (16, 16), np.uint8), "ActorCriticPolicy", "Features"),
        (Box(0, 255, (7, 7, 3), np.uint8), "ActorCriticPolicy", "Features"),
        (Box(0, 255, (128,), np.uint8), "ActorCriticPolicy", "Features"),
        (Discrete(5), "ActorCriticPolicy", "FlattenExtractor"),
        (
            Dict({"image": Box(0, 255, (21, 21, 3), np.uint8), "goal": Discrete(3)}),
            "MultiInputActorCriticPolicy",
            "Features",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_policy_follows_the_observation_space(
    space: gymnasium.Space[Any], policy: str, features: str
) -> None:
    agent = make("ppo", Scripted(space), policy="auto")
    assert type(agent.model.policy).__name__ == policy
    assert type(agent.model.policy.features_extractor).__name__ == features
    agent.learn(40)


def test_an_algorithm_refuses_spaces_and_policies_that_it_has_not() -> None:
    flat = Box(-1, 1, (3,), np.float32)
    for name, env, told in (
        (
            "dqn",
            PENDULUM,
            r"dqn takes Discrete actions, and these are Box\(-2.+ use ppo, a2c or act",
        ),
        ("sac", Scripted(flat, action=MultiDiscrete([2, 2])), "sac takes Box actions, .+ use ppo"),
        ("ars", Scripted(flat, action=MultiDiscrete([2, 2])), "ars takes Box and Discrete actions"),
        ("maskable_ppo", CARTPOLE, "observation named action_mask.+without one take ppo"),
    ):
        with pytest.raises(ValueError, match=told):
            make(name, env)
    with pytest.raises(TypeError, match="no agent takes actions of Dict spaces"):
        make("ppo", Scripted(flat, action=Dict({"a": Discrete(2)})))
    with pytest.raises(ValueError, match="no policy 'Transformer'; it has: MlpPolicy"):
        make("ppo", policy="Transformer")
    with pytest.raises(ValueError, match=r"ARS has no policy for a MultiInput .+; use ppo, a2c or"):
        make("ars", Scripted(Dict({"a": Box(0, 1, (2,)), "b": Discrete(2)})))


@pytest.mark.parametrize(
    ("space", "bias", "action", "stored"),
    [
        (Discrete(3, start=5), [0.0, 0.0, 90.0], 7, [2.0]),
        (MultiDiscrete([2, 3], start=[1, -4]), [90.0, 0.0, 0.0, 90.0, 0.0], [1, -3], [0, 1]),
    ],
)
def test_actions_that_begin_elsewhere_are_those_of_the_space(
    space: Any, bias: list[float], action: Any, stored: list[float], tmp_path: Path
) -> None:
    env = Scripted(Box(-1, 1, (3,), np.float32), action=space)
    agent = make("ppo", env, batch_size=8, learning_rate=0.0)
    with torch.no_grad():
        agent.model.policy.action_net.weight.zero_()
        agent.model.policy.action_net.bias.copy_(torch.tensor(bias))
    agent.learn(8)
    assert env.taken == [action] * 8
    assert agent.model.rollout_buffer.actions.reshape(8, -1).tolist() == [stored] * 8
    agent.save(tmp_path)
    loaded = type(agent).load(tmp_path, device="cpu")
    assert loaded.predict(np.zeros(3, np.float32))[0].tolist() == action
    evaluate_policy(loaded, agent.get_env(), n_eval_episodes=1)
    assert env.taken[8:] == [action] * 20
    second = Scripted(Box(-1, 1, (3,), np.float32), action=space)
    agent.set_env(second)
    agent.learn(8)
    assert second.taken == [action] * 8


def test_a_replay_counts_from_0_what_the_environment_counts_from_elsewhere() -> None:
    env = Scripted(Discrete(4, start=2), action=Discrete(3, start=-1))
    agent = make("dqn", env).learn(60)
    replay = agent.model.replay_buffer
    assert {taken + 1 for taken in env.taken} == {0, 1, 2}
    assert replay.actions[:60, 0, 0].tolist() == [taken + 1 for taken in env.taken]
    assert set(replay.observations[:60].ravel()) == {0, 1, 2, 3}


def test_observations_that_begin_elsewhere_are_one_hot() -> None:
    agent = make("ppo", Scripted(Discrete(4, start=2)), net_arch=(), batch_size=8)
    network = agent.model.policy.action_net
    seen = torch.tensor([2, 5])
    start = torch.ones(2, dtype=torch.bool)
    inputs = Inputs({"observation": seen}, torch.zeros(2, dtype=torch.int64), torch.zeros(2), start)
    logits = network.weight.T[[0, 3]] + network.bias  # of one-hot features
    with torch.no_grad():
        found = agent.outputs(inputs, {}).policy
        acted = agent.act(inputs, {}, deterministic=True)
        shown = agent.inspect(Seen(inputs, acted), None, {})["probabilities"]
    torch.testing.assert_close(found.softmax(1), logits.detach().softmax(1))
    torch.testing.assert_close(shown, logits.detach().softmax(1))
    expected = logits.argmax(1).numpy()
    np.testing.assert_array_equal(agent.predict(seen.numpy(), deterministic=True)[0], expected)


@pytest.mark.parametrize("several", [False, True])
def test_an_lstm_reads_multidiscrete_observations(several: bool) -> None:
    part = MultiDiscrete([2, 3], start=[1, 0])
    space = Dict({"a": part, "b": Box(-1, 1, (4,), np.float32)}) if several else part
    agent = make("recurrent_ppo", Scripted(space)).learn(16)
    assert agent.model.policy.lstm_actor.input_size == (9 if several else 5)
    assert agent.predict(space.sample())[0] in range(4)


@pytest.mark.parametrize("name", ["actor_critic", "ppo"])
def test_predict_refuses_what_is_no_observation(name: str) -> None:
    agent = make_agent(name)(CATCH, num_envs=2, device="cpu")
    board = np.zeros((10, 5), np.float32)
    assert agent.predict(board)[0].shape == ()
    assert agent.predict(np.stack([board] * 3))[0].shape == (3,)
    with pytest.raises(ValueError, match=r"board has the shape \(5, 10\): \(10, 5\) is needed"):
        agent.predict(board.T)
    with pytest.raises(NotFiniteError, match=r"board is nan at index \[0, 0\]"):
        agent.predict(board * np.nan)


def test_predict_refuses_arrays_of_unequal_batches() -> None:
    space = Dict({"a": Box(-1, 1, (2,), np.float32), "b": Box(-1, 1, (4,), np.float32)})
    agent = make_agent("actor_critic")(Scripted(space), device="cpu")

    def seen(a: tuple[int, ...], b: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {"a": np.zeros((*a, 2), np.float32), "b": np.zeros((*b, 4), np.float32)}

    assert agent.predict(seen((), ()))[0].shape == ()
    assert agent.predict(seen((3,), (3,)))[0].shape == (3,)
    with pytest.raises(ValueError, match="batches of one size: a is single, b has 3"):
        agent.predict(seen((), (3,)))
    with pytest.raises(ValueError, match="batches of one size: a has 2, b has 3"):
        agent.predict(seen((2,), (3,)))


def test_every_agent_can_be_imported_by_its_class() -> None:
    for name in agent_names():
        kind = entry_point(name).partition(":")[2]
        assert getattr(daedalus, kind) is make_agent(name)


# -- faults, files, callbacks


@pytest.mark.parametrize("name", ["ppo", "a2c", "dqn", "recurrent_ppo"])
def test_a_reward_that_is_not_a_number_stops_before_the_weights(name: str) -> None:
    agent = make(name, Scripted(Box(-1, 1, (3,), np.float32), bad="reward"))
    with pytest.raises(NotFiniteError, match="reward is nan"):
        agent.learn(1000)
    assert all(torch.isfinite(p).all() for p in agent.model.policy.parameters())


def test_a_gradient_that_is_not_a_number_stops_before_the_weights() -> None:
    agent = make("a2c")
    parameter = next(agent.model.policy.parameters())
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(NotFiniteError, match="gradient"):
        agent.learn(100)
    assert torch.isfinite(parameter).all()


def test_a_zip_is_read_only_when_trusted(tmp_path: Path) -> None:
    model = stable_baselines3.PPO("MlpPolicy", CARTPOLE, n_steps=8, batch_size=8, gamma=0.9)
    model.save(tmp_path / "theirs")
    ppo = make_agent("ppo")
    with pytest.raises(ValueError, match="trust=True"):
        ppo.load(tmp_path / "theirs.zip")
    agent = ppo.load(tmp_path / "theirs", device="cpu", trust=True)
    assert agent.config.gamma == 0.9
    observation = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected, _ = model.predict(observation, deterministic=True)
    np.testing.assert_array_equal(agent.predict(observation, deterministic=True)[0], expected)
    agent.save(tmp_path / "ours")
    assert load_checkpoint(tmp_path / "ours").state["agent"] == "ppo"


def test_a_zip_of_other_networks_says_so(tmp_path: Path) -> None:
    kwargs = {"activation_fn": torch.nn.ReLU, "share_features_extractor": False}
    kwargs["net_arch"] = {"pi": [3], "vf": [4]}
    model = stable_baselines3.PPO(
        "MlpPolicy", CARTPOLE, n_steps=8, batch_size=8, policy_kwargs=kwargs
    )
    model.save(tmp_path / "theirs.zip")
    with pytest.raises(ValueError, match="cannot make"):
        make_agent("ppo").load(tmp_path / "theirs.zip", trust=True)


def test_callbacks_and_evaluation_of_stable_baselines3_work() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return bool(self.num_timesteps < 80)

    agent = make("ppo", n_steps=4)
    agent.learn(10_000, callback=Stop())
    assert 80 <= agent.num_timesteps <= 100
    mean, _ = evaluate_policy(agent, agent.get_env(), n_eval_episodes=2)
    assert float(np.mean(mean)) >= 1


def test_ppo_learns_to_say_what_it_sees() -> None:
    agent = make("ppo", "daedalus/Identity-v0", n_steps=32, n_epochs=4, learning_rate=3e-3)
    agent.learn(4_000)
    batch = agent.batch
    before = agent.ep_info_buffer
    assert batch.num_envs == 8
    returns = [episode["r"] / episode["l"] for episode in before]
    assert 0.8 < np.mean(returns[-20:]) <= 1.0
