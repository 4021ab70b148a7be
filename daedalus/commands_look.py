"""``daedalus list`` and ``daedalus info``."""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import gymnasium
import tyro

from daedalus import scenarios, source
from daedalus.agents import agent_names, entry_point
from daedalus.envs import NATIVE
from daedalus.lookup import TOGETHER, check_env, find_agent, is_agent, parameters_of
from daedalus.parsing import UsageError, nearest, positional

KINDS = ("environments", "scenarios", "agents")


@dataclasses.dataclass
class List:
    """Show environments, scenarios and agents, each with a line of what it is.

    Any Gymnasium id that is installed works too, and package:Id imports the package first.

    Examples:
      daedalus list
      daedalus list scenarios
      daedalus list agents
    """

    kind: Annotated[tyro.conf.Positional[str], positional("KIND")] = "all"
    """environments, scenarios, agents, or all."""

    def run(self) -> int:
        """Print the tables."""
        kinds = [kind for kind in KINDS if self.kind in ("all", kind)]
        if not kinds:
            hint = nearest(self.kind, KINDS) or f"; kinds: {', '.join(KINDS)}"
            raise UsageError(f"there is no kind {self.kind!r}{hint}")
        for kind in kinds:
            rows = list(_ROWS[kind]())
            width = max((len(name) for name, _ in rows), default=0)
            print(kind.upper())
            for name, what in rows:
                print(f"  {name:<{width}}  {what}".rstrip())
            print()
        print("`daedalus info NAME` tells all about one.")
        return 0


def _environments() -> Iterator[tuple[str, str]]:
    for env_id, spec in gymnasium.registry.items():
        if spec.namespace == "daedalus" or env_id in NATIVE:
            yield env_id, environment_summary(env_id)


def environment_summary(env_id: str) -> str:
    """Return what a registered environment is, in a sentence from its docstring."""
    spec = gymnasium.registry[env_id]
    chosen = {str(value) for name, value in spec.kwargs.items() if name != "family"}
    return source.summary(NATIVE.get(env_id, str(spec.entry_point)), chosen)


def _scenarios() -> Iterator[tuple[str, str]]:
    for name in scenarios.names():
        scenario = scenarios.load(name)
        yield name, scenario.description or scenario.env


def _agents() -> Iterator[tuple[str, str]]:
    for name in agent_names():
        try:
            yield name, source.summary(entry_point(name))
        except (OSError, ImportError, SyntaxError):
            yield name, entry_point(name)


_ROWS = {"environments": _environments, "scenarios": _scenarios, "agents": _agents}


@dataclasses.dataclass
class Info:
    """Tell all about an environment, a scenario or an agent.

    Examples:
      daedalus info daedalus/NavMaze-v0
      daedalus info nav_maze_random_goal_01
      daedalus info unreal
      daedalus info my_agent:MyAgent
    """

    name: Annotated[tyro.conf.Positional[str], positional("NAME")]
    """Environment id, package:Id, scenario name or file, agent, or module:Class."""

    def run(self) -> int:
        """Print what is known."""
        if is_agent(self.name):
            print("\n".join(_agent(self.name)))
            return 0
        if self.name in scenarios.names() or scenarios.is_path(self.name):
            print("\n".join(_scenario(self.name)))
            return 0
        try:
            check_env(self.name)
        except UsageError:
            hint = nearest(self.name, [*gymnasium.registry, *scenarios.names(), *agent_names()])
            if ":" in self.name or not hint:
                raise
            raise UsageError(f"there is no {self.name!r}{hint}") from None
        print("\n".join(_environment(self.name)))
        return 0


def _agent(name: str) -> Iterator[str]:
    """Docstring of the agent and its settings, of a known one without importing it."""
    if ":" in name:
        found = find_agent(name)
        target = f"{found.__module__}:{found.__name__}"
    else:
        target = entry_point(name)
    module = target.partition(":")[0]
    yield f"{name}  ({target})\n"
    yield source.docstring(target)
    text = source.docstring(f"{module}:")
    if text != source.docstring(target):
        yield f"\n{text}"
    rows = [(f"--{f.name.replace('_', '-')}", f.default, f.meaning) for f in _settings(target)]
    yield "\nSettings (options of `daedalus train`, fields of Config):"
    yield from table(rows)


def _settings(target: str) -> list[source.Field]:
    """Fields of the agent's Config; of agents that make theirs when loaded, by loading them."""
    found = source.fields(f"{target.partition(':')[0]}:Config")
    if found:
        return found
    config = find_agent(target).Config
    return [
        source.Field(item.name, str(item.type), repr(item.default), item.metadata.get("help", ""))
        for item in dataclasses.fields(config)
    ]


def _scenario(name: str) -> Iterator[str]:
    scenario = scenarios.load(name)
    yield f"{scenario.name}\n"
    if scenario.description:
        yield f"{scenario.description}\n"
    rows = [("environment", scenario.env)]
    if scenario.stages:
        rows = [("task_id", scenario.task_id)]
        rows += [(f"stage {i}", _stage(stage)) for i, stage in enumerate(scenario.stages, 1)]
    else:
        rows += [(f"  {key}", str(value)) for key, value in scenario.env_kwargs.items()]
    rows += [
        ("copies", str(scenario.num_envs)),
        ("steps", f"{scenario.total_timesteps:,}"),
        ("threshold", "-" if scenario.threshold is None else f"{scenario.threshold:g}"),
    ]
    if scenario.cost_limit is not None:
        rows.append(("cost limit", f"{scenario.cost_limit:g} an episode"))
    rows += [(f"score of {who}", f"{score:g}") for who, score in scenario.scores.items()]
    rows += [
        (f"{agent}: {key}", str(value))
        for agent, settings in scenario.agents.items()
        for key, value in settings.items()
    ]
    rows += [("tags", ", ".join(scenario.tags)), ("source", scenario.source)]
    yield from table([row for row in rows if row[1]])
    together = " --env-kwargs task=all" if scenario.stages and scenario.agent in TOGETHER else ""
    yield f"\nTry: daedalus train {scenario.agent or 'unreal'} {scenario.name}{together}"


def _stage(stage: scenarios.Stage) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in stage.env_kwargs.items())
    return f"{stage.name}: {stage.env} ({settings or 'defaults'}), {stage.total_timesteps:,} steps"


def _environment(name: str) -> Iterator[str]:
    from daedalus.accelerators.vector import open_env

    env_id = name.rpartition(":")[2]
    spec = gymnasium.spec(env_id)
    env = open_env(name)
    inner: Any = env.unwrapped
    family: Any = getattr(inner, "family", None)
    yield f"{env_id}\n"
    yield inspect.cleandoc((family or inner).__doc__ or "(no description)")
    yield "\nSpaces"
    batch = getattr(inner, "batch", None)
    if batch is None:
        yield from table([("observation", str(env.observation_space))])
    else:
        groups = (
            ("observation", batch.observation_spaces),
            ("label", batch.label_spaces),
            ("info", batch.info_spaces),
        )
        rows = [(f"{kind} {key}", str(s)) for kind, spaces in groups for key, s in spaces.items()]
        shown = {key for _, spaces in groups for key in spaces}
        rest = {key: s for key, s in family.spaces.items() if key not in shown}
        yield from table(rows + [(f"(on request) {key}", str(s)) for key, s in rest.items()])
    yield from table([("action", str(env.action_space))])
    fixed = {key: value for key, value in spec.kwargs.items() if key != "family"}
    defaults = parameters_of(env) | fixed
    yield "\nParameters (--env-kwargs key=value) and their defaults"
    yield from table([(key, repr(value)) for key, value in defaults.items()]) or ["  none"]
    limit = batch.time_limit if batch is not None else spec.max_episode_steps
    yield f"\nTime limit: {f'{limit:,} steps' if limit else 'none'}"
    env.close()


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines with aligned columns, the last wrapped to a terminal's width."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    left = 2 + sum(width + 2 for width in widths)
    room = shutil.get_terminal_size().columns - left if sys.stdout.isatty() else 0
    lines = []
    for *cells, last in rows:
        head = "  " + "".join(f"{cell:<{w}}  " for cell, w in zip(cells, widths, strict=True))
        parts = textwrap.wrap(last, room) if room >= 30 else [last]
        lines.append((head + "".join(parts[:1])).rstrip())
        lines += [" " * left + part for part in parts[1:]]
    return lines
