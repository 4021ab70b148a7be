"""MiniWoB++'s face of the web tasks: spaces, actions, rewards, infos."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from browser_tools import needs_browser
from gymnasium.spaces import Dict, Sequence, Text, Tuple

from daedalus.envs.web.actions import PRESETS, TYPES
from daedalus.envs.web.miniwob import ALLOWED_KEYS, action_space, observation_space
from daedalus.envs.web.model import CLASSIC, SITE, TASKS
from daedalus.envs.web.oracle import Oracle
from daedalus.envs.web.tasks import load_tasks

load_tasks()
LOGIN = "daedalus/Web-LoginUser-v0"


def make(env_id: str = LOGIN, **parameters: Any) -> Any:
    """Make a task with MiniWoB++'s spaces."""
    made = gymnasium.make(env_id, spaces="miniwob", disable_env_checker=True, **parameters)
    return made.unwrapped


def same(ours: Any, theirs: Any) -> bool:
    """Tell whether two spaces hold the same; of texts, their lengths."""
    if isinstance(ours, Text):
        lengths = [(s.min_length, s.max_length) for s in (ours, theirs)]
        return isinstance(theirs, Text) and lengths[0] == lengths[1]
    if isinstance(ours, Dict):
        return set(ours) == set(theirs) and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, Tuple):
        return all(same(a, b) for a, b in zip(ours.spaces, theirs.spaces, strict=True))
    if isinstance(ours, Sequence):
        return same(ours.feature_space, theirs.feature_space)
    return bool(ours == theirs)


@pytest.mark.parametrize("size", [CLASSIC, SITE])
def test_the_spaces_are_those_of_the_package(size: tuple[int, int]) -> None:
    pytest.importorskip("miniwob")
    from miniwob.action import ActionSpaceConfig
    from miniwob.constants import DEFAULT_ALLOWED_KEYS
    from miniwob.observation import get_observation_space

    assert same(observation_space(size), get_observation_space(*size))
    assert tuple(DEFAULT_ALLOWED_KEYS) == ALLOWED_KEYS
    for preset, types in PRESETS.items():
        config = ActionSpaceConfig.get_preset(preset)
        config.screen_width, config.screen_height = size
        assert same(action_space(preset, size), config.get_action_space()), preset
        assert [t.value for t in config.action_types] == [TYPES[t] for t in types]


def element(observation: Any, **wanted: Any) -> Any:
    """Return the one element whose attributes are as wanted."""
    found = [e for e in observation["dom_elements"] if all(e[k] == v for k, v in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_a_form_is_filled_in_by_refs_and_fields() -> None:
    env = make(actions="liu18")
    observation, info = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    assert (info["done"], info["reason"], info["raw_reward"]) == (False, None, 0.0)
    assert [key for key, _ in observation["fields"]] == ["username", "password"]
    root, first = observation["dom_elements"][:2]
    assert (root["ref"], root["parent"], root["tag"]) == (1, 0, "body")
    assert (first["parent"], first["tag"], first["text"]) == (1, "span", "Username")
    for field, tag in enumerate(("input_text", "input_password")):
        ref = element(observation, tag=tag)["ref"]
        observation, reward, *_ = env.step({"action_type": 2, "ref": ref, "field": field})
        written = element(observation, tag=tag)
        assert written["value"] == observation["fields"][field][1]
        assert written["flags"].tolist() == [1, 1, 1, 1]  # focused, tampered, targeted, a leaf
        assert reward == 0.0
    ref = element(observation, tag="button")["ref"]
    observation, reward, over, truncated, info = env.step({"action_type": 1, "ref": ref})
    assert (over, truncated, info["reason"], info["raw_reward"]) == (True, False, "submitted", 1.0)
    assert reward == pytest.approx(1.0 - 0.3 / 15.0)  # three steps of 0.1 s of 15 s
    assert info["elapsed"] == pytest.approx(0.3)
    assert observation["dom_elements"] == observation["fields"] == ()
    assert env.observation_space.contains(observation)
    assert observation["screenshot"].max() == 0


def test_bins_texts_and_keys_mean_what_they_mean_there() -> None:
    env = make("daedalus/Web-EnterText-v0", actions="all_supported", reward="raw")
    observation, _ = env.reset(seed=1)
    box = element(observation, tag="input_text")
    middle = np.array([box["left"] + box["width"] / 2, box["top"] + 8], np.float32)[:, 0]
    kinds = [TYPES[t] for t in PRESETS["all_supported"]]
    env.step({"action_type": kinds.index("CLICK_COORDS"), "coords": middle})
    word = observation["fields"][0][1]
    observation, *_ = env.step({"action_type": kinds.index("TYPE_TEXT"), "text": word + "xé"})
    assert element(observation, tag="input_text")["value"] == word + "x"
    key = {"action_type": kinds.index("PRESS_KEY"), "key": ALLOWED_KEYS.index("<Backspace>")}
    observation, *_ = env.step(key)
    assert element(observation, tag="input_text")["value"] == word
    before = observation
    observation, reward, over, *_ = env.step({"action_type": 8, "ref": 999_999})
    assert not over  # no such element: nothing happens but time
    assert reward == 0.0
    assert [e["value"] for e in observation["dom_elements"]] == [
        e["value"] for e in before["dom_elements"]
    ]
    button = element(observation, tag="button")["ref"]
    _, reward, over, *_ = env.step({"action_type": kinds.index("CLICK_ELEMENT"), "ref": button})
    assert (reward, over) == (1.0, True)
    # 51 bins: (0.5 + 25) * 160 / 51 = 80, (0.5 + 0) * 210 / 51 = 2.06
    assert make(actions="humphreys22")._place([25, 0]) == (80, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_any_sample_of_the_action_space_can_be_taken(preset: str) -> None:
    env = make("daedalus/Web-FindCity-v0", actions=preset, reward="binary")
    env.action_space.seed(0)
    env.reset(seed=0, options={"record_screenshots": False})
    rewards = set()
    for _ in range(300):
        observation, reward, over, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert over is info["done"]
        rewards.add(reward)
        if over or truncated:
            env.reset()
    assert rewards <= {-1.0, 0.0, 1.0}
    assert observation["screenshot"].max() == 0


def test_the_screenshot_is_the_page() -> None:
    env = make(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    assert (observation["screenshot"][5, 150] == (255, 255, 120)).all()  # the utterance's ground
    assert np.array_equal(env.render(), observation["screenshot"])
    with pytest.raises(ValueError, match="spaces must be one of arrays, miniwob, got 'dom'"):
        gymnasium.make(LOGIN, spaces="dom")
    for mode in ("human", "ansi"):
        with pytest.raises(ValueError, match="render_mode must be 'rgb_array' or None"):
            make(render_mode=mode)


@pytest.mark.parametrize("choice", [{"spaces": "miniwob"}, {"backend": "browser"}])
def test_a_vector_of_what_has_no_batch_names_the_mode_that_has(choice: dict[str, Any]) -> None:
    made = gymnasium.make_vec(LOGIN, 2, backend="native", spaces="arrays")
    assert made.single_observation_space == gymnasium.make(LOGIN).observation_space
    with pytest.raises(ValueError, match=r'make_vec.*vectorization_mode="sync"'):
        gymnasium.make_vec(LOGIN, 2, **choice)
    if "spaces" in choice:
        envs = gymnasium.make_vec(LOGIN, 2, vectorization_mode="sync", **choice)
        assert len(envs.reset(seed=0)[0]["dom_elements"]) == 2


def play_by_refs(env: Any, seed: int) -> int:
    """Let the demonstrator play; hold every observation to refs that name one element each.

    Returns:
        How many elements the episode showed.
    """
    observation, _ = env.reset(seed=seed, options={"record_screenshots": False})
    oracle = Oracle(env.page.instance, env.page.family.params.layout)
    known: dict[int, tuple[str, str, int]] = {}
    over = False
    while not over:
        elements = observation["dom_elements"]
        refs = [e["ref"] for e in elements]
        assert len(set(refs)) == len(refs)
        assert refs[0] == 1
        assert all(e["parent"] in refs for e in elements[1:])
        assert sum(int(e["flags"][2]) for e in elements) <= 1  # targeted
        for e in elements:
            named = e["tag"], e["id"], e["parent"]
            assert known.setdefault(e["ref"], named) == named  # as long as the episode lasts
        command = oracle.act(env.page.table, env.page.first)
        action = {"action_type": command.type, "coords": np.array(command[1:3], np.float32)}
        action |= {"ref": command.element + env.page.first + 2, "key": command.key}
        text = {"text": command.text or "-", "field": command.field}
        observation, reward, over, *_ = env.step(action | text)
    assert reward == 1.0
    return len(known)


def task_id(task: str) -> str:
    return f"daedalus/Web-{task.title().replace('-', '')}-v0"


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_ref_names_one_element_in_every_task(task: str) -> None:
    env = make(task_id(task), reward="raw", instances=8)
    assert [play_by_refs(env, seed) > 1 for seed in range(3)] == [True] * 3


class TestBrowser:
    """Where there is one."""

    pytestmark = needs_browser

    # one page, a popup that covers others, a site of three pages
    @pytest.mark.parametrize("task", ["click-checkboxes", "choose-date", "flight-borealis"])
    def test_a_ref_names_one_element_of_the_document(self, task: str) -> None:
        from daedalus.envs.web.browser.pool import close_all

        script = "return [...document.querySelectorAll('[data-e]')].map(e => Number(e.dataset.e))"
        env = make(task_id(task), reward="raw", instances=8, backend="browser")
        try:
            shown = play_by_refs(env, 1)
            found = env.page.browser.driver.execute_script(script)
            assert sorted(found) == list(range(len(env.page.instance.elements)))
            assert 1 < shown <= len(found) + 1  # and the root
        finally:
            env.close()
            close_all()

    def test_both_backends_show_the_same_dictionaries(self) -> None:
        from daedalus.envs.web.browser.pool import close_all

        quiet = {"options": {"record_screenshots": False}}
        envs = [make(actions="liu18", backend=backend) for backend in ("native", "browser")]
        try:
            seen = [env.reset(seed=5, **quiet)[0] for env in envs]
            for action in ({"action_type": 2, "ref": 3, "field": 0}, {"action_type": 1, "ref": 6}):
                steps = [env.step(action) for env in envs]
                assert [str(s[0]["dom_elements"]) for s in steps] == [
                    str(steps[0][0]["dom_elements"])
                ] * 2
                assert steps[0][1:4] == steps[1][1:4]
            assert str(seen[0]["dom_elements"]) == str(seen[1]["dom_elements"])
            assert steps[0][2] is True  # the form was sent, unfinished
        finally:
            for env in envs:
                env.close()
            close_all()
