"""The demo: train UNREAL in first-person mazes, score it on mazes it has never seen, film it.

Everything about the task and the budget is the scenario ``demo``; everything is written into one
run directory, so ``daedalus watch runs/last`` and the other commands go on from there.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daedalus import scenarios
from daedalus.accelerators.metrics import read_metrics
from daedalus.accelerators.run_directory import RunDirectory
from daedalus.agents import make_agent
from daedalus.evaluation.drawing import Stage
from daedalus.evaluation.evaluate import Evaluation, evaluate, held_out_seeds
from daedalus.evaluation.plots import plot_learning_curve
from daedalus.evaluation.policy import as_policy
from daedalus.evaluation.report import as_json, score_table
from daedalus.evaluation.rollout import Moment, open_for_people, play
from daedalus.evaluation.video import write_video
from daedalus.evaluation.watch import action_names, frame_rate

EPISODES = 100
"""Held-out mazes that each policy is scored on."""
FILMED = 2
"""Episodes in the video."""
FILM_STEPS = 400
"""Steps of an episode that the video shows."""


class Deadline:
    """A callback that stops training after a time, with the face of stable-baselines3's."""

    def __init__(self, seconds: float) -> None:
        """Stop ``seconds`` from now."""
        self.end = time.monotonic() + seconds

    def on_step(self) -> bool:
        """Go on while there is time."""
        return time.monotonic() < self.end

    def _ignore(self, *_: Any) -> None:
        """Nothing to do at the other moments."""

    init_callback = on_training_start = on_rollout_start = _ignore
    update_locals = on_rollout_end = on_training_end = _ignore


@dataclasses.dataclass(frozen=True)
class Files:
    """What the demo leaves behind."""

    run: Path
    video: Path
    curve: Path
    scores: Path


def demo(
    *,
    scenario: str = "demo",
    seed: int = 0,
    seconds: float = 180.0,
    path: str | Path | None = None,
    still: str | Path | None = None,
    progress: Callable[[Any, int], Any] | None = None,
    episodes: int = EPISODES,
) -> Files:
    """Run the demo and print what happens.

    Args:
        scenario: Task, agent and budget.
        seed: All randomness derives from it.
        seconds: Training stops after this time, even if the budget is not used up.
        path: Run directory; by default ``runs/demo-<date>``.
        still: PNG for one frame of the video; None for none.
        progress: Makes a context manager from agent and total steps that is called with rows.
        episodes: Held-out seeds that each policy is scored on.

    Returns:
        Where the files are.
    """
    import torch

    torch.set_num_threads(1)  # networks this small gain little from more, and lose much to waiting
    begin = time.monotonic()
    task = scenarios.load(scenario)
    name = task.agent or "unreal"
    agent_class = make_agent(name)
    config = agent_class.Config(**task.agents.get(name, {}))
    agent = agent_class(
        task.env, config, num_envs=task.num_envs, seed=seed, env_kwargs=task.env_kwargs
    )
    run_path = Path(path or Path("runs") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}")
    say = _Clock(begin)
    say(f"{task.description}")
    with RunDirectory.create(run_path, _config(task, name, agent, seed, config)) as run:
        say(f"scoring {name} before training and a random policy on {episodes} held-out seeds")
        seeds = held_out_seeds(episodes)
        untrained = _score(agent, f"{name}, untrained", task, seeds)
        random = _score("random", "random", task, seeds)
        say(f"training {name} for {task.total_timesteps:,} steps with {agent.num_envs} copies")
        _train(agent, task.total_timesteps, run, seconds, progress)
        say(f"scoring it after {agent.num_timesteps:,} steps on the same seeds")
        trained = _score(agent, f"{name}, trained", task, seeds)
    files = Files(
        run_path,
        run_path / "videos" / "demo.mp4",
        run_path / "learning-curve.png",
        run_path / "scores.json",
    )
    scores = (trained, untrained, random)
    files.scores.write_text(json.dumps(as_json(scores, task.env, task.env_kwargs), indent=1))
    _draw(files.curve, run_path, name, {"random policy": random.mean, "untrained": untrained.mean})
    say("filming")
    _film(agent, task, seeds, files.video, Path(still) if still else None)
    say("done\n")
    print(_closing(scores, files, still))
    return files


class _Clock:
    """Prints lines with the time since the start."""

    def __init__(self, begin: float) -> None:
        self.begin = begin

    def __call__(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.begin), 60)
        print(f"[{minutes}:{seconds:02d}] {text}", flush=True)


def _config(task: Any, name: str, agent: Any, seed: int, config: Any) -> dict[str, Any]:
    return {
        "agent": name,
        "env": task.env,
        "env_kwargs": task.env_kwargs,
        "scenario": task.name,
        "num_envs": agent.copies,
        "seed": seed,
        "device": "auto",
        "threads": 1,
        "total_timesteps": task.total_timesteps,
        "config": dataclasses.asdict(config),
    }


def _score(policy: Any, label: str, task: Any, seeds: Sequence[int]) -> Evaluation:
    scores = evaluate(policy, task.env, seeds=seeds, num_envs=50, env_kwargs=task.env_kwargs)
    return dataclasses.replace(scores, policy=label)


def _train(agent: Any, steps: int, run: RunDirectory, seconds: float, progress: Any) -> None:
    from daedalus.agents.training import train

    deadline = Deadline(seconds)
    if progress is None:
        train(agent, steps, run=run, callback=deadline)
        return
    with progress(agent, steps) as line:
        train(agent, steps, run=run, callback=deadline, progress=line)


def _draw(path: Path, run: Path, name: str, references: dict[str, float]) -> None:
    rows, _ = read_metrics(run / "metrics")
    known = [row for row in rows if "rollout/ep_rew_mean" in row]
    steps = [row["step"] for row in known]
    returns = [row["rollout/ep_rew_mean"] for row in known]
    plot_learning_curve(
        path,
        {f"{name}, last 100 training episodes": (steps, returns)},
        title=f"{name} in first-person mazes",
        references=references,
    )


def _film(agent: Any, task: Any, seeds: Sequence[int], path: Path, still: Path | None) -> None:
    """Write the video; the still is its frame of the highest value after a first reward."""
    batch = open_for_people(task.env, task.env_kwargs)
    stage = Stage(f"{agent.name} in {task.env}", action_names(batch))
    policy = as_policy(agent, batch.action_space)
    best: tuple[float, np.ndarray | None] = (-1.0, None)

    def frames() -> Any:
        nonlocal best
        for moment in play(policy, batch, seeds[:FILMED], FILM_STEPS):
            frame = stage.frame(moment)
            if still is not None and (merit := _merit(moment)) > best[0]:
                best = merit, frame.copy()
            yield frame

    write_video(path, frames(), frame_rate(batch))
    batch.close()
    if still is not None and best[1] is not None:
        from PIL import Image

        still.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(best[1]).save(still)


def _merit(moment: Moment) -> float:
    """How much a moment tells: some way in, after a reward, with the next one expected soon."""
    if moment.step < 30 or moment.episode_return <= 0 or moment.action is None:
        return 0.0
    return moment.value or 0.0


def _closing(scores: Sequence[Evaluation], files: Files, still: Any) -> str:
    lines = [
        score_table(scores),
        "",
        f"video           {files.video}",
        f"learning curve  {files.curve}",
        f"scores          {files.scores}",
    ]
    lines += [f"still           {still}"] if still else []
    lines += ["", "Next:", f"  daedalus watch {files.run}", f"  daedalus resume {files.run}"]
    return "\n".join(lines)
