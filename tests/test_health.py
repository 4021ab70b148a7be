"""Alarms of training: when they begin, when they do not, and where they are seen."""

from __future__ import annotations

import math
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from daedalus.accelerators.metrics import read_metrics
from daedalus.accelerators.run_directory import RunDirectory
from daedalus.agents import make_agent
from daedalus.agents.health import ROWS, Curve, Health, Heartbeat
from daedalus.agents.training import train
from daedalus.evaluation.runs import earlier_runs


def alarms(health: Health, rows: list[dict[str, float]], start: int = 1) -> list[set[str]]:
    """The alarms that hold at each row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checked = [health.check((start + i) * 1000, row) for i, row in enumerate(rows)]
    return [{name.removeprefix("health/") for name, on in found.items() if on} for found in checked]


def test_an_entropy_collapse_is_one_only_below_the_best_return() -> None:
    good = [{"train/entropy": 1.0, "rollout/ep_rew_mean": 10.0}]
    lost = {"train/entropy": 0.01, "rollout/ep_rew_mean": 2.0}
    won = {"train/entropy": 0.01, "rollout/ep_rew_mean": 10.0}
    found = alarms(Health(), good + [lost] * ROWS)
    assert found[-2:] == [set(), {"entropy_collapse"}]
    assert alarms(Health(), good + [won] * 5)[-1] == set()
    assert alarms(Health(), [*good, lost, lost, won, lost])[-1] == set()  # not in a row


def test_sb3s_negative_entropy_counts_too() -> None:
    rows = [{"train/entropy_loss": -0.7, "rollout/ep_rew_mean": 5.0}]
    rows += [{"train/entropy_loss": -0.001, "rollout/ep_rew_mean": 1.0}] * ROWS
    assert alarms(Health(), rows)[-1] == {"entropy_collapse"}


def test_the_entropy_of_continuous_actions_may_fall_below_zero() -> None:
    """That of a normal is log(s sqrt(2 pi e)): 1.42 at s = 1, 0.03 at 0.25, -0.19 at 0.2."""
    entropies = [math.log(s * math.sqrt(2 * math.pi * math.e)) for s in (1.0, 0.25, 0.2, 0.1, 0.05)]
    assert entropies[:3] == pytest.approx([1.42, 0.03, -0.19], abs=0.01)
    poor = [10.0, *[2.0] * 4]
    own = [
        {"train/entropy": entropy, "rollout/ep_rew_mean": mean}
        for entropy, mean in zip([*entropies, 0.001], [*poor, 2.0], strict=True)
    ]
    sb3 = [{"train/entropy_loss": -row.pop("train/entropy"), **row} for row in map(dict, own)]
    assert alarms(Health(), own) == alarms(Health(), sb3) == [set()] * 6
    rounded = {"train/entropy": -1e-7, "rollout/ep_rew_mean": 2.0}  # of a discrete sure choice
    assert alarms(Health(), [own[0], *[rounded] * ROWS])[-1] == {"entropy_collapse"}


def test_values_beyond_any_return_and_losses_beyond_the_usual() -> None:
    row = {"rollout/ep_rew_mean": 2.0, "train/value": 1.0, "train/value_loss": 0.5}
    bad = {**row, "train/value": 201.0}
    assert alarms(Health(), [row, *[bad] * ROWS])[-1] == {"value_explosion"}
    assert alarms(Health(), [row, *[{**row, "train/value": 199.0}] * 9])[-1] == set()
    jump = {**row, "train/value_loss": 60.0}
    assert alarms(Health(), [row] * 5 + [jump] * ROWS)[-1] == {"value_loss_explosion"}
    assert alarms(Health(), [row] * 2 + [jump] * ROWS)[-1] == set()  # nothing is usual yet


def test_a_stalled_run_and_one_that_recovers() -> None:
    fast, slow = {"time/fps": 1000.0}, {"time/fps": 90.0}
    found = alarms(Health(), [fast] * 6 + [slow] * 4 + [fast])
    assert found[8:] == [{"stall"}, {"stall"}, set()]
    assert alarms(Health(), [fast] * 6 + [{"time/fps": 110.0}] * 9)[-1] == set()


def test_a_regression_is_behind_every_earlier_run_and_by_three_deviations() -> None:
    steps = np.array([0.0, 10_000.0])
    earlier = [Curve(steps, np.array([0.0, top])) for top in (9.0, 10.0, 11.0)]
    at = {"rollout/ep_rew_mean": 3.0}  # at 5,000 the others had 4.5, 5, 5.5: 5 - 3 * 0.5 = 3.5
    found = alarms(Health(earlier, 10_000), [at] * ROWS, start=5)
    assert found[-1] == {"regression"}
    near = {"rollout/ep_rew_mean": 5.0}  # at 7,000 6.3, 7, 7.7: 7 - 3 * 0.7 = 4.9
    assert alarms(Health(earlier, 10_000), [near] * ROWS, start=5)[-1] == set()
    assert alarms(Health(earlier[:2], 10_000), [at] * 5, start=5)[-1] == set()
    assert alarms(Health(earlier, 100_000), [at] * 5, start=5)[-1] == set()  # too early


def test_one_warning_for_one_alarm() -> None:
    health = Health()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(12):
            health.check(i, {"time/fps": 1000.0 if i < 6 else 1.0})
    (one,) = caught
    assert "time/fps is 1, usual was 1e+03" in str(one.message)


def test_environments_that_do_not_answer_are_named_once() -> None:
    agent = SimpleNamespace(num_timesteps=64)
    with warnings.catch_warnings(record=True) as caught, Heartbeat(agent, silent=0.2) as heart:
        warnings.simplefilter("always")
        time.sleep(0.4)  # an update: nobody is asked
        assert not caught
        heart.collecting(True)
        for _ in range(8):  # steps are taken
            agent.num_timesteps += 1
            time.sleep(0.05)
        assert not caught
        time.sleep(0.6)
    (one,) = caught
    assert "have not answered" in str(one.message)
    assert "step 72" in str(one.message)
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs of a task, and one of another."""
    folder = tmp_path_factory.mktemp("runs")
    for name, env in (("a", "Catch"), ("b", "Catch"), ("c", "Catch"), ("other", "Identity")):
        agent = make_agent("actor_critic")(f"daedalus/{env}-v0", num_envs=4, device="cpu")
        config = {
            "agent": "actor_critic", "env": f"daedalus/{env}-v0", "env_kwargs": {},
            "num_envs": 4, "seed": 0, "total_timesteps": 800,
        }  # fmt: skip
        with RunDirectory.create(folder / name, config) as run:
            train(agent, 800, run=run, log_interval=200)
    return folder


def test_health_is_logged_and_earlier_runs_of_the_task_are_found(runs: Path) -> None:
    rows, _ = read_metrics(runs / "a" / "metrics")
    assert rows[-1]["health/entropy_collapse"] == 0.0
    assert rows[-1]["health/stall"] in (0.0, 1.0)
    (runs / "half").mkdir()  # its configuration is gone
    (runs / "half" / "status.json").write_text('{"state": "finished"}')
    found = earlier_runs(runs / "a")
    assert len(found) == 2
    assert found[0].steps[-1] == 800
    assert len(found[0].returns) == len(found[0].steps)
    assert earlier_runs(runs / "other") == []
