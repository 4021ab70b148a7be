"""Tasks told apart by what is seen: the model's likelihoods, and agents that have to find out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from daedalus.accelerators.sequence import at_stage
from daedalus.accelerators.vector import make_batch
from daedalus.agents.actor_critic import ActorCritic, Config
from daedalus.agents.progressive import Progressive
from daedalus.agents.task_model import BINS, TaskModel, is_inferred, marginal
from daedalus.evaluation.evaluate import evaluate
from daedalus.scenarios import SEQUENCE, load_text

TEXT = """
env: daedalus/Catch-v0
env_kwargs: {rows: 6}
total_timesteps: 6000
task_id: inferred
stages:
  - {name: plain}
  - {name: noisy, env_kwargs: {noise: 0.1}}
  - {name: inverted, env_kwargs: {ball: -1.0, paddle: -1.0}}
"""
KWARGS = load_text(TEXT, name="three").env_kwargs
SMALL: dict[str, Any] = {"hidden": 16, "lstm": 0, "n_steps": 5, "anneal": False}
TASK = Box(-1.0, 1.0, (3,), np.float32)


def made(stage: int = 0) -> ActorCritic:
    kwargs = at_stage(SEQUENCE, KWARGS, stage)
    return ActorCritic(SEQUENCE, Config(**SMALL), num_envs=8, seed=1, env_kwargs=kwargs)


def test_the_marginal_likelihood_by_hand() -> None:
    """One number, seen twice in bin 0, then once in bin 1, with a prior of 1/16 a bin.

    p(0) p(0 | 0) p(1 | 0, 0) = 1/16 * (17/16)/2 * (1/16)/3; in any order.
    """
    window = torch.zeros(1, BINS)
    window[0, :2] = torch.tensor([2.0, 1.0])
    nothing = torch.zeros(1, BINS)
    expected = math.log(1 / 16 * (17 / 16) / 2 * (1 / 16) / 3)
    assert marginal(nothing, window) == pytest.approx(expected)
    seen = nothing.clone()
    seen[0, 0] = 9.0  # after nine in bin 0: 9.0625/10 * 10.0625/11 * 0.0625/12
    expected = math.log(9.0625 / 10 * 10.0625 / 11 * 0.0625 / 12)
    assert marginal(seen, window) == pytest.approx(expected)


def test_numbers_fall_into_sixteen_bins_of_their_bounds() -> None:
    spaces: dict[str, Any] = {
        "task": TASK,
        "bounded": Box(0.0, 2.0, (3,), np.float32),
        "unbounded": Box(-np.inf, np.inf, (2,), np.float32),
        "signed": Box(-128, 127, (1,), np.int8),
        "number": Discrete(5, start=3),
        "image": Box(0, 255, (84, 84, 3), np.uint8),
    }
    model = TaskModel(spaces)
    image = np.zeros((1, 84, 84, 3), np.uint8)
    image[0, 2, 4] = 255  # every second pixel counts: row 1, column 2 of 42 x 42
    bins = model.bins(
        {
            "bounded": np.array([[0.0, 1.0, 2.0]]),
            "unbounded": np.array([[-50.0, 0.0]]),
            "signed": np.array([[0]], np.int8),
            "number": np.array([4]),
            "image": image,
        }
    )
    assert bins[0, :7].tolist() == [0, 8, 15, 0, 8, 8, 1]
    assert bins.shape == (1, 7 + 42 * 42 * 3)
    assert np.flatnonzero(bins[0, 7:]).tolist() == [3 * (42 + 2) + c for c in range(3)]


def test_a_window_that_nobody_explains_is_a_task_of_its_own() -> None:
    model = TaskModel({"task": TASK, "x": Box(0.0, 1.0, (4,), np.float32)})
    low, high = (np.repeat(np.eye(BINS)[[k]], 4, 0) * 50 for k in (0, 15))
    assert [model.learn(w) for w in (low, high, low, high)] == [0, 1, 0, 1]
    assert model.tasks == 2
    seen = model.bins({"x": np.array([[0.0] * 4, [1.0] * 4, [1.0, 1.0, 1.0, 0.0]])})
    assert model.recognise(seen).argmax(1).tolist() == [0, 1, 1]
    model.counts[0] = 200.0  # everything alike, and each twice as often as the other task its bin
    assert model.recognise(seen).argmax(1).tolist() == [0, 1, 1]


def test_an_agent_finds_its_tasks_and_knows_them_again(tmp_path: Path) -> None:
    agent = made()
    assert agent.task_model is not None
    for stage, name in enumerate(("plain", "noisy", "inverted")):
        if stage:
            agent.finish_task(name)
            agent.set_env(SEQUENCE, env_kwargs=at_stage(SEQUENCE, KWARGS, stage))
        agent.learn(960, reset_num_timesteps=False)
        assert agent.task_model.tasks == stage + 1
        assert agent.batch is not None
        assert (agent.batch.observation["task"].argmax(1) == stage).all()
    agent.save(tmp_path / "saved")
    loaded = ActorCritic.load(tmp_path / "saved")
    for task, name in enumerate(("plain", "noisy", "inverted")):
        batch = make_batch(SEQUENCE, 16, env_kwargs={**KWARGS, "task": name})
        batch.reset(7)
        assert (batch.observation["task"] == -1).all(), "nobody tells"
        told = loaded.recognise(batch.observation)["task"].argmax(1)
        assert (told == task).mean() >= 0.9
        evaluation = evaluate(loaded, SEQUENCE, seeds=[1], env_kwargs={**KWARGS, "task": name})
        assert len(evaluation.returns) == 1
        loaded.predict(batch.observation)


def test_training_goes_on_bit_for_bit_in_the_middle_of_a_window(tmp_path: Path) -> None:
    whole, half = made(), made()
    whole.learn(600)
    half.learn(200)  # the window of 160 is a quarter full
    half.save(tmp_path / "half")
    kwargs = at_stage(SEQUENCE, KWARGS, 0)
    again = ActorCritic.load(tmp_path / "half", env=make_batch(SEQUENCE, 8, env_kwargs=kwargs))
    again.learn(400, reset_num_timesteps=False)
    a, b = whole.get_state()[0], again.get_state()[0]
    assert torch.equal(torch.as_tensor(a["task_model/counts"]), again.task_model.counts)  # type: ignore[union-attr]
    assert np.array_equal(
        a["collector/batch/recognised/window"], b["collector/batch/recognised/window"]
    )
    assert a["collector/batch/recognised/seen"] == 120
    assert again.task_model.counts[:, 0].sum() == 600 - 120  # type: ignore[union-attr]


def test_the_last_observation_of_an_episode_belongs_to_the_task_before() -> None:
    agent = made()
    agent.learn(480)
    assert agent.batch is not None
    while not agent.batch.terminated.any():
        agent.batch.step(np.zeros(8, np.int64))
    ended = agent.batch.next_observation
    assert (ended["task"].sum(1) == 1).all()
    last = agent.batch.final_observation["board"][agent.batch.terminated]
    assert np.array_equal(ended["board"][agent.batch.terminated], last)
    batch: Any = agent.batch
    batch._before, batch._task = np.eye(3)[[0] * 8], np.eye(3)[[1] * 8]
    assert (batch.final_observation["task"].argmax(1) == 0).all()
    here = batch.next_observation["task"].argmax(1)
    assert here.tolist() == np.where(batch.terminated | batch.truncated, 0, 1).tolist()


def test_who_cannot_find_out_says_so() -> None:
    with pytest.raises(ValueError, match="one task after another; for all, take known"):
        make_batch(SEQUENCE, 3, env_kwargs={**KWARGS, "task": "all"})
    with pytest.raises(ValueError, match="it needs task_id: known"):
        Progressive(SEQUENCE, num_envs=4, env_kwargs=at_stage(SEQUENCE, KWARGS, 0))
    told = make_batch(SEQUENCE, 3, env_kwargs={**KWARGS, "task": "plain", "task_id": "known"})
    assert not is_inferred(told.observation_spaces)
