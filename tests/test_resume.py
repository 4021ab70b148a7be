"""A stopped, killed or starved run goes on as if nothing had happened, or says that it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_run_directory import file_limit
from training_runs import (
    TASKS,
    Injection,
    Task,
    all_finite,
    digest,
    quiet,
    rows_of,
    stopped_and_resumed,
    train_in_child,
    uninterrupted,
    wait,
    wait_until_running,
    weights,
)

from daedalus.accelerators.checkpoint import CheckpointError, list_checkpoints, load_checkpoint
from daedalus.accelerators.guards import NotFiniteError
from daedalus.accelerators.gymnasium_batch import EnvironmentGoneError
from daedalus.accelerators.run_directory import RunDirectory, best_step, read_status
from daedalus.accelerators.signals import Stopped
from daedalus.agents import make_agent
from daedalus.agents import recorder as recorder_module
from daedalus.agents.recorder import Saving
from daedalus.agents.training import train

CATCH = TASKS[0]
FORK = "ignore:.*fork.*:DeprecationWarning"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bit-exactness is promised for a given number of threads; restore the suite's afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---- resume -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_resumed_run_equals_the_uninterrupted_one(task: Task, tmp_path: Path) -> None:
    expected, rows = uninterrupted(task, tmp_path / "whole")
    assert len(expected) == len(rows) == task.updates
    stop_at = int(np.random.default_rng(len(task.name)).integers(1, task.updates))
    with quiet():
        trace, found, code = stopped_and_resumed(task, tmp_path / "stopped", stop_at)
    assert code == 130
    assert trace == expected
    np.testing.assert_equal(found, rows)  # NaN, as of CPO's A where there is none, equals NaN


@pytest.mark.parametrize("forgotten", ["generator/act", "collector/recurrent", "optimizer"])
def test_a_state_that_forgets_a_part_is_noticed(
    forgotten: str, tmp_path: Path, monkeypatch: Any
) -> None:
    expected, _ = uninterrupted(CATCH, tmp_path / "whole")
    agent_class = make_agent(CATCH.agent)
    whole = agent_class.set_state

    def partial(self: Any, tensors: Any, state: Any) -> None:  # the mutation
        fresh, _ = self.get_state()
        kept = {k: fresh.get(k, np.zeros_like(v)) if k.startswith(forgotten) else v
                for k, v in tensors.items()}  # fmt: skip
        whole(self, kept, state)

    monkeypatch.setattr(agent_class, "set_state", partial)
    with quiet():
        trace, _, _ = stopped_and_resumed(CATCH, tmp_path / "stopped", 10)
    assert trace != expected


def test_saving_does_not_change_training(tmp_path: Path) -> None:
    expected, _ = uninterrupted(CATCH, tmp_path / "whole")
    agent = CATCH.make()
    with RunDirectory.create(tmp_path / "saved", {}) as run:
        train(agent, CATCH.steps, run=run, saving=Saving(interval=20, keep_last=2, keep_every=100))
    assert digest(agent) == expected[CATCH.steps]
    steps = list_checkpoints(tmp_path / "saved")
    assert steps[-2:] == [CATCH.steps - 20, CATCH.steps]
    assert {100, 200, 300} < set(steps)
    best = best_step(tmp_path / "saved")
    assert best in steps


def test_an_agent_saved_alone_comes_back(tmp_path: Path) -> None:
    agent = CATCH.make()
    agent.learn(100)
    agent.save(tmp_path / "agent")
    again = type(agent).load(tmp_path / "agent", env=CATCH.env, device="cpu")
    assert all(torch.equal(v, weights(again)[k]) for k, v in weights(agent).items())
    assert again.num_timesteps == 100


@pytest.mark.parametrize("names", [["act"], ["act", "update"]])
def test_what_a_gpu_trained_is_read_on_a_cpu(names: list[str]) -> None:
    """A generator's state has 16 bytes there and 5056 here: it begins as it was seeded."""
    agent = CATCH.make()
    agent.learn(100)
    agent.generators["update"].manual_seed(1)  # none of Catch's updates draws
    tensors, state = agent.get_state()
    assert len(tensors["generator/act"]) == 5056
    elsewhere = tensors | {f"generator/{name}": np.arange(16, dtype=np.uint8) for name in names}
    with pytest.warns(UserWarning, match="draws go on differently") as caught:
        again = type(agent).from_state(elsewhere, state, device="cpu")
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert all(torch.equal(v, weights(again)[k]) for k, v in weights(agent).items())
    fresh = CATCH.make()
    for name, generator in again.generators.items():
        expected = (fresh if name in names else agent).generators[name].get_state()
        assert torch.equal(generator.get_state(), expected)
    again.predict(agent.batch.observation)


@pytest.mark.parametrize(
    ("name", "value"), [("torch", "1.0"), ("threads", 64), ("processor", "abacus")]
)
def test_another_machine_is_reported_as_not_bit_exact(
    name: str, value: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    with RunDirectory.create(tmp_path / "run", {}) as run:
        train(CATCH.make(), 100, run=run)
    assert read_status(tmp_path / "run")["bit_exact"] is True
    here = recorder_module.machine
    monkeypatch.setattr(recorder_module, "machine", lambda agent: {**here(agent), name: value})
    with RunDirectory.open(tmp_path / "run") as run:
        agent = CATCH.restore(run)
        with pytest.warns(UserWarning, match=f"not bit for bit: {name} was .*, is {value}"):
            train(agent, 200, run=run)
    assert read_status(tmp_path / "run")["bit_exact"] is False


def test_another_number_of_environments_is_allowed_and_reported(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", {}) as run:
        train(CATCH.make(), 100, run=run)
    with RunDirectory.open(tmp_path / "run") as run:
        found = run.load()
        kind = make_agent(CATCH.agent)
        with pytest.warns(UserWarning, match="saved with 4 environments, loaded with 6"):
            agent = kind.from_state(found.tensors, found.state, env=CATCH.env, num_envs=6)
        with pytest.warns(UserWarning, match="not bit for bit: environments was 4, is 6"):
            train(agent, 400, run=run)
    assert read_status(tmp_path / "run")["bit_exact"] is False


def test_environments_that_cannot_be_restored_are_reported(tmp_path: Path) -> None:
    task = Task("actor_critic", "CartPole-v1")
    with RunDirectory.create(tmp_path / "run", {}) as run:
        train(task.make(), 100, run=run)
    with RunDirectory.open(tmp_path / "run") as run:
        agent = task.restore(run)
        assert agent.collector.get_state()["episode_start"].all()
        with pytest.warns(UserWarning, match="began new episodes"):
            train(agent, 200, run=run)
    assert "began new episodes" in read_status(tmp_path / "run")["not_exact_because"][0]


def test_a_checkpoint_of_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    agent = CATCH.make()
    tensors, state = agent.get_state()
    other = Task("actor_critic", "daedalus/Identity-v0")
    cases = [
        ({**state, "agent": "unreal"}, CATCH, "checkpoint of 'unreal', not of 'actor_critic'"),
        (state, other, "observation spaces"),
    ]
    for changed, task, text in cases:
        with pytest.raises(ValueError, match=text) as caught:
            type(agent).from_state(tensors, changed, env=task.env, num_envs=4)
        assert "\n" not in str(caught.value)
    narrow = {**state, "config": {**state["config"], "hidden": 8}}
    with pytest.raises(
        ValueError, match=r"network/.* has shape \(.*\) in the checkpoint"
    ) as caught:
        type(agent).from_state(tensors, narrow, env=CATCH.env, num_envs=4)
    assert "\n" not in str(caught.value)


# ---- signals and kills --------------------------------------------------------------------------


@pytest.mark.filterwarnings(FORK)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_stops_and_can_be_resumed(signum: int, tmp_path: Path) -> None:
    task = CATCH._replace(updates=100_000)
    for delay in (0.0, 0.03, 0.2):
        path = tmp_path / f"{delay}"
        with quiet():
            pid = train_in_child(task, path, Saving())
            wait_until_running(path, pid)
            time.sleep(delay)
            os.kill(pid, signum)
            begin = time.monotonic()
            assert wait(pid) == 128 + signum
        assert time.monotonic() - begin < 10
        status = read_status(path)
        assert status["state"] == "interrupted"
        assert load_checkpoint(path).step == status["num_timesteps"] == status["checkpoint"]


@pytest.mark.filterwarnings(FORK)
def test_a_second_signal_exits_at_once(tmp_path: Path) -> None:
    task = CATCH._replace(rollout=200_000, updates=2)  # minutes per update
    with quiet():
        pid = train_in_child(task, tmp_path / "run", Saving())
        wait_until_running(tmp_path / "run", pid)
        os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)  # it waits for the update to end
        os.kill(pid, signal.SIGINT)
        begin = time.monotonic()
        assert wait(pid) == 130
    assert time.monotonic() - begin < 1


@pytest.mark.filterwarnings(FORK)
def test_a_run_killed_again_and_again_ends_in_the_same_state(tmp_path: Path) -> None:
    task, path = CATCH._replace(updates=60), tmp_path / "killed"
    expected, rows = uninterrupted(task, tmp_path / "whole")
    for delay in np.random.default_rng(0).uniform(0.05, 0.25, 8):
        pid = train_in_child(task, path, Saving(interval=20))
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        wait(pid)
    assert wait(train_in_child(task, path, Saving(interval=20))) == 0
    with RunDirectory.open(path) as run:
        assert digest(task.restore(run)) == expected[task.steps]
    assert rows_of(path) == rows


@pytest.mark.filterwarnings("ignore:the environments were stopped too")
@pytest.mark.parametrize("signum", [None, signal.SIGTERM])
def test_environments_that_got_the_signal_too_are_a_stop(
    signum: int | None, tmp_path: Path
) -> None:
    """As where a whole process group is told to end; without a signal it is a failure."""
    agent, gone = CATCH.make(), EnvironmentGoneError("the process of environment 1 has ended")

    def end(*_: Any) -> None:
        if signum is not None:
            os.kill(os.getpid(), signum)
        raise gone

    with RunDirectory.create(tmp_path / "run", {}) as run:
        train(agent, 100, run=run)
        agent.collector.collect = end
        expected = EnvironmentGoneError if signum is None else Stopped
        with pytest.raises(expected):
            train(agent, 200, run=run)
    status = read_status(tmp_path / "run")
    assert status["state"] == ("failed" if signum is None else "interrupted")
    assert status["checkpoint"] == load_checkpoint(tmp_path / "run").step == 100


# ---- full disk ----------------------------------------------------------------------------------


def test_a_full_disk_warns_twice_then_stops_with_the_last_good_one(tmp_path: Path) -> None:
    agent, path = CATCH.make(), tmp_path / "run"
    with RunDirectory.create(path, {}) as run:
        train(agent, 100, run=run)
    with RunDirectory.open(path) as run:
        agent = CATCH.restore(run)
        with warnings.catch_warnings(record=True) as caught, file_limit(2000):
            warnings.simplefilter("always")
            with pytest.raises(CheckpointError, match="last good one is of step 100; free some"):
                train(agent, 400, run=run, saving=Saving(interval=20))
    told = [str(w.message) for w in caught if "could not be saved" in str(w.message)]
    assert len(told) == 2
    assert "step 120" in told[0]
    assert "training goes on (1 more" in told[1]
    assert agent.num_timesteps == 160
    assert list_checkpoints(path) == [0, 100]
    assert load_checkpoint(path).step == 100


def test_a_disk_that_is_full_for_a_moment_costs_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    whole, calls = RunDirectory.save, []

    def save(self: Any, step: int, *rest: Any) -> Any:
        calls.append(step)
        if len(calls) in (1, 2, 4, 5):
            raise OSError(28, "No space left on device")
        return whole(self, step, *rest)

    monkeypatch.setattr(RunDirectory, "save", save)
    with (
        RunDirectory.create(tmp_path / "run", {}) as run,
        pytest.warns(UserWarning, match="No space left on device; .* training goes on"),
    ):
        train(CATCH.make(), 200, run=run, saving=Saving(interval=20, keep_last=9))
    assert list_checkpoints(tmp_path / "run") == [40, 100, 120, 140, 160, 180, 200]


# ---- values that are not finite -----------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("name", ["reward", "observation"])
def test_a_bad_value_stops_before_a_weight_and_leaves_evidence(
    name: str, task: Task, tmp_path: Path
) -> None:
    for step, env, value in [(1, 0, float("nan")), (38, 3, float("inf"))]:
        agent = task.make()
        floats = [n for n, s in agent.spaces.observation.items() if s.dtype == np.float32]
        array = floats[0] if name == "observation" else "reward"
        Injection(agent, step, env, array, value)
        before = weights(agent)
        path = tmp_path / f"{step}"
        with (
            RunDirectory.create(path, {}) as run,
            pytest.raises(NotFiniteError, match=f"{array} is .*environment {env}") as caught,
        ):
            train(agent, task.steps, run=run)
        error = caught.value
        assert error.details["step"] == 4 * (step - 1)
        assert error.details["environment seed"] == agent.collector.seeds[env]
        assert all_finite(weights(agent))
        after = weights(agent).items()
        learnt = {k: v for k, v in after if "standardise" not in k}  # that is of the first images
        assert step > 5 or all(torch.equal(v, before[k]) for k, v in learnt.items())
        assert read_status(path)["state"] == "failed"
        assert f"environment {env}" in read_status(path)["error"]
        evidence = load_checkpoint(error.details["written to"])
        assert evidence.state["env_seeds"] == agent.collector.seeds
        bad = "rollout/reward" if name == "reward" else f"rollout/last_observation/{array}"
        assert not np.isfinite(evidence.tensors[bad]).all()
        assert len(evidence.tensors["rollout/action"]) == (step - 1) % 5 + 1
        assert any(name.startswith("network/") for name in evidence.tensors)
        json.dumps(evidence.state)


@pytest.mark.parametrize("name", ["reward", "board"])
def test_without_the_guards_the_weights_would_be_lost(name: str, monkeypatch: Any) -> None:
    agent = CATCH.make()
    monkeypatch.setattr("daedalus.accelerators.collector.StepGuard.check", lambda *arguments: None)
    monkeypatch.setattr("daedalus.agents.optimizers.check_gradients", lambda *arguments: None)
    Injection(agent, 8, 1, name, float("nan"))
    with contextlib.suppress(RuntimeError):  # sampling from NaN probabilities, too late
        train(agent, CATCH.steps)
    assert not all_finite(weights(agent))


def test_the_last_guard_holds_without_the_first(monkeypatch: Any) -> None:
    agent = CATCH.make()
    monkeypatch.setattr("daedalus.accelerators.collector.StepGuard.check", lambda *arguments: None)
    Injection(agent, 8, 1, "reward", float("nan"))
    with pytest.raises(NotFiniteError, match="loss is nan"):
        train(agent, CATCH.steps)
    assert all_finite(weights(agent))
