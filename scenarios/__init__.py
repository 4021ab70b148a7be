r"""Scenarios: environment, parameters, agent, budget and threshold as data.

A scenario is one YAML file. Shipped ones stand beside this file and go by their file's name; a
user's own is given by its path. Keys are closed: an unknown one is an error that names the file,
the line and the nearest valid key. Files are data only: no code, no aliases, at most `MAX_BYTES`.

Example:
    >>> from daedalus.scenarios import load_text
    >>> scenario = load_text("env: CartPole-v1\ntotal_timesteps: 1e5\n", name="my_cart")
    >>> scenario.env, scenario.total_timesteps, scenario.num_envs
    ('CartPole-v1', 100000, 64)
"""

from daedalus.scenarios.loader import (
    MAX_BYTES,
    ScenarioError,
    find,
    is_path,
    load,
    load_text,
    names,
)
from daedalus.scenarios.plain import PlainError, read_plain, write_plain
from daedalus.scenarios.schema import SEQUENCE, Scenario, Stage

__all__ = [
    "MAX_BYTES",
    "SEQUENCE",
    "PlainError",
    "Scenario",
    "ScenarioError",
    "Stage",
    "find",
    "is_path",
    "load",
    "load_text",
    "names",
    "read_plain",
    "write_plain",
]
