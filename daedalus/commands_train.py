"""``daedalus train`` and ``daedalus resume``."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro

from daedalus.accelerators.sequence import at_stage, is_staged, stage_ends
from daedalus.parsing import Count, MaybePositive, MaybeText, UsageError, parse, positional

STAGE_EPISODES = 100
"""Held-out episodes on every task at the end of a stage."""
OVERSHOOT = 0.05
"""Share of the steps asked for from which it is said that whole rollouts come to more."""


@dataclasses.dataclass
class Train:
    """Train an agent in an environment or a scenario.

    AGENT and ENV come first, then options. The settings of an agent are options too:
    `daedalus train unreal --help` lists those of UNREAL, `daedalus list` shows all agents.
    The run goes to runs/<agent>-<env>-<date>, and runs/last points to it: config.yaml,
    checkpoints, TensorBoard files and metrics.csv. Ctrl-C saves and stops;
    `daedalus resume runs/last` goes on from there, to the same result.

    Examples:
      daedalus train unreal daedalus/NavMaze-v0 --steps 2e6
      daedalus train unreal nav_maze_random_goal_01 --learning-rate 5e-4 --seed 3
      daedalus train ppo CartPole-v1 --steps 1e5 --num-envs 8
      daedalus train ppo my_package:My-v0             your own environment
      daedalus train my_agent:MyAgent CartPole-v1     your own agent
      daedalus train actor_critic catch_sequence --consolidation ewc      one task after another
      daedalus train actor_critic catch_sequence --env-kwargs task=all    all of them at once
    """

    agent: Annotated[tyro.conf.Positional[str], positional("AGENT")]
    """Name of an agent, or module:Class."""
    env: Annotated[tyro.conf.Positional[str], positional("ENV")]
    """Environment id, package:Id, scenario name, or path of a scenario file."""
    steps: MaybePositive = None
    """Environment steps of all copies, to the end of a rollout (auto: the scenario's, or 1e6)."""
    num_envs: MaybePositive = None
    """Copies of the environment stepped together (auto: the scenario's, or the agent's)."""
    seed: Count = 0
    """All randomness of the run derives from it."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: MaybePositive = None
    """CPU threads of the learner; 1 suits small networks and busy machines (auto: torch's)."""
    run: MaybeText = None
    """Folder of the run (auto: runs/<agent>-<env>-<date>)."""
    env_kwargs: tuple[str, ...] = ()
    """Parameters of the environment as key=value, e.g. --env-kwargs cells=[5,10] apples=0.2."""


def train_command(args: Sequence[str], prog: str) -> Any:
    """Parse ``train``: the agent's settings become options, a scenario gives their defaults.

    Raises:
        UsageError: AGENT or ENV is missing or unknown, or an option is wrong.
    """
    from daedalus.lookup import find_agent, find_task

    words = [word for word in args[:2] if not word.startswith("-")]
    asks_help = "-h" in args or "--help" in args
    if asks_help and not words:
        return parse(Train, ["--help"], prog)
    if (args[:1] and args[0].startswith("-")) or (len(words) < 2 and not asks_help):
        raise UsageError(f"say AGENT and ENV first, then options: {prog} unreal daedalus/Catch-v0")
    agent_class = find_agent(words[0])
    assignments: tuple[str, ...] = ()
    task = find_task(words[1], assignments) if len(words) > 1 else None
    defaults = _default_config(agent_class, words[0], task)
    made = parse(_with_config(agent_class, defaults), args, f"{prog}")
    return Training(made, agent_class, find_task(made.env, made.env_kwargs))


def _default_config(agent_class: Any, name: str, task: Any) -> Any:
    """The agent's settings with a scenario's in place of the defaults.

    Raises:
        ValueError: The scenario names a setting that the agent does not have.
    """
    from daedalus.parsing import nearest

    known = [item.name for item in dataclasses.fields(agent_class.Config)]
    scenario = None if task is None else task.scenario
    given = {} if scenario is None else scenario.settings(name, known)
    for key in given:
        if key not in known:
            hint = nearest(key, known)
            raise ValueError(f"scenario {task.name}: {name} has no setting {key!r}{hint}")
    return agent_class.Config(**given)


def _with_config(agent_class: Any, defaults: Any) -> type[Train]:
    """`Train` with the fields of the agent's Config beside its own."""
    arrange_fields(agent_class.Config)
    kind = Annotated[agent_class.Config, tyro.conf.arg(name="")]
    made = dataclasses.make_dataclass(
        "Train", [("config", kind, dataclasses.field(default=defaults))], bases=(Train,)
    )
    made.__doc__ = Train.__doc__
    return made


def arrange_fields(config: type[Any]) -> None:
    """Put keyword-only fields last in help, as in the signature; hide those without a use."""
    known, hints = config.__dataclass_fields__, get_type_hints(config)
    for name in getattr(config, "UNUSED", ()):
        # for the whole process: `checked` asks these for their default, not for a type
        config.__annotations__[name] = tyro.conf.Suppress[hints[name]]  # type: ignore[misc, valid-type]
    for name in [name for name, field in known.items() if field.kw_only]:
        known[name] = known.pop(name)


class Training:
    """A run that is about to start."""

    def __init__(self, options: Any, agent_class: Any, task: Any) -> None:
        """Take what the command line said."""
        self.options, self.agent_class, self.task = options, agent_class, task

    def run(self) -> int:
        """Make agent and run directory, train, and say how to go on."""
        from daedalus.accelerators.run_directory import RunDirectory
        from daedalus.lookup import check_device, naming_parameters

        options, task = self.options, self.task
        scenario = task.scenario
        steps = options.steps or (scenario.total_timesteps if scenario else 1_000_000)
        copies = options.num_envs or (scenario.num_envs if scenario else None)
        check_device(options.device)
        _set_threads(options.threads)
        with naming_parameters(task):
            agent = self.agent_class(
                task.env,
                options.config,
                num_envs=copies,
                seed=options.seed,
                device=options.device,
                env_kwargs=at_stage(task.env, task.env_kwargs, 0),
            )
        config = {
            "agent": options.agent,
            "env": task.env,
            "env_kwargs": task.env_kwargs,
            "scenario": scenario.name if scenario else None,
            "num_envs": agent.copies,
            "seed": options.seed,
            "device": options.device,
            "threads": options.threads,
            "total_timesteps": steps,
            "config": dataclasses.asdict(options.config),
        }
        path = Path(options.run) if options.run else run_path(options.agent, task.name)
        with RunDirectory.create(path, config) as run:
            return train_in(run, agent, steps, config)


def _set_threads(threads: int | None) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)


def run_path(agent: str, env: str) -> Path:
    """Make the folder ``runs/<agent>-<env>-<date>``, numbered where others start this second."""
    words = [word.rpartition(":")[2].rpartition("/")[2] for word in (agent, env)]
    words = [word.removesuffix(".yaml").removesuffix(".yml") for word in words]
    first = Path("runs") / "-".join([*words, time.strftime("%Y%m%d-%H%M%S")])
    for number in itertools.count(1):
        path = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    return path


def train_in(run: Any, agent: Any, steps: int, config: Mapping[str, Any]) -> int:
    """Train with the live line; say where things are and how to go on.

    Args:
        run: The run directory.
        agent: New, or as the newest checkpoint has it.
        steps: Environment steps in all.
        config: What ``config.yaml`` says: ``env`` and ``env_kwargs`` are read.

    Returns:
        Exit code: 0 when the steps are done, 130 after Ctrl-C, 143 after SIGTERM.
    """
    from daedalus.accelerators.run_directory import read_status
    from daedalus.accelerators.signals import Stopped
    from daedalus.agents.health import Health
    from daedalus.evaluation.runs import earlier_runs
    from daedalus.progress import ProgressLine, duration

    for note in run.notes:
        print(f"daedalus: {note}", file=sys.stderr)
    print(f"training {agent.name} on {agent.device} with {agent.num_envs} environments: {run.path}")
    sys.stdout.flush()
    if advice := [*_advice(agent, steps, config)]:
        print("\n".join(f"daedalus: {line}" for line in advice), file=sys.stderr)
    began, code = time.monotonic(), 0
    try:
        with ProgressLine(agent, steps) as line:
            health = Health(earlier_runs(run.path), steps)
            table = _train(run, agent, steps, config, progress=line, health=health)
    except Stopped as stop:
        code = 128 + stop.signum
    finally:
        agent.batch.close()  # or what environments started, such as ViZDoom, would outlive this
    took = duration(time.monotonic() - began)
    word = "stopped and saved" if code else "finished"
    at = read_status(run.path)["checkpoint"] if code else agent.num_timesteps
    print(f"{word} at {at:,} steps after {took}{_recent(agent)}")
    if not code and table:
        print("\n".join(["", *table, ""]))
    for verb in ("resume",) * bool(code) + ("evaluate", "watch"):
        print(f"  daedalus {verb} {run.path}")
    return code


def _advice(agent: Any, steps: int, config: Mapping[str, Any]) -> Iterator[str]:
    """What a person who starts a run should know of it."""
    from daedalus.accelerators.instances import SharedInstances
    from daedalus.lookup import TOGETHER

    staged = is_staged(config["env"], config["env_kwargs"])
    if staged and agent.name in TOGETHER:
        yield f"{agent.name} learns tasks together, not in turn: add --env-kwargs task=all"
    ends = [steps]
    if staged:
        ends = stage_ends(config["env_kwargs"], steps)[len(agent.finished_tasks) :]
    rollout, last = agent.rollout_length * agent.num_envs, agent.num_timesteps
    for end in ends:
        last += max(0, -((last - end) // rollout)) * rollout
    varies = isinstance(agent.batch, SharedInstances)  # its rollouts adapt to the episodes
    if last > (1 + OVERSHOOT) * steps and not varies:
        yield f"a rollout is {rollout:,} steps: training stops at {last:,}, not at {steps:,}"


def _train(
    run: Any, agent: Any, steps: int, config: Mapping[str, Any], **options: Any
) -> list[str]:
    """Train, on one stage after another where there are stages; return their scores as a table."""
    from daedalus.agents.training import train
    from daedalus.evaluation.sequence import score_table, train_sequence

    env_kwargs = config["env_kwargs"]
    if not is_staged(config["env"], env_kwargs):
        train(agent, steps, run=run, **options)
        return []
    train_sequence(agent, env_kwargs, steps, run.log, episodes=STAGE_EPISODES, run=run, **options)
    return score_table(run.path, env_kwargs)


def _recent(agent: Any) -> str:
    """The mean return of the last episodes as words."""
    returns = [episode["r"] for episode in agent.ep_info_buffer]
    if not returns:
        return ""
    return f"; mean return of the last {len(returns)} episodes {sum(returns) / len(returns):.2f}"


@dataclasses.dataclass
class Resume:
    """Go on with a run where its newest checkpoint stands.

    On the CPU the result is the same, bit for bit, as that of a run that never stopped. The agent's
    settings are those of the checkpoint.

    Examples:
      daedalus resume runs/last
      daedalus resume runs/last --steps 5e6     train to more steps than first asked for
    """

    path: Annotated[tyro.conf.Positional[str], positional("RUN")]
    """Run directory."""
    steps: MaybePositive = None
    """Environment steps in all (auto: as last asked for)."""
    device: MaybeText = None
    """auto, cpu or cuda (auto: as before)."""

    def run(self) -> int:
        """Load the newest checkpoint and train on."""
        from daedalus.accelerators.run_directory import RunDirectory
        from daedalus.evaluation.runs import read_run
        from daedalus.evaluation.sequence import is_scored
        from daedalus.lookup import check_device, check_env, find_agent

        config = read_run(self.path)
        agent_class = find_agent(str(config["agent"]))
        check_env(str(config["env"]))
        device = self.device or str(config.get("device", "auto"))
        check_device(device)
        steps = self.steps or _total(self.path, config)
        _set_threads(config.get("threads"))
        with RunDirectory.open(self.path) as run:
            checkpoint = run.load()
            agent = agent_class.from_state(
                checkpoint.tensors,
                checkpoint.state,
                env=str(config["env"]),
                device=device,
                env_kwargs=at_stage(
                    config["env"],
                    config["env_kwargs"],
                    len(checkpoint.state.get("finished_tasks", [])),
                ),
            )
            if changed := _changed(config.get("config"), agent.config):
                print(
                    f"daedalus: warning: {run.path / 'config.yaml'} has another "
                    f"{', '.join(changed)}; settings come from the checkpoint",
                    file=sys.stderr,
                )
            kwargs, done = config["env_kwargs"], agent.num_timesteps
            scored = not is_staged(config["env"], kwargs) or is_scored(run.path, kwargs, done)
            if done >= steps and scored:
                print(
                    f"nothing to do: {done:,} of {steps:,} steps are done; to train on, give "
                    f"--steps more than {done:,}"
                )
                return 0
            return train_in(run, agent, steps, config)


def _total(path: str, config: Mapping[str, Any]) -> int:
    """Return the steps that a run was last asked for: when it was resumed, or at its start.

    Raises:
        ValueError: What ``config.yaml`` says is no number of steps.
    """
    from daedalus.accelerators.run_directory import CONFIG, read_status

    first, last = config["total_timesteps"], read_status(path).get("total_timesteps")
    if isinstance(first, bool) or not isinstance(first, int | float) or not first % 1 == 0 < first:
        raise ValueError(
            f"{Path(path) / CONFIG}: total_timesteps must be a whole number of at least 1, "
            f"got {first!r}"
        )
    if isinstance(last, int) and not isinstance(last, bool) and last > 0:
        return last
    return int(first)


def _changed(written: Any, config: Any) -> list[str]:
    """Return the settings that are written otherwise than an agent has them."""
    import json

    known = json.loads(json.dumps(dataclasses.asdict(config)))
    given = written if isinstance(written, Mapping) else {}
    return [name for name, value in given.items() if name not in known or known[name] != value]
