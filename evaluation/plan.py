"""What a benchmark runs: groups of agents, scenarios and seeds, from YAML or from arguments.

    seeds: 5
    episodes: 100
    groups:
      - scenarios: [cartpole, CartPole-v1, mine.yaml]
        agents: [ppo, dqn]
        total_timesteps: 50_000
      - scenarios: [small_maze_random_goal]
        agents:
          unreal: {}
          without replay: {agent: unreal, value_replay: 0}

A plan is expanded into `RunSpec`: one for each agent, scenario and seed, with every setting
written out. The hash of a spec is the name of its run, so what was done is known for sure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daedalus import scenarios
from daedalus.scenarios.schema import settings_from

EPISODES = 100
"""Held-out episodes of the final evaluation."""
POINTS = 100
"""Rows of a learning curve."""
LONGEST = 200
"""Bytes of the words in a run's folder: file systems take 255 in all."""


class PlanError(ValueError):
    """A plan that cannot be carried out; the message says where and what to do."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides what a run computes.

    Attributes:
        label: Name of the agent in tables; several labels may share one agent.
        agent: Registered name, or ``"module:Class"``.
        config: Every field of the agent's Config.
        scenario: Name of the scenario, or the environment's id.
        env: Environment id.
        env_kwargs: Its keyword arguments.
        num_envs: Copies stepped together.
        total_timesteps: Environment steps, all copies together.
        seed: All randomness of the run derives from it.
        episodes: Held-out episodes of the final evaluation.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: CPU threads of the run.
        references: Reference scores of the scenario, for normalisation.
        cost_limit: Cost per episode that a policy may have, None where nothing is limited.
    """

    label: str
    agent: str
    config: dict[str, Any]
    scenario: str
    env: str
    env_kwargs: dict[str, Any]
    num_envs: int
    total_timesteps: int
    seed: int
    episodes: int = EPISODES
    device: str = "cpu"
    threads: int = 1
    references: dict[str, float] = field(default_factory=dict)
    cost_limit: float | None = None

    @property
    def id(self) -> str:
        """Hash of all of it but what results are judged by."""
        content = dataclasses.asdict(self)
        del content["references"], content["cost_limit"]
        return hashlib.sha256(canonical(content).encode()).hexdigest()[:16]

    @property
    def config_hash(self) -> str:
        """Hash of the agent's settings alone."""
        return hashlib.sha256(canonical(self.config).encode()).hexdigest()[:16]

    @property
    def folder(self) -> str:
        """Name of the run directory: readable, short enough for a file, unique by the id."""
        words = f"{self.label}-{self.scenario}-{self.seed}"
        plain = "".join(c if c.isalnum() else "-" for c in words)
        short = plain.encode()[:LONGEST].decode(errors="ignore")
        return f"{short}-{self.id[:8]}"


def canonical(data: Any) -> str:
    """Return data as JSON that is the same for the same content."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), default=list)


@dataclass(frozen=True)
class Group:
    """Agents on scenarios.

    Attributes:
        scenarios: Names, files or environment ids.
        agents: Label -> ``agent`` (by default the label itself) and settings of its Config.
        total_timesteps: Budget in place of the scenario's.
        num_envs: Copies in place of the scenario's.
    """

    scenarios: tuple[str, ...]
    agents: dict[str, dict[str, Any]]
    total_timesteps: int | None = None
    num_envs: int | None = None


@dataclass(frozen=True)
class Plan:
    """Groups and what holds for all of them.

    Attributes:
        groups: What is run.
        seeds: Runs of each agent on each scenario, with seeds 0, 1, ...
        episodes: Held-out episodes of each final evaluation.
        device: Where the learner runs.
        threads: CPU threads of each run.
    """

    groups: tuple[Group, ...]
    seeds: int = 5
    episodes: int = EPISODES
    device: str = "cpu"
    threads: int = 1

    def specs(self) -> list[RunSpec]:
        """Expand into runs: every agent and scenario with seed 0, then with seed 1, ...

        Raises:
            PlanError: An agent, a scenario or a setting is unknown.
        """
        first = [spec for group in self.groups for spec in self._of(group)]
        seeded = [
            dataclasses.replace(spec, seed=seed) for seed in range(self.seeds) for spec in first
        ]
        return list({spec.id: spec for spec in seeded}.values())

    def _of(self, group: Group) -> Iterator[RunSpec]:
        for name in group.scenarios:
            for label, entry in group.agents.items():
                yield self._spec(group, name, label, entry)

    def _spec(self, group: Group, name: str, label: str, entry: Mapping[str, Any]) -> RunSpec:
        scenario = find_scenario(name)
        settings = settings_from(entry)
        agent = str(settings.pop("agent", label))
        agent_class = _agent_class(agent)
        config = _config(agent_class, agent, scenario, settings)
        return RunSpec(
            label=label,
            agent=agent,
            config=json.loads(canonical(config)),
            scenario=scenario.name,
            env=scenario.env,
            env_kwargs=scenario.env_kwargs,
            num_envs=group.num_envs or scenario.num_envs or agent_class.default_num_envs,
            total_timesteps=group.total_timesteps or scenario.total_timesteps,
            seed=0,
            episodes=self.episodes,
            device=self.device,
            threads=self.threads,
            references=scenario.scores,
            cost_limit=scenario.cost_limit,
        )


def find_scenario(name: str) -> scenarios.Scenario:
    """Return a scenario by name or file; an environment id is a scenario with all defaults.

    Raises:
        PlanError: It is neither.
    """
    import gymnasium

    if scenarios.is_path(name) or name in scenarios.names():
        return scenarios.load(name)
    if ":" in name or name in gymnasium.registry:
        return scenarios.Scenario(name=name, env=name, num_envs=0)
    try:
        return scenarios.load(name)  # says which is the nearest
    except scenarios.ScenarioError as error:
        raise PlanError(str(error)) from None


def _agent_class(name: str) -> Any:
    from daedalus.agents import make_agent

    try:
        return make_agent(name)
    except ValueError as error:
        raise PlanError(str(error)) from None


def _config(
    agent_class: Any, name: str, scenario: scenarios.Scenario, own: Mapping[str, Any]
) -> dict[str, Any]:
    known = [item.name for item in dataclasses.fields(agent_class.Config)]
    settings = {**scenario.settings(name, known), **own}
    for key in settings:
        if key not in known:
            raise PlanError(f"{name} has no setting {key!r}; it has: {', '.join(known)}")
    return dataclasses.asdict(agent_class.Config(**settings))


def read_plan(path: str | Path) -> Plan:
    """Read a plan from a YAML file.

    Raises:
        PlanError: Not readable, or with a key or value that is not valid.
    """
    try:
        data = scenarios.read_plain(Path(path).read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: not UTF-8 text ({error})") from None
    except scenarios.PlainError as error:
        raise PlanError(str(error)) from None
    try:
        return _plan(data)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None


def _plan(data: Any) -> Plan:
    _check_keys(data, Plan, "the plan")
    groups = data.get("groups")
    if not isinstance(groups, list) or not groups:
        raise PlanError("'groups' must be a list of groups of scenarios and agents")
    rest = {key: value for key, value in data.items() if key != "groups"}
    for key in ("seeds", "episodes", "threads"):
        if key in rest:
            rest[key] = _count(rest[key], key)
    return Plan(groups=tuple(_group(item, i) for i, item in enumerate(groups, 1)), **rest)


def _group(data: Any, number: int) -> Group:
    where = f"group {number}"
    _check_keys(data, Group, where)
    names, agents = data.get("scenarios"), data.get("agents")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise PlanError(f"{where}: 'scenarios' must be a list of names")
    if isinstance(agents, list):
        agents = {str(name): {} for name in agents}
    if not isinstance(agents, dict) or not agents:
        raise PlanError(f"{where}: 'agents' must be a list of names, or names with settings")
    if wrong := [name for name, entry in agents.items() if not isinstance(entry, dict | None)]:
        raise PlanError(f"{where}: the settings of {wrong[0]!r} must be 'key: value' lines")
    counts = {
        key: _count(data[key], f"{where}: {key}")
        for key in ("total_timesteps", "num_envs")
        if key in data
    }
    return Group(tuple(names), {str(k): dict(v or {}) for k, v in agents.items()}, **counts)


def _check_keys(data: Any, kind: type[Any], where: str) -> None:
    known = [item.name for item in dataclasses.fields(kind)]
    if not isinstance(data, dict):
        raise PlanError(f"{where}: expected 'key: value' lines with {', '.join(known)}")
    for key in data:
        if key not in known:
            raise PlanError(f"{where}: unknown key {key!r}; there are: {', '.join(known)}")


def _count(value: Any, where: str) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or number < 1 or not number.is_integer():
        raise PlanError(f"{where}: expected a whole number of at least 1, got {value!r}")
    return int(number)


def plan_from(
    agents: Sequence[str],
    names: Sequence[str],
    *,
    total_timesteps: int | None = None,
    num_envs: int | None = None,
    **rest: Any,
) -> Plan:
    """Return the plan of one group, from arguments.

    Args:
        agents: Agents by name.
        names: Scenarios, files or environment ids.
        total_timesteps: Budget in place of the scenarios'.
        num_envs: Copies in place of the scenarios'.
        rest: Further fields of `Plan`.
    """
    group = Group(tuple(names), {name: {} for name in agents}, total_timesteps, num_envs)
    return Plan((group,), **rest)
