"""The engine: random streams, batching, time limits, autoreset, seeding, state, cache."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from daedalus.envs import cache, core, random
from daedalus.envs.batch import Batch
from daedalus.envs.faces import NativeEnv, NativeVectorEnv
from daedalus.envs.probes import Catch, ConstantReward, Identity, Recall

ROOT = Path(__file__).parents[1]


def _state(seed: int) -> Any:
    state = np.zeros(1, core.engine_dtype(Catch()))
    state["seed_key"] = seed
    random.begin_episode(state[0])
    return state[0]


def _mix(value: int) -> int:
    """SplitMix64's finaliser in plain integers, written from the paper."""
    mask = 2**64 - 1
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)


def test_a_draw_is_the_hash_of_key_and_count() -> None:
    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    base = _mix((7 + golden) & mask)
    key = _mix((base + (random.GOAL + 1) * golden) & mask)
    state = _state(7)
    for count in (1, 2, 3):
        assert int(random.bits(state, random.GOAL)) == _mix((key + count * golden) & mask)


def test_streams_do_not_disturb_each_other() -> None:
    one, other = _state(3), _state(3)
    for _ in range(5):
        random.uniform(other, random.LAYOUT)
    assert random.uniform(one, random.GOAL) == random.uniform(other, random.GOAL)


def test_draws_have_the_right_distribution() -> None:
    state = _state(11)
    uniform = np.array([random.uniform(state, random.NOISE) for _ in range(20_000)])
    normal = np.array([random.normal(state, random.NOISE) for _ in range(20_000)])
    counts = np.bincount([random.integers(state, random.NOISE, 5) for _ in range(20_000)])
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert counts.shape == (5,)
    assert abs(counts / 20_000 - 0.2).max() < 0.015


def test_set_stream_pins_one_stream_over_episodes() -> None:
    state = _state(5)
    draws = []
    for _ in range(2):
        random.begin_episode(state)
        random.set_stream(state, random.LAYOUT, 42)
        draws.append((random.bits(state, random.LAYOUT), random.bits(state, random.GOAL)))
    assert draws[0][0] == draws[1][0]
    assert draws[0][1] != draws[1][1]


def test_catch_by_hand() -> None:
    env = NativeEnv(Catch, rows=3, columns=3)
    board, _ = env.reset(seed=0)
    column = int(board[0].argmax())
    assert board.sum() == 2
    assert board[2, 1] == 1  # the paddle starts in the middle
    toward = 1 + np.sign(column - 1)
    board, reward, terminated, truncated, _ = env.step(toward)
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert board[1, column] == 1
    _, reward, terminated, truncated, _ = env.step(1)
    assert (reward, terminated, truncated) == (1.0, True, False)


def _trace(batch: Batch, actions: np.ndarray) -> list[np.ndarray]:
    batch.reset(17)
    trace = [batch.observation["symbol"].copy()]
    for action in actions:
        batch.step(action)
        trace += [
            batch.observation["symbol"].copy(),
            batch.reward.copy(),
            batch.terminated.copy(),
            batch.truncated.copy(),
            batch.next_observation["symbol"],
        ]
    return trace


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads: int) -> None:
    actions = np.random.default_rng(0).integers(0, 2, (60, 7))
    one = _trace(Batch(Recall(), 7), actions)
    many = _trace(Batch(Recall(), 7, threads=threads), actions)
    assert all(np.array_equal(a, b) for a, b in zip(one, many, strict=True))


def test_an_environment_is_the_same_in_any_batch() -> None:
    actions = np.random.default_rng(1).integers(0, 4, (250, 5))
    whole = Batch(Identity(noise=0.5), 5)
    whole.reset(100)
    singles = [Batch(Identity(noise=0.5), 1) for _ in range(5)]
    for i, single in enumerate(singles):
        single.reset(100 + i)
    for action in actions:
        whole.step(action)
        for i, single in enumerate(singles):
            single.step(action[i : i + 1])
            assert np.array_equal(single.observation["symbol"][0], whole.observation["symbol"][i])
            assert single.reward[0] == whole.reward[i]


def _play(env: Any, actions: np.ndarray) -> list[Any]:
    observation, _ = env.reset(seed=5)
    trace: list[Any] = [observation]
    for action in actions:
        observation, reward, terminated, truncated, infos = env.step(action)
        trace += [observation, reward, terminated, truncated]
        final = infos.get("final_obs", [None] * len(action))
        trace += [np.zeros(0) if row is None else row for row in final]
    return trace


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("family", [Catch, Recall, ConstantReward])
def test_autoreset_is_gymnasiums(mode: AutoresetMode, family: Any) -> None:
    """The native vector equals Gymnasium's own SyncVectorEnv of the single environments."""
    actions = np.random.default_rng(2).integers(0, 2, (80, 3))
    native = NativeVectorEnv(family, num_envs=3, autoreset_mode=mode)
    reference = SyncVectorEnv([lambda: NativeEnv(family)] * 3, autoreset_mode=mode)
    for a, b in zip(_play(native, actions), _play(reference, actions), strict=True):
        assert np.array_equal(a, b)


def test_disabled_autoreset_waits_for_a_masked_reset() -> None:
    env = NativeVectorEnv(Catch, num_envs=2, autoreset_mode="disabled", rows=2)
    with pytest.raises(ResetNeeded):
        env.step(np.array([1, 1]))
    env.reset(seed=0)
    _, _, terminated, _, _ = env.step(np.array([1, 1]))
    assert terminated.all()
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match="environment 1 is over"):
        env.step(np.array([1, 1]))
    with pytest.raises(TypeError):
        env.reset(options={"reset_mask": [True, False]})
    with pytest.raises(ValueError, match="shape"):
        env.reset(options={"reset_mask": np.zeros(2, bool)})


def test_next_observation_differs_only_where_an_episode_ended() -> None:
    batch = Batch(Catch(rows=4), 6)
    batch.reset(0)
    for step in range(7):
        batch.step(np.ones(6, int))
        ended = step % 3 == 2
        assert batch.ended.all() == ended
        ball = batch.next_observation["board"][:, 3].sum(-1)  # ball and paddle share the last row
        assert (ball == 1 + (batch.reward < 1)).all() if ended else (ball == 1).all()
        assert (batch.observation["board"][:, 0].sum(-1) == 1).all() == ended


def test_time_limit_truncates_and_never_terminates() -> None:
    batch = Batch(ConstantReward(), 2, time_limit=3)
    batch.reset(0)
    ends = []
    for _ in range(7):
        batch.step(np.zeros(2, int))
        assert not batch.terminated.any()
        ends.append(bool(batch.truncated.all()))
    assert ends == [False, False, True, False, False, True, False]
    assert batch.pop_episodes() == [(3.0, 3)] * 4
    assert batch.pop_episodes() == []


def test_unread_episodes_are_dropped_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daedalus.envs.batch.UNREAD", 6)
    batch = Batch(ConstantReward(length=3), 4)
    batch.reset(0)
    for step in range(15):  # five times four episodes: the third and the fifth make twelve or more
        if step == 12:
            batch.states["episode_return"] += 1.0
        batch.step(np.zeros(4, np.int64))
    assert batch.pop_episodes() == [(3.0, 3)] * 2 + [(4.0, 3)] * 4
    assert batch.pop_episodes() == []


def test_termination_wins_over_the_time_limit() -> None:
    batch = Batch(ConstantReward(length=3), 1, time_limit=3)
    batch.reset(0)
    for _ in range(3):
        batch.step(np.zeros(1, int))
    assert batch.terminated[0]
    assert not batch.truncated[0]


def test_seeds_and_episodes() -> None:
    batch = Batch(Identity(symbols=50), 64)
    batch.reset(1)
    first = batch.observation["symbol"].copy()
    batch.reset()
    assert not np.array_equal(first, batch.observation["symbol"])  # the next episode is another
    batch.reset(1)
    assert np.array_equal(first, batch.observation["symbol"])
    batch.reset([1 + i for i in range(64)])
    assert np.array_equal(first, batch.observation["symbol"])
    with pytest.raises(ValueError, match="3 seeds for 64"):
        batch.reset([1, 2, 3])


def test_unseeded_environments_differ() -> None:
    boards = []
    for _ in range(2):
        batch = Batch(Identity(symbols=1000), 8)
        batch.reset()
        boards.append(batch.observation["symbol"].copy())
    assert not np.array_equal(boards[0], boards[1])


def test_state_restores_bit_for_bit() -> None:
    actions = np.random.default_rng(3).integers(0, 4, (40, 3))
    batch = Batch(Identity(noise=1.0), 3)
    batch.reset(0)
    for action in actions[:20]:
        batch.step(action)
    state = batch.get_state()
    expected = _after(batch, actions[20:])
    other = Batch(Identity(noise=1.0), 3)
    other.set_state(state)
    assert np.array_equal(_after(other, actions[20:]), expected)
    with pytest.raises(ValueError, match="expected"):
        Batch(Identity(noise=1.0), 4).set_state(state)
    with pytest.raises(ValueError, match="expected"):
        Batch(Catch(), 3).set_state(state)
    short = Batch(ConstantReward(length=3), 3).get_state()
    with pytest.raises(ValueError, match="not of ConstantReward with these parameters"):
        Batch(ConstantReward(length=4), 3).set_state(short)
    del state["family"]  # as earlier versions saved it
    other.set_state(state)
    assert np.array_equal(_after(other, actions[20:]), expected)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("made", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize(
    "env", [lambda: NativeEnv(Catch), lambda: NativeVectorEnv(Catch, num_envs=3, threads=2)]
)
def test_a_copy_goes_on_alike_and_by_itself(env: Any, made: Any, begun: bool) -> None:
    one = env()
    if begun:
        one.reset(seed=5)
        one.step(one.action_space.sample())
    other = made(one)
    assert other.batch.states.base is not one.batch.states
    kernels = len(core.batch_step.overloads)
    for seed in (None, 6) if begun else (6,):
        if seed is not None:
            one.reset(seed=seed), other.reset(seed=seed)
        for _ in range(8):
            if one.batch.autoreset == "disabled" and one.batch.ended.any():
                break
            action = one.action_space.sample()
            first = [np.copy(part) for part in one.step(action)[:4]]
            for a, b in zip(first, other.step(action)[:4], strict=True):
                assert np.array_equal(a, b)
    assert len(core.batch_step.overloads) == kernels  # nothing is compiled for a copy
    before = one.batch.states.copy()
    other.reset(seed=9)
    assert (one.batch.states == before).all()
    one.close(), other.close()


def _after(batch: Batch, actions: np.ndarray) -> np.ndarray:
    trace = [batch.observation["symbol"].copy()]
    for action in actions:
        batch.step(action)
        trace += [batch.observation["symbol"].copy()]
    return np.array(trace)


def test_returned_arrays_belong_to_the_caller() -> None:
    env = gymnasium.make_vec("daedalus/Catch-v0", num_envs=2)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    second, *_ = env.step(np.array([0, 0]))
    assert np.array_equal(first, kept)
    second[:] = 9
    third, *_ = env.step(np.array([0, 0]))
    assert third.max() == 1
    lean = NativeVectorEnv(Catch, num_envs=2, copy=False)
    assert lean.reset(seed=0)[0] is lean.step(np.array([0, 0]))[0]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros(3, int), r"shape \(3,\), expected \(2,\)"),
        (np.zeros((2, 1), int), r"shape \(2, 1\), expected \(2,\)"),
        (np.zeros(2), "expected integers"),
        (np.array([0, 3]), "action 3 of environment 1 is outside"),
        (np.array([-1, 0]), "action -1 of environment 0 is outside"),
    ],
)
def test_wrong_actions_are_refused_and_change_nothing(actions: np.ndarray, message: str) -> None:
    batch = Batch(Catch(), 2)
    batch.reset(0)
    before = batch.get_state()
    with pytest.raises(ValueError, match=message):
        batch.step(actions)
    assert all(np.array_equal(before[k], v) for k, v in batch.get_state().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"num_envs": 1, "autoreset": "never"}, "autoreset must be one of"),
        ({"num_envs": 1, "time_limit": -5}, "whole number, 0 for none, got -5"),
        ({"num_envs": 1, "time_limit": 2.5}, "whole number, 0 for none, got 2.5"),
        ({"num_envs": 1, "observations": ("image",)}, "Catch has no observation 'image'"),
        ({"num_envs": 1, "labels": ("depth",)}, "Catch has no label 'depth'; it has: board"),
    ],
)
def test_wrong_arguments_say_what_is_right(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batch(Catch(), **arguments)


def test_the_maximum_of_gymnasium_make_vec_is_the_time_limit() -> None:
    env: Any = gymnasium.make_vec("daedalus/ConstantReward-v0", num_envs=1, max_episode_steps=2)
    env.reset(seed=0)
    ends = [bool(env.step(np.zeros(1, int))[3][0]) for _ in range(4)]
    assert ends == [False, True, False, True]


@pytest.mark.parametrize(("asked", "ends"), [(3, 3), (9, 5), (-1, 5)])
def test_limits_are_those_of_gymnasium_make(asked: int, ends: int) -> None:
    """The shorter limit holds, in a vector as around a single environment."""
    given: Any = {"max_episode_steps": asked, "time_limit": 5, "length": 0}
    alone = gymnasium.make("daedalus/ConstantReward-v0", **given)
    many = gymnasium.make_vec("daedalus/ConstantReward-v0", num_envs=2, **given)
    alone.reset(seed=0), many.reset(seed=0)
    for step in range(1, ends + 1):
        assert alone.step(0)[3] == many.step(np.zeros(2, int))[3].all() == (step == ends)


def test_a_family_that_knows_its_limit_is_told_another() -> None:
    """Loop closure remembers as many steps as an episode has."""
    env: Any = gymnasium.make("daedalus/NavMaze-v0", time_limit=4500)
    assert env.unwrapped.family.time_limit == env.unwrapped.batch.time_limit == 4500
    assert env.unwrapped.batch.states["trace_x"].shape[1] >= 4500


@pytest.mark.parametrize("mode", ["same_step", "SAME_STEP", "SameStep", AutoresetMode.SAME_STEP])
def test_autoreset_modes_have_names_and_values(mode: Any) -> None:
    made = NativeVectorEnv(Catch, num_envs=1, autoreset_mode=mode)
    assert made.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    with pytest.raises(ValueError, match="one of next_step, same_step, disabled, got 'never'"):
        NativeVectorEnv(Catch, num_envs=1, autoreset_mode="never")


def _run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


_PLAY_CATCH = """
import numpy as np
from daedalus.envs.batch import Batch
from daedalus.envs.probes import Catch
batch = Batch(Catch(rows=2), 8)
batch.reset(0)
batch.step(np.ones(8, int))
print(batch.reward.max())
"""


def test_a_second_process_loads_kernels_and_an_edit_is_seen(tmp_path: Path) -> None:
    """Numba alone would run stale code: it looks at the file of the calling kernel only."""
    for folder in ("daedalus", "scenarios", "envs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    where = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first = _run(_PLAY_CATCH, tmp_path, **where)
    assert "compiling Catch (first run only) ..." in first.stderr
    assert first.stdout.strip() == "1.0"
    assert "compiling" not in _run(_PLAY_CATCH, tmp_path, **where).stderr
    probes = tmp_path / "envs" / "probes" / "catch.py"
    probes.write_text(
        probes.read_text().replace("return (1.0 if state.ball", "return (5.0 if state.ball")
    )
    assert _run(_PLAY_CATCH, tmp_path, **where).stdout.strip() == "5.0"


_OWN_FAMILY = '''
"""A family of a user."""
from typing import NamedTuple
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from daedalus.envs import register
from daedalus.envs.core import Family

class Params(NamedTuple):
    goal: int

class Arrays(NamedTuple):
    place: np.ndarray

def reset(state, params):
    state.place = 0

def step(state, action, params):
    state.place += action
    return 1.0, state.place >= params.goal

def observe(state, params, out):
    out.place[0] = state.place

class Walk(Family):
    """Walk to the goal."""
    Params, Arrays = Params, Arrays
    observations = ("place",)
    reset, step, observe = reset, step, observe

    def __init__(self, *, goal=3):
        self.params = Params(goal)
        self.state_dtype = np.dtype([("place", "i8")])
        self.action_space = Discrete(2)
        self.spaces = {"place": Box(0, np.inf, (1,), np.float32)}

register("own/Walk-v0", "own_walk:Walk")
'''


def test_a_users_family_is_one_file_and_never_stale(tmp_path: Path) -> None:
    own = tmp_path / "own_walk.py"
    own.write_text(_OWN_FAMILY)
    code = (
        "import sys; sys.path.insert(0, '.'); import own_walk, gymnasium\n"
        "env = gymnasium.make_vec('own/Walk-v0', num_envs=4, goal=2)\n"
        "env.reset(seed=0); print(env.step([1] * 4)[1].sum(), env.step([1] * 4)[2].all())"
    )
    where = {"PYTHONPATH": str(ROOT)}
    first = _run(code, tmp_path, **where)
    assert first.stdout.split() == ["4.0", "True"]
    assert "compiling Walk (in every process) ..." in first.stderr
    own.write_text(_OWN_FAMILY.replace("return 1.0", "return 7.0"))
    assert _run(code, tmp_path, **where).stdout.split() == ["28.0", "True"]


def test_old_cache_folders_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for number in range(6):
        (tmp_path / f"envs-{number}").mkdir()
    cache.cache_folder.cache_clear()
    try:
        assert cache.cache_folder().is_dir()
    finally:
        monkeypatch.undo()
        cache.cache_folder.cache_clear()
    assert len(list(tmp_path.iterdir())) == cache.KEEP_FOLDERS
