"""The environment checker: thirty seeded defects found, and no alarm where nothing is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import members
import seeded_defects

from daedalus.envs.checker import EnvironmentCheckError, Replayers, check

GYMNASIUM: list[tuple[str, dict[str, Any]]] = [
    ("CartPole-v0", {}),
    ("CartPole-v1", {}),
    ("CartPole-v1", {"sutton_barto_reward": True}),
    ("MountainCar-v0", {}),
    ("MountainCarContinuous-v0", {}),
    ("MountainCarContinuous-v0", {"goal_velocity": 0.1}),
    ("Pendulum-v1", {}),
    ("Pendulum-v1", {"g": 9.81}),
    ("Acrobot-v1", {}),
    ("FrozenLake-v1", {}),
    ("FrozenLake-v1", {"is_slippery": False}),
    ("FrozenLake8x8-v1", {}),
    ("Taxi-v4", {}),
    ("Taxi-v4", {"is_rainy": True}),
    ("Taxi-v4", {"fickle_passenger": True}),
    ("Blackjack-v1", {}),
    ("Blackjack-v1", {"natural": True}),
    ("Blackjack-v1", {"sab": True}),
    ("CliffWalking-v1", {}),
    ("CliffWalkingSlippery-v1", {}),
]
TRUE_WARNINGS = {
    "MountainCarContinuous-v0": {"aliasing"},  # it returns its own state array
    "Taxi-v4": {"after_end"},  # it goes on after its end, and so does Blackjack
    "Blackjack-v1": {"after_end"},
    "CliffWalking-v1": {"end"},  # no time limit
    "CliffWalkingSlippery-v1": {"end"},
}


@pytest.fixture(scope="module")
def replayers() -> Iterator[Replayers]:
    """One process with another hash seed for all the tests of this file."""
    with Replayers((1,)) as children:
        yield children


def quick(target: Any, replayers: Replayers, **kwargs: Any) -> Any:
    kwargs = {"steps": 60, "external": False, "replayers": replayers, **kwargs}
    return check(target, deadline=0.2, patience=2.0, **kwargs)


@pytest.mark.parametrize("sound", [seeded_defects.Line, seeded_defects.LineVector])
def test_the_sound_environment_passes_in_silence(sound: Any, replayers: Replayers) -> None:
    result = quick(sound, replayers)
    assert not result.findings, str(result)
    assert len(result.checks) >= 9


def test_there_are_thirty_defects() -> None:
    assert len(seeded_defects.DEFECTS) == 30


@pytest.mark.parametrize(
    ("defect", "expected"),
    [*seeded_defects.DEFECTS.items(), *seeded_defects.FURTHER.items()],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_seeded_defect_is_found_and_named(
    defect: Any, expected: tuple[str, str], replayers: Replayers
) -> None:
    kind, field = expected
    result = quick(defect, replayers)
    found = [f for f in result.findings if f.check == kind and f.field.endswith(field)]
    assert found, str(result)
    warnings_allowed = kind in ("after_end", "aliasing")
    assert found[0].severity == "error" or warnings_allowed
    assert "\n" not in str(found[0])


@pytest.mark.parametrize(("env_id", "kwargs"), GYMNASIUM, ids=str)
def test_no_false_alarm_on_gymnasium(
    env_id: str, kwargs: dict[str, Any], replayers: Replayers
) -> None:
    result = quick(env_id, replayers, **kwargs)
    assert result.ok, str(result)
    single = {f.check for f in result.warnings if not f.field.startswith("vector")}
    assert single <= TRUE_WARNINGS.get(env_id, set()), str(result)


@members.every_environment
def test_no_alarm_on_our_environments(env_id: str, replayers: Replayers) -> None:
    times: dict[str, Any] = {"deadline": 2.0, "patience": 300.0}  # a child may have to compile
    result = check(env_id, steps=40, external=False, replayers=replayers, **times)
    alarms = [f for f in result.errors + result.warnings if f.check != "end"]
    assert not alarms, str(result)
    assert {"vector autoreset", "vector threads", "vector faces", "process"} <= set(result.checks)


def test_a_native_familys_own_limit_is_known(replayers: Replayers) -> None:
    """The target cannot be reached; the episode of 500 steps goes on after the 60 that are played.

    No warning that nothing ends it, as there was of every id whose limit is its family's.
    """
    times: dict[str, Any] = {"deadline": 2.0, "patience": 300.0}
    result = check(
        "daedalus/GridWorld-v0", steps=60, external=False, replayers=replayers, map="S.#T", **times
    )
    assert not result.findings, str(result)


def test_the_checkers_of_others_run_too(replayers: Replayers) -> None:
    result = check("CartPole-v1", steps=60, replayers=replayers)
    assert {"gymnasium", "stable_baselines3"} <= set(result.checks)
    assert any(f.check == "gymnasium" and f.severity == "note" for f in result.findings)


def test_an_unknown_id_is_one_finding() -> None:
    result = check("daedalus/NoSuchThing-v0")
    assert [f.check for f in result.findings] == ["construct"]
    with pytest.raises(EnvironmentCheckError, match="NoSuchThing"):
        result.raise_if_failed()


def test_an_environment_without_a_spec_is_refused_with_the_remedy() -> None:
    result = check(seeded_defects.Line())
    assert "pass the class or a function" in str(result)


def test_an_environment_made_from_an_id_is_checked_by_its_spec(replayers: Replayers) -> None:
    assert quick(gymnasium.make("CartPole-v1"), replayers).ok


def test_a_function_that_makes_the_environment_will_do(replayers: Replayers) -> None:
    assert quick(lambda: seeded_defects.Line(), replayers).ok
    assert quick(lambda num_envs=3: seeded_defects.LineVector(num_envs), replayers).ok


def test_the_thirty_lines_of_the_page_pass_and_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[1] / "docs" / "custom-environments.md"
    code = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    (tmp_path / "my_package.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Replayers((1,)) as own:  # a process that has the new path
        result = quick("my_package:My-v0", own)
    assert result.ok, str(result)
    assert {f.check for f in result.warnings} <= {"after_end"}, str(result)
    from daedalus.agents import make_agent

    agent_class = make_agent("actor_critic")
    agent = agent_class("my_package:My-v0", agent_class.Config(lstm=0), num_envs=2, device="cpu")
    assert agent.learn(200).num_timesteps >= 200
