"""From words of a command line to environments, scenarios and agents; near misses get a hint."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium

from daedalus import scenarios
from daedalus.agents import agent_names
from daedalus.parsing import UsageError, nearest
from daedalus.scenarios import Scenario

TOGETHER = ("distral",)
"""Agents that learn the tasks of a sequence all at once."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What to act in.

    Attributes:
        name: As the user said it.
        env: Environment id, perhaps with ``"module:"`` before it.
        env_kwargs: Keyword arguments of the environment.
        scenario: Where they come from, if from a scenario.
    """

    name: str
    env: str
    env_kwargs: dict[str, Any]
    scenario: Scenario | None = None


def find_task(name: str, assignments: Sequence[str] = ()) -> Task:
    """Find an environment or a scenario.

    Args:
        name: Environment id, ``module:Id``, scenario name, or path of a scenario file.
        assignments: ``key=value`` keyword arguments of the environment, values as in YAML.

    Raises:
        UsageError: There is none; names the nearest.
        ScenarioError: The scenario's file is not valid.
    """
    given = dict(_assignment(text) for text in assignments)
    if scenarios.is_path(name) or name in scenarios.names():
        scenario = scenarios.load(name)
        for env in [stage.env for stage in scenario.stages] or [scenario.env]:
            check_env(env)
        return Task(name, scenario.env, {**scenario.env_kwargs, **given}, scenario)
    check_env(name)
    return Task(name, name, given)


def check_env(name: str) -> None:
    """Check that an environment id exists, importing the module of ``module:Id``.

    Raises:
        UsageError: It does not.
    """
    module, colon, env_id = name.rpartition(":")
    if colon:
        _import(module, name)
    if env_id in gymnasium.registry or name == scenarios.SEQUENCE:
        return
    known = [*gymnasium.registry, *scenarios.names()]
    if colon:
        known = [known_id for known_id in known if not known_id.startswith("daedalus/")]
    mixed = "; agents go first: daedalus train AGENT ENV" if env_id in agent_names() else ""
    hint = nearest(env_id, known) or mixed or "; `daedalus list` shows all, package:Id loads others"
    where = f" (after importing {module})" if colon else ""
    raise UsageError(f"unknown environment or scenario {env_id!r}{where}{hint}")


def find_agent(name: str) -> Any:
    """Return the class of an agent.

    Raises:
        UsageError: There is none; names the nearest.
        MissingExtraError: It needs a package that is not installed.
    """
    from daedalus.agents import make_agent
    from daedalus.scenarios.extras import needed

    module, colon, attribute = name.rpartition(":")
    if colon:
        found = getattr(_import(module, name), attribute, None)
        if isinstance(found, type):
            return found
        name = attribute
    if name not in agent_names():
        hint = nearest(name, agent_names()) or f"; known: {', '.join(agent_names())}"
        raise UsageError(f"unknown agent {name!r}{hint}")
    with needed():
        return make_agent(name)


def is_agent(name: str) -> bool:
    """Whether a name is that of an agent: a known one, or ``module:Class`` with a Config.

    Raises:
        UsageError: There is no such module.
    """
    module, colon, attribute = name.rpartition(":")
    if not colon:
        return name in agent_names()
    found = getattr(_import(module, name), attribute, None)
    return hasattr(found, "Config") or attribute in agent_names()


def check_device(name: str) -> None:
    """Check that a device is there.

    Args:
        name: ``"auto"``, or a name that torch knows, such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises:
        UsageError: It is not.
    """
    from daedalus.accelerators.devices import device_fault

    if fault := device_fault(name, "--device cpu"):
        raise UsageError(fault)


def _import(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            message = f"{name}: there is no module {error.name!r}; is the package installed?"
            raise UsageError(message) from None
        raise


def _assignment(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key.isidentifier():
        raise UsageError(f"expected key=value after --env-kwargs, got {text!r}")
    return key, plain_value(value, key)


def plain_value(text: str, key: str) -> Any:
    """Return a value of the command line, read as in scenario files.

    Raises:
        UsageError: It is not valid YAML; names ``key``.
    """
    try:
        return scenarios.read_plain(text, f"the value of {key!r}")
    except scenarios.PlainError as error:
        raise UsageError(str(error)) from None


@contextmanager
def naming_parameters(task: Task) -> Iterator[None]:
    """Explain a parameter that an environment does not have, within the block that makes it.

    Raises:
        UsageError: There is no such parameter; names the nearest.
    """
    from daedalus.accelerators.vector import open_env

    try:
        yield
    except TypeError as error:
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if found is None or found[1] not in task.env_kwargs:
            raise
        known = parameters_of(open_env(task.env))
        hint = nearest(found[1], known) or f"; `daedalus info {task.env}` lists them"
        raise UsageError(f"{task.env} has no parameter {found[1]!r}{hint}") from None


def parameters_of(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """Return the parameters of an environment and their defaults.

    Those that a family takes as ``**options`` into a dataclass of that name count as its own.
    """
    made: Any = getattr(env.unwrapped, "family", env.unwrapped)
    parameters = inspect.signature(type(made).__init__).parameters.values()
    named = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    for item in parameters:
        options = getattr(made, item.name, None)
        if item.kind is inspect.Parameter.VAR_KEYWORD and dataclasses.is_dataclass(options):
            named |= {field.name: field.default for field in dataclasses.fields(options)}
    return named
