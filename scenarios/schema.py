"""What a scenario may say: one frozen dataclass, each field with a line of meaning."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

Value = bool | int | float | str | list[Any] | dict[str, Any] | None


SEQUENCE = "daedalus/Sequence"
"""What a scenario with stages has for its environment: see `daedalus.accelerators.sequence`."""

TASK_ID = ("known", "inferred", "hidden")


class FieldError(ValueError):
    """A value that a field does not accept.

    Attributes:
        path: keys from the top of the file to the value, e.g. ``("agents", "unreal")``.
    """

    def __init__(self, path: tuple[str, ...], message: str) -> None:
        """Keep the path beside the message, so that the loader can name the line."""
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class Stage:
    """A task in a sequence of tasks."""

    name: str
    """Name of the task; the same name later means the same task."""
    env: str
    """Environment id."""
    env_kwargs: dict[str, Any]
    """Keyword arguments of the environment, those of the scenario included."""
    total_timesteps: int
    """Steps of this task, all copies together."""


@dataclass(frozen=True)
class Scenario:
    """An environment with its parameters, a budget, and what is known about scores on it."""

    name: str
    """Name: the file's name without ``.yaml``."""
    env: str
    """Environment id, as ``daedalus train`` takes it: ``daedalus/NavMaze-v0``, ``package:Id``."""
    description: str = ""
    """One sentence for ``daedalus list``."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment."""
    num_envs: int = 64
    """Copies of the environment that a training run steps together."""
    total_timesteps: int = 1_000_000
    """Budget of a training run, in steps of one environment, all copies together."""
    agent: str | None = None
    """Agent that ``daedalus train`` suggests for it."""
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Defaults per agent: agent name -> field of its Config -> value."""
    threshold: float | None = None
    """Mean return per episode that counts as solved."""
    scores: dict[str, float] = field(default_factory=dict)
    """Reference scores, mean return per episode: who -> score (``random``, ``human``, ...)."""
    cost_limit: float | None = None
    """Cost per episode that a policy may have, where the environment counts costs; the constrained
    agents are told it."""
    tags: tuple[str, ...] = ()
    """Words to select scenarios by."""
    source: str = ""
    """Where the task or its reference scores come from."""
    stages: tuple[Stage, ...] = ()
    """Tasks to learn one after another; each may change ``env``, ``env_kwargs`` and the steps."""
    task_id: str = "known"
    """Whether observations say which task it is, as an array ``task``: known or hidden."""

    def settings(self, agent: str, known: Iterable[str]) -> dict[str, Any]:
        """Return the settings for an agent: those of ``agents``, and the limit that it must keep.

        Args:
            agent: The agent's name.
            known: Settings that it has; one with a ``cost_limit`` is told the scenario's.
        """
        limited = self.cost_limit is not None and "cost_limit" in known
        limit = {"cost_limit": self.cost_limit} if limited else {}
        return {**limit, **self.agents.get(agent, {})}


KEYS = tuple(item.name for item in fields(Scenario) if item.name != "name")
"""Keys that a file may have (the name is the file's)."""


def scenario_from(name: str, data: dict[str, Any]) -> Scenario:
    """Check the values of a file and make the scenario.

    Args:
        name: the scenario's name.
        data: mapping from a file, with keys out of `KEYS` only.

    Raises:
        FieldError: a required key is missing, a value has the wrong type, a stage has no steps, or
            two stages of one name are different tasks.
    """
    if "env" not in data:
        raise FieldError((), "the required key 'env' is missing; add e.g. 'env: CartPole-v1'")
    checked = {key: _CHECKS[key](data[key], (key,)) for key in data}
    scenario = Scenario(name=name, **checked)
    return _sequence(scenario, checked["stages"]) if "stages" in checked else scenario


def _sequence(scenario: Scenario, entries: list[dict[str, Any]]) -> Scenario:
    """Fill in what stages have from the scenario; its environment becomes their sequence."""
    share = scenario.total_timesteps // len(entries)
    if share < 1 and any("total_timesteps" not in entry for entry in entries):
        raise FieldError(
            ("total_timesteps",),
            f"{scenario.total_timesteps} is less than a step for each of {len(entries)} stages",
        )
    stages = tuple(
        Stage(
            name=entry["name"],
            env=entry.get("env", scenario.env),
            env_kwargs={**scenario.env_kwargs, **entry.get("env_kwargs", {})},
            total_timesteps=entry.get("total_timesteps", share),
        )
        for entry in entries
    )
    described = [asdict(stage) for stage in stages]
    check_names(described)
    return replace(
        scenario,
        env=SEQUENCE,
        env_kwargs={"stages": described, "task_id": scenario.task_id},
        total_timesteps=sum(stage.total_timesteps for stage in stages),
        stages=stages,
    )


def check_names(stages: Sequence[Mapping[str, Any]]) -> None:
    """See that stages of one name are of one task.

    Raises:
        FieldError: One is not.
    """
    tasks: dict[str, tuple[Any, Any]] = {}
    for index, stage in enumerate(stages):
        task = stage["env"], stage["env_kwargs"]
        if tasks.setdefault(str(stage["name"]), task) != task:
            raise FieldError(
                ("stages", str(index), "name"),
                f"the name {stage['name']!r} is that of an earlier stage with another environment "
                "or other env_kwargs: give it a name of its own",
            )


def _text(value: Value, path: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise FieldError(path, f"expected text, got {value!r}")
    return value


def _word(value: Value, path: tuple[str, ...]) -> str:
    if not _text(value, path).strip():
        raise FieldError(path, "expected text, got nothing; e.g. 'env: CartPole-v1'")
    return str(value)


def _number(value: Value, path: tuple[str, ...]) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) <= sys.float_info.max  # false for NaN
    ):
        raise FieldError(path, f"expected a finite number, got {value!r}")
    return float(value)


def _count(value: Value, path: tuple[str, ...]) -> int:
    number = _number(value, path)
    if number < 1 or number != int(number):
        raise FieldError(path, f"expected a whole number of at least 1, got {value!r}")
    return int(number)


def _mapping(value: Value, path: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FieldError(path, f"expected a mapping (key: value), got {value!r}")
    for key in value:
        if not isinstance(key, str):
            raise FieldError(path, f"expected keys that are text, got {key!r}")
    return value


def _mappings(value: Value, path: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    entries = {key: _mapping(item, (*path, key)) for key, item in _mapping(value, path).items()}
    return {key: settings_from(item) for key, item in entries.items()}


def settings_from(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent's settings as they were written; None may be, as in Python and the shell."""
    return {key: None if value == "None" else value for key, value in entry.items()}


def _numbers(value: Value, path: tuple[str, ...]) -> dict[str, float]:
    return {key: _number(item, (*path, key)) for key, item in _mapping(value, path).items()}


def _texts(value: Value, path: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise FieldError(path, f"expected a list of words, got {value!r}")
    return tuple(_text(item, path) for item in value)


def _task_id(value: Value, path: tuple[str, ...]) -> str:
    if value not in TASK_ID:
        raise FieldError(path, f"expected one of {', '.join(TASK_ID)}, got {value!r}")
    return str(value)


def _stages(value: Value, path: tuple[str, ...]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) < 2:
        raise FieldError(path, "expected a list of at least 2 stages, e.g. '- {name: plain}'")
    return [_stage(item, (*path, str(index))) for index, item in enumerate(value)]


def _stage(value: Value, path: tuple[str, ...]) -> dict[str, Any]:
    entry = _mapping(value, path)
    known = [item.name for item in fields(Stage)]
    for key in entry:
        if key not in known:
            raise FieldError((*path, key), f"unknown key; a stage has: {', '.join(known)}")
    if "name" not in entry:
        raise FieldError(path, "a stage needs a name")
    return {key: _CHECKS[key](item, (*path, key)) for key, item in entry.items()}


_CHECKS: dict[str, Any] = {
    "name": _text,
    "env": _word,
    "description": _text,
    "env_kwargs": _mapping,
    "num_envs": _count,
    "total_timesteps": _count,
    "agent": _text,
    "agents": _mappings,
    "threshold": _number,
    "scores": _numbers,
    "cost_limit": _number,
    "tags": _texts,
    "source": _text,
    "stages": _stages,
    "task_id": _task_id,
}
