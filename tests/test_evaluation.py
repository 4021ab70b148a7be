"""Scores: statistics against known values, one episode per held-out seed, nothing disturbed."""

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from daedalus.envs import probes
from daedalus.envs.batch import Batch
from daedalus.evaluation import Evaluation, bootstrap_interval, evaluate, held_out_seeds, iqm
from daedalus.evaluation.policy import Choice, RandomPolicy
from daedalus.evaluation.report import as_json, score_table
from daedalus.evaluation.statistics import mean


class Coin(gymnasium.Env[np.ndarray, np.int64]):
    """One reward at the end; episodes that pay 0 last 1 step, those that pay 1 last 20."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space: gymnasium.Space[Any] = Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw what the episode will be."""
        super().reset(seed=seed)
        self.pays, self.age = int(self.np_random.integers(2)), 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Count to the end."""
        self.age += 1
        ended = self.age == (20 if self.pays else 1)
        return np.zeros(1, np.float32), float(ended and self.pays), ended, False, {}


def coins(seeds: list[int]) -> np.ndarray:
    """What each seed pays."""
    env = Coin()
    result = []
    for seed in seeds:
        env.reset(seed=seed)
        result.append(env.pays)
    return np.array(result, float)


# ---- statistics ---------------------------------------------------------------------------------


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert iqm(np.arange(8.0)) == 3.5
    assert iqm(np.array([-1000.0, 1, 2, 3, 4, 5, 6, 1000])) == 3.5
    assert iqm(np.array([[0.0, 100.0], [1.0, 2.0]])) == 1.5
    assert iqm(np.array([7.0])) == 7.0


def test_the_same_generator_gives_the_same_interval_and_runs_stay_with_their_task() -> None:
    scores = np.random.default_rng(0).normal(size=(10, 3))
    first = bootstrap_interval(scores, np.random.default_rng(1))
    assert first == bootstrap_interval(scores, np.random.default_rng(1))
    assert first != bootstrap_interval(scores, np.random.default_rng(2))
    tasks = np.tile([0.0, 10.0], (5, 1))  # equal runs: resampling within a task changes nothing
    assert bootstrap_interval(tasks, np.random.default_rng(0), mean) == (5.0, 5.0)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(2.0, 1.0, 40), rng, mean, resamples=300)
        hits += low <= 2.0 <= high
    assert 0.88 <= hits / 200 <= 0.985


@pytest.mark.parametrize(
    ("scores", "message"), [([], "there are no scores"), ([1.0, np.nan], "score 1 is not finite")]
)
def test_scores_that_say_nothing_are_refused(scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        iqm(np.array(scores))
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval(np.ones(3), np.random.default_rng(0), confidence=95)


# ---- evaluate -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_each_seed_gives_one_episode_so_short_ones_are_not_favoured(mode: AutoresetMode) -> None:
    envs = SyncVectorEnv([Coin] * 8, autoreset_mode=mode)
    scores = evaluate("random", envs, 50)
    expected = coins(held_out_seeds(50))
    np.testing.assert_array_equal(scores.returns, expected)
    np.testing.assert_array_equal(scores.lengths, np.where(expected, 20, 1))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_last_step_of_an_episode_costs_too(mode: AutoresetMode) -> None:
    class Toll(Coin):
        def step(self, action: Any) -> Any:
            """Pay 1 for every step."""
            *result, info = super().step(action)
            return *result, info | {"cost": 1.0}

    scores = evaluate("random", SyncVectorEnv([Toll] * 3, autoreset_mode=mode), 10)
    np.testing.assert_array_equal(scores.costs, scores.lengths)


def test_scores_do_not_depend_on_how_many_environments_step_together() -> None:
    class Right:
        name = "right"

        def start(self, num_envs: int, seed: int) -> None:
            """Nothing to forget."""

        def choose(self, observation, reward, start) -> Choice:  # type: ignore[no-untyped-def]
            """Go right."""
            return Choice(np.full(len(reward), 2), None)

    one, many = (evaluate(Right(), "daedalus/Catch-v0", 20, num_envs=n) for n in (1, 16))
    np.testing.assert_array_equal(one.returns, many.returns)
    assert set(one.lengths) == {9}


@pytest.mark.parametrize("mode", ["same_step", "next_step"])
def test_policies_see_rewards_and_starts_of_episodes(mode: str) -> None:
    class Listener(RandomPolicy):
        starts: list[bool] = []
        rewards: list[float] = []

        def choose(self, observation, reward, start) -> Choice:  # type: ignore[no-untyped-def]
            """Note what is heard of environment 0."""
            self.starts.append(bool(start[0]))
            self.rewards.append(float(reward[0]))
            return super().choose(observation, reward, start)

    batch = Batch(probes.Catch(rows=3, columns=1), 1, autoreset=mode)
    listener = Listener(batch.action_space)
    Listener.starts, Listener.rewards = [], []
    evaluate(listener, batch, seeds=[1, 2])
    assert Listener.starts == [True, False, True, False]
    assert Listener.rewards == [0.0, 0.0, 0.0, 0.0]  # the last reward has no choice after it


def test_held_out_seeds_grow_at_the_end_and_differ_by_seed() -> None:
    assert held_out_seeds(5) == held_out_seeds(100)[:5]
    assert not set(held_out_seeds(100)) & set(held_out_seeds(100, seed=1))
    assert len(set(held_out_seeds(1000))) == 1000


def test_evaluating_an_agent_leaves_its_training_alone() -> None:
    torch = pytest.importorskip("torch")
    from daedalus.agents.actor_critic import ActorCritic, Config

    agent = ActorCritic("daedalus/Catch-v0", Config(lstm=8, hidden=8), num_envs=2, seed=0)
    before = agent.generators["act"].get_state().clone()
    first = evaluate(agent, "daedalus/Catch-v0", 12)
    second = evaluate(agent, "daedalus/Catch-v0", 12)
    assert torch.equal(agent.generators["act"].get_state(), before)
    np.testing.assert_array_equal(first.returns, second.returns)
    assert first.policy == "actor_critic"


def test_an_sb3_model_is_a_policy() -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    model = sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    assert evaluate(model, "CartPole-v1", 3, deterministic=True).policy == "ppo"


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_an_sb3_model_scores_the_same_again_and_is_left_alone(algorithm: str) -> None:
    sb3, torch = pytest.importorskip("stable_baselines3"), pytest.importorskip("torch")
    model = getattr(sb3, algorithm)("MlpPolicy", "CartPole-v1", device="cpu")
    model.exploration_rate = 0.5  # DQN draws from NumPy and from its action space

    def states() -> list[object]:
        drawn = np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002
        space = repr(model.action_space.np_random.bit_generator.state)
        return [torch.get_rng_state().tolist(), drawn, space]

    before = states()
    first, again = (evaluate(model, "CartPole-v1", 6).returns for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(set(first)) > 1
    assert states() == before


def test_a_model_need_not_have_an_action_space_that_can_be_replaced() -> None:
    class Own:
        action_space = property(lambda self: Coin.action_space)

        def predict(self, seen: np.ndarray, **_: Any) -> Any:
            """Do nothing."""
            return np.zeros(len(seen), np.int64), None

    model = Own()
    assert len(evaluate(model, SyncVectorEnv([Coin] * 2), 3).returns) == 3
    number: Any = type("Number", (Own,), {"action_space": 3})
    assert len(evaluate(number(), SyncVectorEnv([Coin] * 2), 3).returns) == 3


class Named(Coin):
    """A coin that is seen in a dictionary of one array."""

    observation_space: Any = gymnasium.spaces.Dict({"a": Coin.observation_space})

    def reset(self, **kwargs: Any) -> Any:
        """Name the observation."""
        return {"a": super().reset(**kwargs)[0]}, {}

    def step(self, action: np.int64) -> Any:
        """Name the observation."""
        seen, *rest = super().step(action)
        return {"a": seen}, *rest


def test_an_sb3_model_of_one_named_array_is_given_it_by_name() -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    model = sb3.PPO("MultiInputPolicy", Named(), n_steps=8, batch_size=8, device="cpu")
    scores = evaluate(model, SyncVectorEnv([Named] * 2), 4)
    np.testing.assert_array_equal(scores.returns, coins(held_out_seeds(4)))


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        evaluate("random", "daedalus/Catch-v0", 0)
    with pytest.raises(TypeError, match="'random', an agent or an SB3 model"):
        evaluate("clever", "daedalus/Catch-v0", 1)


def test_an_episode_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["daedalus.evaluation.evaluate"], "MAX_STEPS", 50)
    with pytest.raises(ValueError, match="did not end within 50 steps"):
        evaluate("random", "daedalus/Catch-v0", 1, env_kwargs={"rows": 100})


def test_the_table_and_the_data_hold_what_was_measured() -> None:
    scores = Evaluation("random", np.arange(4), np.array([0.0, 1, 2, 100]), np.array([5, 5, 5, 6]))
    lines = score_table([scores]).splitlines()
    assert lines[0].split()[0] == "policy"
    assert "25.75 [" in lines[1]
    assert "1.50 [" in lines[1]
    data = as_json([scores], "E-v0", {})
    assert data["policies"]["random"]["returns"] == [0.0, 1.0, 2.0, 100.0]
    assert len(data["policies"]["random"]["interval"]) == 2


def test_a_single_episode_has_no_interval() -> None:
    scores = Evaluation("random", np.arange(1), np.array([2.0]), np.array([5]))
    assert score_table([scores]).splitlines()[1].split() == ["random", "2.00", "2.00", "5"]
    small = Evaluation("random", np.arange(2), np.array([0.0004, 0.0006]), np.array([5, 5]))
    assert score_table([small]).splitlines()[1].split()[1:4] == ["0.0005", "[0.0004,", "0.0006]"]
    found = as_json([scores], "E-v0", {})["policies"]["random"]
    assert (found["mean"], found["interval"], found["iqm_interval"]) == (2.0, None, None)
