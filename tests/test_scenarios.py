"""Scenario files: what is read, and what a wrong one says."""

from pathlib import Path

import pytest
import yaml

from daedalus import scenarios
from daedalus.scenarios import (
    MAX_BYTES,
    PlainError,
    ScenarioError,
    load,
    load_text,
    read_plain,
    write_plain,
)


def test_a_full_scenario_is_read_with_its_types() -> None:
    text = """
env: daedalus/Catch-v0
description: Catch on a larger board.
env_kwargs: {rows: 12, columns: 6}
num_envs: 32
total_timesteps: 2e6
agent: unreal
agents:
  unreal: {learning_rate: 7e-4}
threshold: 0.9
cost_limit: 25
scores: {random: -0.6, perfect: 1}
tags: [probe, pixels]
source: bsuite
"""
    scenario = load_text(text, name="catch_large")
    assert scenario.name == "catch_large"
    assert scenario.env_kwargs == {"rows": 12, "columns": 6}
    assert scenario.total_timesteps == 2_000_000
    assert isinstance(scenario.total_timesteps, int)
    assert scenario.agents == {"unreal": {"learning_rate": 7e-4}}
    assert scenario.scores == {"random": -0.6, "perfect": 1.0}
    assert scenario.cost_limit == 25.0
    assert scenario.tags == ("probe", "pixels")


def test_an_agent_that_keeps_a_limit_is_told_the_scenarios() -> None:
    scenario = load_text("env: A\ncost_limit: 5\nagents:\n  cpo: {n_steps: 9}\n", name="n")
    known = ["n_steps", "cost_limit"]
    assert scenario.settings("cpo", known) == {"cost_limit": 5.0, "n_steps": 9}
    assert scenario.settings("pdo", known) == {"cost_limit": 5.0}
    assert scenario.settings("ppo", ["n_steps"]) == {}, "it has no such setting"
    assert load_text("env: A\n", name="n").settings("cpo", known) == {}
    own = load_text("env: A\ncost_limit: 5\nagents: {cpo: {cost_limit: 4}}\n", name="n")
    assert own.settings("cpo", known) == {"cost_limit": 4}, "what the agent is told itself counts"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("env: A\nthreshhold: 3\n", "f.yaml, line 2: unknown key 'threshhold'; did you mean 'thr"),
        ("env: A\nzzz: 3\n", "line 2: unknown key 'zzz'; valid keys: env, description"),
        ("on: 3", "line 1: unknown key 'on'"),
        ("1: 3", "line 1: unknown key '1'"),
        ("num_envs: 3", "the required key 'env' is missing"),
        ("env: A\nenv: B\n", "line 2: the key 'env' stands there twice"),
        ("env: [1]\n", "line 1: env: expected text"),
        ("", "expected 'key: value' lines"),
        ("- a\n- b\n", "expected 'key: value' lines"),
        ("env: A\nenv_kwargs:\n  a: &x 1\n  b: *x", "line 4: aliases"),
        ("env: A\nenv_kwargs: " + "[" * 5000, "line 2: nested deeper than 8 levels"),
        ("env: !!python/object/apply:os.system ['ls']", "line 1: not valid YAML"),
        ("env: A\nagents:\n  unreal: 3\n", "line 3: agents.unreal: expected a mapping"),
        ("env: A\nnum_envs: 0", "line 2: num_envs: expected a whole number of at least 1"),
        ("env: A\nnum_envs: true", "expected a finite number"),
        ("env: A\ntotal_timesteps: 1.5", "expected a whole number"),
        ("env: A\nscores:\n  a: .nan\n", "line 3: scores.a: expected a finite number"),
        ("env: A\ntags: maze", "line 2: tags: expected a list"),
        ("env: 'a\n", "not valid YAML"),
        ("env: A\n---\nenv: B\n", "not valid YAML"),
        ("env: \x00", "not valid YAML"),
        ("? {a: b}\n: 3\n", "line 1: a key must be a word"),
        ("env: A\nenv_kwargs: {1: 2}", "expected keys that are text"),
        ("env: A\nstages:\n- name: a\n- env: B\n", "line 4: stages.1: a stage needs a name"),
        (
            "env: A\nstages:\n- name: a\n- {name: b, env: B}\n- name: a\n  env_kwargs: {rows: 3}\n",
            "line 5: stages.2.name: the name 'a' is that of an earlier stage with another",
        ),
        ("env: A\ndescription: 2024-13-45", "line 2: '2024-13-45' cannot be read as timestamp"),
        ("env: !!timestamp 3", "line 1: '3' cannot be read as timestamp"),
        ("env: A\nenv_kwargs:\n  a: [!!bool maybe]", "line 3: 'maybe' cannot be read as bool"),
        ("env: A\nthreshold: !!int abc", "line 2: 'abc' cannot be read as int"),
        ("env: A\nthreshold: !!float ''", "line 2: '' cannot be read as float"),
        ("env: A\nthreshold: " + "1" * 5000, "line 2: '1111"),
        ("env: A\nthreshold: " + "1" * 400, "line 2: threshold: expected a finite number"),
        ("env: ''", "line 1: env: expected text, got nothing"),
        (
            "env: A\ntotal_timesteps: 1\nstages:\n- name: a\n- {name: b, env: B}\n",
            "line 2: total_timesteps: 1 is less than a step for each of 2 stages",
        ),
        ("env: " + "A" * MAX_BYTES, "longer than 65,536 bytes"),
    ],
)
def test_a_wrong_scenario_names_file_line_and_cure(text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_text(text, name="f", where="f.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("f.yaml")
    assert "\n" not in str(caught.value)


def test_a_wrong_name_suggests_the_nearest_and_a_path_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seekavoid_arena_01.yaml").write_text("env: A\n")
    monkeypatch.setattr("daedalus.scenarios.loader.FOLDER", tmp_path)
    assert scenarios.names() == ["seekavoid_arena_01"]
    assert load("seekavoid_arena_01").env == "A"
    with pytest.raises(ScenarioError, match="did you mean 'seekavoid_arena_01'"):
        load("seekavoid_arena_1")
    with pytest.raises(ScenarioError, match="no scenario file"):
        load(tmp_path / "absent.yaml")


def test_a_file_that_is_too_long_or_not_text_is_refused(tmp_path: Path) -> None:
    long, binary = tmp_path / "long.yaml", tmp_path / "binary.yaml"
    long.write_text("env: A\n#" + "x" * MAX_BYTES)
    binary.write_bytes(b"env: \xff\xfe")
    with pytest.raises(ScenarioError, match="longer than"):
        load(long)
    with pytest.raises(ScenarioError, match="UTF-8"):
        load(binary)


def test_shipped_scenarios_load_and_have_names_of_their_own() -> None:
    names = scenarios.names()
    assert len(set(names)) == len(names)
    for name in names:
        scenario = load(name)
        assert scenario.description, f"{name} needs a description"


def test_shipped_scenarios_give_agents_settings_that_they_take() -> None:
    from daedalus.agents import make_agent
    from daedalus.agents.settings import checked

    seen = set()
    for scenario in map(load, scenarios.names()):
        for name in scenario.agents:
            kind = make_agent(name)
            checked(kind, kind.Config(**scenario.settings(name, vars(kind.Config()))))
            seen.add(name)
    assert len(seen) > 20


def test_numbers_are_read_as_yaml_1_2_reads_them() -> None:
    kwargs = load_text("env: A\nenv_kwargs: {a: 2e6, b: -1e-3, c: 12}", name="n").env_kwargs
    assert kwargs == {"a": 2e6, "b": -1e-3, "c": 12}
    assert yaml.safe_load("2e6") == "2e6"  # what plain YAML 1.1 would have done


def test_plain_yaml_comes_back_as_it_was() -> None:
    data = {"word": "1e-3", "number": 1e-3, "count": 3, "deep": [[[[[[[[[[{"a": None}]]]]]]]]]]}
    assert read_plain(write_plain(data), "here") == data
    assert read_plain("1e-3", "here") == 1e-3
    assert read_plain("", "here") is None
    twice = [1, 2]
    assert read_plain(write_plain({"a": twice, "b": twice}), "here") == {"a": [1, 2], "b": [1, 2]}
    for text, reason in (
        ("a: 1\na: 2", "here, line 2: the key 'a' stands there twice"),
        ("[&a 1, *a]", "here, line 1: aliases"),
        ("day: 2001-99-99", "here(, line 1)?: "),
        ("[" * 100, "here, line 1: nested deeper than 32 levels"),
        ("x" * (2**20 + 1), "here: longer than 1,048,576 bytes"),
    ):
        with pytest.raises(PlainError, match=reason):
            read_plain(text, "here")
