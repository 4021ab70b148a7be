"""``daedalus evaluate`` and ``demo``."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from daedalus.output import check_output, write_output
from daedalus.parsing import Count, MaybeCount, MaybeText, Positive, UsageError, positional


@dataclass
class Evaluate:
    """Score a run beside a random policy, one episode per held-out seed, with 95 % intervals.

    Of tasks one after another every task is scored, and all together.

    Examples:
      daedalus evaluate runs/last
      daedalus evaluate runs/last --episodes 500 --output scores.json
      daedalus evaluate runs/last --env nav_maze_all_random_01     in another environment
      daedalus evaluate model.zip --agent ppo --env CartPole-v1 --trust     of stable-baselines3
    """

    path: Annotated[tyro.conf.Positional[str], positional("RUN")]
    """Run directory, or a zip of stable-baselines3."""
    episodes: Positive = 100
    """Episodes, each on a seed of its own; of tasks one after another, on each of them."""
    env: MaybeText = None
    """Environment or scenario, with its own parameters (auto: the one it was trained in, with the
    run's)."""
    env_kwargs: tuple[str, ...] = ()
    """Parameters of the environment as key=value, in place of those."""
    deterministic: bool = False
    """Take the most likely action instead of drawing from the policy."""
    seed: Count = 0
    """Chooses the held-out seeds."""
    num_envs: Positive = 32
    """Copies of the environment stepped together."""
    step: MaybeCount = None
    """Checkpoint to load (auto: the newest)."""
    device: str = "auto"
    """auto, cpu or cuda."""
    agent: MaybeText = None
    """Algorithm of a stable-baselines3 zip, such as ppo (auto: a run knows its own)."""
    trust: bool = False
    """Read a stable-baselines3 zip although it runs code that it holds."""
    output: MaybeText = None
    """JSON file for the scores of every episode (auto: none)."""

    def run(self) -> int:
        """Evaluate both policies and print the table."""
        from daedalus.evaluation.report import as_json, score_table
        from daedalus.lookup import naming_parameters

        check_output(self.output)
        trained, task = open_run(self.path, self)
        with naming_parameters(task):
            scores = [each for who in (trained.agent, "random") for each in self._scores(who, task)]
        if self.output:
            data = as_json(scores, task.env, task.env_kwargs)
            write_output(self.output, json.dumps(data, indent=1))
        each = " on each task" if len(scores) > 2 else ""
        print(
            f"{trained.path} at {trained.step:,} steps in {task.name}, "
            f"{self.episodes} episode{'s' * (self.episodes > 1)}{each}"
        )
        print(score_table(scores))
        return 0

    def _scores(self, policy: Any, task: Any) -> list[Any]:
        """Evaluate a policy; of several tasks, on each of them, and together at the end."""
        from daedalus.accelerators.sequence import ALL, task_names
        from daedalus.evaluation.evaluate import evaluate, held_out_seeds
        from daedalus.evaluation.sequence import evaluate_tasks, joined
        from daedalus.scenarios import SEQUENCE

        kwargs = task.env_kwargs
        options: dict[str, Any] = {"num_envs": self.num_envs, "deterministic": self.deterministic}
        if task.env != SEQUENCE or kwargs.get("task", ALL) != ALL:
            seeds = held_out_seeds(self.episodes, self.seed)
            return [evaluate(policy, task.env, seeds=seeds, env_kwargs=kwargs, **options)]
        found = evaluate_tasks(policy, kwargs, self.episodes, self.seed, **options)
        named = zip([*found, joined(found)], [*task_names(kwargs), "all tasks"], strict=True)
        return [replace(scores, policy=f"{scores.policy}, {name}") for scores, name in named]


def open_run(path: str, options: Any) -> tuple[Any, Any]:
    """Load a run's agent and decide on the environment: the run's, or the one asked for."""
    from daedalus.evaluation.runs import load_run, read_run
    from daedalus.lookup import check_device, find_agent, find_task

    if is_archive(path):
        return _open_archive(Path(path), options)
    config = read_run(path)
    find_agent(str(config["agent"]))
    check_device(options.device)
    task = find_task(options.env or str(config["env"]), options.env_kwargs)
    if options.env is None:
        task = replace(task, env_kwargs={**config["env_kwargs"], **task.env_kwargs})
    return load_run(path, step=options.step, device=options.device), task


def is_archive(path: str) -> bool:
    """Whether a name is that of a zip of stable-baselines3."""
    return path.endswith(".zip")


def _open_archive(path: Path, options: Any) -> tuple[Any, Any]:
    """Load an agent from a zip of stable-baselines3, which says neither algorithm nor environment.

    Raises:
        UsageError: It is not there or not trusted, or one of the two was not given.
    """
    from daedalus.evaluation.runs import Trained
    from daedalus.lookup import check_device, find_agent, find_task

    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    if not options.trust:
        raise UsageError(
            f"{path} is an archive of stable-baselines3: reading it runs code that it holds; "
            "if you trust whoever made it, add --trust"
        )
    if not options.agent or not options.env:
        raise UsageError(
            f"{path} does not say which algorithm it is and where it acts: "
            "add --agent, such as ppo, and --env"
        )
    agent_class = find_agent(options.agent)
    if not hasattr(agent_class, "algorithm"):
        raise UsageError(f"{options.agent} is no algorithm of stable-baselines3")
    task = find_task(options.env, options.env_kwargs)
    check_device(options.device)
    agent = agent_class.load(path, device=options.device, trust=True)
    return Trained(path, {}, agent, agent.num_timesteps), task


@dataclass
class Demo:
    """Train UNREAL in first-person mazes, score it on unseen ones, draw its curve and film it.

    A few minutes on two cores, compilation included. Everything goes to runs/demo-<date>.

    Examples:
      daedalus demo
      daedalus demo --still docs/images/demo.png
    """

    scenario: str = "demo"
    """Task, agent and budget: a scenario's name or file."""
    seconds: Count = 180
    """Training stops after this time in seconds, even if the budget is not used up."""
    seed: Count = 0
    """All randomness derives from it."""
    episodes: Positive = 100
    """Held-out mazes that each policy is scored on."""
    run_path: Annotated[MaybeText, tyro.conf.arg(name="run")] = None
    """Folder of the run (auto: runs/demo-<date>)."""
    still: MaybeText = None
    """PNG for a frame of the video (auto: none)."""

    def run(self) -> int:
        """Run the demo."""
        from daedalus.evaluation.demo import demo
        from daedalus.progress import ProgressLine
        from daedalus.scenarios.extras import require

        for module in ("torch", "imageio_ffmpeg", "matplotlib"):  # before the minutes of training
            require(module)
        check_output(self.still)
        demo(
            scenario=self.scenario,
            seed=self.seed,
            seconds=self.seconds,
            path=self.run_path,
            still=self.still,
            progress=ProgressLine,
            episodes=self.episodes,
        )
        return 0
