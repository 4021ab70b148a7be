"""Safety-Gymnasium through its pipes: the real child process and protocol, a made-up package."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from source_tree import ROOT

import daedalus
from daedalus.envs.safety.safety_gymnasium import (
    NotSetUpError,
    SafetyGymnasium,
    default_home,
    interpreter,
)
from daedalus.envs.safety.safety_gymnasium_server import ARRAY, receive, send

FAKE = '''
"""What Safety-Gymnasium looks like from outside; the action says what happens."""

import os
import sys
from dataclasses import dataclass

import numpy as np

print("packages print to standard output")


@dataclass
class Geom:
    color: np.ndarray = np.array([1.0, 0.0])  # what Python 3.11 refuses


@dataclass
class Box:
    low: np.ndarray
    high: np.ndarray


@dataclass
class Discrete:
    n: np.int64
    start: np.int64


@dataclass
class Dict:
    spaces: dict


class Env:
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, task, render_mode=None, size=3):
        low = np.array([-1.0, -2.0, -np.inf][:size])
        sensors = Box(low, np.full(size, np.inf))
        both = Dict({"sensors": sensors, "kind": Discrete(np.int64(3), np.int64(1))})
        self.observation_space = both if task == "Both-v0" else sensors
        self.action_space = Box(-np.ones(2, np.float32), np.ones(2, np.float32))
        self.render_mode, self.size = render_mode, size

    def seen(self):
        sensors = self.rng.uniform(size=self.size)
        if isinstance(self.observation_space, Dict):
            return {"sensors": sensors, "kind": np.int64(2)}
        return sensors

    def reset(self, seed=None, options=None):
        self.rng, self.steps = np.random.default_rng(seed), 0
        return self.seen(), {"seed": seed, "options": options}

    def step(self, action):
        assert action.dtype == np.float32 and action.shape == (2,), "wrong action"
        if action[1] == -1:
            raise ValueError("two\\nlines")
        if action[1] == 1:
            print("first line\\nout of hazards", file=sys.stderr)
            os._exit(3)
        self.steps += 1
        reward, over = np.float64(self.steps / 4), np.bool_(self.steps == 5)
        info = {"cost_sum": 0.5, "goal_met": np.bool_(True), "place": np.arange(2)}
        return self.seen(), reward, float(action[0] > 0), over, False, info

    def render(self):
        return np.arange(24, dtype=np.uint8).reshape(4, 2, 3)[::-1]

    def close(self):
        pass


def make(task, **options):
    assert task in ("Task-v0", "Both-v0"), f"Environment {task} is not registered."
    return Env(task, **options)
'''
GO, COSTLY, BROKEN, DEADLY = np.array([[0, 0], [1, 0], [0, -1], [0, 1]], np.float32)


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "safety_gymnasium.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def made(task: str = "Task-v0", **options: Any) -> SafetyGymnasium:
    return SafetyGymnasium(task, python=sys.executable, **options)


@pytest.fixture
def env() -> Iterator[SafetyGymnasium]:
    env = made()
    yield env
    env.close()


def child_of(env: SafetyGymnasium) -> subprocess.Popen[bytes]:
    child: subprocess.Popen[bytes] = env.env._child
    return child


def gone(process: int, seconds: float = 5.0) -> bool:
    """Tell whether a process that is no child of ours ends (a zombie nobody reaps has ended)."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


# ------------------------------------------------------------------------------------ messages


def test_messages_carry_arrays_anywhere() -> None:
    pipe = io.BytesIO()
    frame = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)[::-1]
    send(pipe, {"a": [frame, {"b": np.zeros((0, 3))}], "c": (np.float32(0.5), np.bool_(True))})
    send(pipe, np.array(np.inf))
    pipe.seek(0)
    message = receive(pipe)
    np.testing.assert_array_equal(message["a"][0], frame)
    assert message["a"][0].dtype == np.uint8
    assert message["a"][0].flags.writeable
    assert message["a"][1]["b"].shape == (0, 3)
    assert message["c"] == [0.5, True]
    assert receive(pipe) == np.inf
    with pytest.raises(EOFError):
        receive(pipe)


@pytest.mark.parametrize("value", [object(), np.array([object()])])
def test_what_cannot_be_sent_is_refused_before_anything_is(value: Any) -> None:
    pipe = io.BytesIO()
    with pytest.raises(TypeError, match="cannot be sent"):
        send(pipe, [np.zeros(2), value])
    assert not pipe.getvalue()


def test_a_message_cannot_make_objects() -> None:
    pipe = io.BytesIO()
    send(pipe, {ARRAY: ["|O", [1]]})
    pipe.write(bytes(8))
    pipe.seek(0)
    with pytest.raises(ValueError, match="OBJECT"):
        receive(pipe)


# ---------------------------------------------------------------------------------- environment


def test_spaces_are_those_of_the_other_side(env: SafetyGymnasium) -> None:
    low = np.array([-1.0, -2.0, -np.inf])
    assert env.observation_space == Box(low, np.full(3, np.inf), dtype=np.float64)
    assert env.action_space == Box(-1.0, 1.0, (2,), np.float32)


def test_spaces_of_several_parts() -> None:
    env = made("Both-v0", size=2)
    sensors = Box(np.array([-1.0, -2.0]), np.full(2, np.inf), dtype=np.float64)
    assert env.observation_space == Dict({"sensors": sensors, "kind": Discrete(3, start=1)})
    assert env.reset(seed=0)[0] in env.observation_space
    env.close()


def test_steps_and_costs(env: SafetyGymnasium) -> None:
    rng = np.random.default_rng(7)
    observation, info = env.reset(seed=7, options={"level": 2})
    np.testing.assert_array_equal(observation, rng.uniform(size=3))
    assert info == {"seed": 7, "options": {"level": 2}}
    observation, reward, terminated, truncated, info = env.step(GO)
    np.testing.assert_array_equal(observation, rng.uniform(size=3))
    assert (reward, terminated, truncated, info["cost"]) == (0.25, False, False, 0.0)
    assert (info["cost_sum"], info["goal_met"], info["place"].tolist()) == (0.5, True, [0, 1])
    assert env.step(COSTLY)[4]["cost"] == 1.0
    assert [env.step(GO)[2] for _ in range(3)] == [False, False, True]


def test_seeds_decide_everything(env: SafetyGymnasium) -> None:
    def seen(seed: int) -> list[float]:
        return [*env.reset(seed=seed)[0], *env.step(GO)[0]]

    assert seen(1) == seen(1) != seen(2)


def test_pictures() -> None:
    env = gymnasium.make(
        "daedalus/SafetyGymnasium-v0",
        task="Task-v0",
        python=sys.executable,
        render_mode="rgb_array",
    )
    env.reset(seed=0)
    expected = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)[::-1]
    np.testing.assert_array_equal(np.asarray(env.render()), expected)
    env.close()


def test_agents_see_the_cost() -> None:
    kwargs = {"task": "Task-v0", "python": sys.executable}
    batch = daedalus.make_batch("daedalus/SafetyGymnasium-v0", 2, seed=0, env_kwargs=kwargs)
    batch.step(np.stack([GO, COSTLY]))
    assert batch.cost.tolist() == [0.0, 1.0]
    assert batch.reward.tolist() == [0.25, 0.25]
    batch.close()


# --------------------------------------------------------------------------------------- errors


def test_a_missing_interpreter_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
    assert default_home() == Path("/nonexistent/daedalus/safety-gymnasium")
    with pytest.raises(NotSetUpError) as error:
        SafetyGymnasium()
    text = str(error.value)
    assert text.startswith(f"Safety-Gymnasium is not set up (no {interpreter(default_home())})")
    script = text.rpartition("run: python ")[2].split()[0]
    assert (ROOT / script).is_file()


def test_an_interpreter_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(NotSetUpError, match=r"No module named 'safety_gymnasium'\); run: python"):
        made()


def test_an_unknown_task() -> None:
    with pytest.raises(ValueError, match=r"'Goal-v9': .*Environment Goal-v9 is not registered"):
        made("Goal-v9")


def test_an_unknown_option() -> None:
    with pytest.raises(ValueError, match="unexpected keyword argument 'colour'"):
        made(colour=1)


def test_an_error_over_there_is_one_line_and_not_the_end(env: SafetyGymnasium) -> None:
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="ValueError: two lines"):
        env.step(BROKEN)
    assert env.step(GO)[1] == 0.25


def test_a_child_that_dies_leaves_its_last_words(env: SafetyGymnasium) -> None:
    env.reset(seed=0)
    with pytest.raises(ConnectionError, match=r"has ended \(3\): out of hazards$"):
        env.step(DEADLY)
    assert child_of(env).returncode == 3
    with pytest.raises(ConnectionError, match="is closed"):
        env.step(GO)


def test_a_child_that_cannot_even_start(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such luck >&2\nexit 7\n")
    python.chmod(0o755)
    with pytest.raises(ConnectionError, match=r"has ended \(7\): no such luck"):
        SafetyGymnasium(python=python)


# -------------------------------------------------------------------------------------- the end


def test_close_ends_the_child(env: SafetyGymnasium) -> None:
    child = child_of(env)
    assert child.poll() is None
    env.close()
    assert child.returncode == 0
    env.close()
    with pytest.raises(ConnectionError, match="is closed"):
        env.reset()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_no_child_outlives_its_parent() -> None:
    code = (
        "import os, sys\n"
        "from daedalus.envs.safety.safety_gymnasium import SafetyGymnasium\n"
        "env = SafetyGymnasium('Task-v0', python=sys.executable)\n"
        "print(env.env._child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == -9, done.stderr
    assert gone(int(done.stdout))


def test_ctrl_c_is_for_the_parent(env: SafetyGymnasium) -> None:
    env.reset(seed=0)
    os.kill(child_of(env).pid, 2)
    assert env.step(GO)[1] == 0.25
