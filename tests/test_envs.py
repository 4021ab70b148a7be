"""One test body for every registered environment; registering is enough to be tested."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from gymnasium.utils.env_checker import check_env

sys.path.insert(0, str(Path(__file__).parent))
import members

from daedalus.envs import NATIVE, family_class
from daedalus.envs.core import Family

SECTIONS = (
    "Observation",
    "Action",
    "Reward",
    "Episode end",
    "Parameters",
    "Version history",
    "Source",
)


def _section(doc: str, name: str) -> str:
    match = re.search(rf"^{name}:\n((?:    .*\n|\n)+)", doc + "\n", re.MULTILINE)
    assert match, f"the datasheet lacks a section {name!r}"
    return match[1]


@members.every_environment
def test_gymnasium_accepts_it(env_id: str) -> None:
    env = gymnasium.make(env_id, render_mode="rgb_array", disable_env_checker=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*Box observation space.*")  # unbounded is fine
        warnings.filterwarnings("ignore", message=".*not have been wrapped.*")
        check_env(env.unwrapped)


@members.every_environment
def test_stable_baselines3_accepts_it(env_id: str) -> None:
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    sb3_check_env(gymnasium.make(env_id).unwrapped, warn=False)


@pytest.mark.parametrize("env_id", sorted(NATIVE))
def test_the_datasheet_is_complete(env_id: str) -> None:
    """Every section is there; arrays, parameters and their units are those of the code."""
    family = family_class(env_id)
    doc = inspect.getdoc(family) or ""
    for name in SECTIONS:
        _section(doc, name)
    shown = _section(doc, "Observation")
    for array in (*family.observations, *family.labels):
        assert re.search(rf"^\s+{array}: ", shown, re.MULTILINE), f"{array} is not described"
    parameters = set(inspect.signature(family).parameters)
    described = _section(doc, "Parameters")
    for name in parameters:
        assert re.search(rf"^\s+{name}: ", described, re.MULTILINE), f"{name} is not described"


@members.every_environment
def test_the_picture_is_for_people(env_id: str) -> None:
    env = gymnasium.make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    picture: Any = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1
    again: Any = env.render()
    assert np.array_equal(picture, again)
    for seed in range(1, 5):  # a window or a video has one size
        env.reset(seed=seed)
        assert env.render().shape == picture.shape  # type: ignore[union-attr]


@members.every_environment
def test_the_keys_are_actions(env_id: str) -> None:
    family: Family = gymnasium.make(env_id).unwrapped.family  # type: ignore[attr-defined]
    assert family.keys
    if isinstance(family.action_space, Discrete) and not all(k.isdigit() for k in family.keys):
        assert all(family.action_space.contains(action) for action in family.keys.values())
