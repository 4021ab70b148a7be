"""Training on tasks one after another, and the matrix of scores that comes of it.

``R[i, j]`` is the mean return on task ``j`` after stage ``i``. It is logged as ``task/<name>`` at
the steps where stages end, and at step 0 for the untrained agent; `daedalus.evaluation.continual`
sums it up. A task may come in several stages.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.accelerators.metrics import read_metrics
from daedalus.accelerators.sequence import at_stage, stage_ends, stage_tasks, task_names
from daedalus.evaluation.continual import Continual, continual
from daedalus.evaluation.evaluate import Evaluation, evaluate, held_out_seeds
from daedalus.scenarios import SEQUENCE

PREFIX = "task/"
"""What the names of logged scores begin with."""

Log = Callable[[int, Mapping[str, float]], None]


def train_sequence(
    agent: Any,
    env_kwargs: Mapping[str, Any],
    total_timesteps: int,
    log: Log,
    *,
    episodes: int,
    **options: Any,
) -> list[Evaluation]:
    """Train on one stage after another; go on with the stage that ``agent`` stands in.

    Args:
        agent: Made for, or restored into, its stage (`at_stage`).
        env_kwargs: Of the sequence.
        total_timesteps: Steps of all stages together.
        log: Called with a step and the scores on all tasks by name.
        episodes: Held-out episodes for each score.
        options: Further arguments of `daedalus.agents.training.train`.

    Returns:
        The evaluations of all tasks after the last stage.
    """
    from daedalus.agents.training import train

    stages = env_kwargs["stages"]
    if agent.num_timesteps == 0:
        log(0, scores(agent, env_kwargs, episodes))
    evaluations: list[Evaluation] = []
    for i, end in enumerate(stage_ends(env_kwargs, total_timesteps)):
        if i < len(agent.finished_tasks):
            continue
        if i > 0 and agent.task_started == agent.num_timesteps:
            agent.set_env(SEQUENCE, env_kwargs=at_stage(SEQUENCE, env_kwargs, i))
        train(agent, end, **options)
        agent.finish_task(str(stages[i]["name"]))
        evaluations = evaluate_tasks(agent, env_kwargs, episodes)
        log(agent.num_timesteps, _named(env_kwargs, evaluations))
    return evaluations or evaluate_tasks(agent, env_kwargs, episodes)


def stage_names(env_kwargs: Mapping[str, Any]) -> list[str]:
    """Return the task of every stage; those of one task are numbered, as in ``plain (2)``."""
    names = [str(stage["name"]) for stage in env_kwargs["stages"]]
    total, seen = Counter(names), Counter[str]()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name} ({seen[name]})" if total[name] > 1 else name)
    return numbered


def evaluate_tasks(
    agent: Any, env_kwargs: Mapping[str, Any], episodes: int, seed: int = 0, **options: Any
) -> list[Evaluation]:
    """Evaluate on every task of a sequence, each on held-out seeds of its own.

    Args:
        agent: As `daedalus.evaluation.evaluate` takes it.
        env_kwargs: Of the sequence.
        episodes: Episodes on each task.
        seed: Chooses the held-out seeds; 0 are those of training.
        options: Further arguments of `daedalus.evaluation.evaluate`.
    """
    names = task_names(env_kwargs)
    return [
        evaluate(
            agent,
            SEQUENCE,
            seeds=held_out_seeds(episodes, seed=1 + task + seed * len(names)),
            env_kwargs={**env_kwargs, "task": name},
            **options,
        )
        for task, name in enumerate(names)
    ]


def scores(agent: Any, env_kwargs: Mapping[str, Any], episodes: int) -> dict[str, float]:
    """Return the mean return on every task, as it is logged."""
    return _named(env_kwargs, evaluate_tasks(agent, env_kwargs, episodes))


def _named(env_kwargs: Mapping[str, Any], evaluations: list[Evaluation]) -> dict[str, float]:
    names = task_names(env_kwargs)
    return {f"{PREFIX}{name}": e.mean for name, e in zip(names, evaluations, strict=True)}


def joined(evaluations: list[Evaluation]) -> Evaluation:
    """Return the episodes of all tasks as one evaluation; its mean is the average score."""
    first = evaluations[0]
    columns = ("seeds", "returns", "lengths", "costs")
    return Evaluation(
        first.policy, *(np.concatenate([getattr(e, name) for e in evaluations]) for name in columns)
    )


def matrix_from(rows: Mapping[str, tuple[np.ndarray, np.ndarray]], names: list[str]) -> np.ndarray:
    """Return what was logged as an array (stages + 1, tasks); the first row is untrained.

    Args:
        rows: Steps and values of each logged score, by name.
        names: The tasks.

    Raises:
        ValueError: Scores of some stage are missing.
    """
    columns = [rows[f"{PREFIX}{name}"][1] for name in names]
    if len({len(column) for column in columns}) != 1:
        raise ValueError("the scores of some task are missing: was the run stopped in between?")
    return np.stack(columns, 1)


def is_scored(path: str | Path, env_kwargs: Mapping[str, Any], step: int) -> bool:
    """Tell whether a run directory has logged the scores after its last stage, of ``step``."""
    rows = _scores_of(path, env_kwargs)
    return len(rows) > len(env_kwargs["stages"]) and rows[-1]["step"] >= step


def _scores_of(path: str | Path, env_kwargs: Mapping[str, Any]) -> list[dict[str, float]]:
    first = f"{PREFIX}{task_names(env_kwargs)[0]}"
    return [row for row in read_metrics(Path(path) / "metrics")[0] if first in row]


def score_table(path: str | Path, env_kwargs: Mapping[str, Any]) -> list[str]:
    """Return the matrix that a run directory has logged, as lines for people."""
    names, stages = task_names(env_kwargs), stage_names(env_kwargs)
    rows = _one_each(_scores_of(path, env_kwargs), len(stages))
    wide = max(map(len, [*names, *stages, "untrained"])) + 2
    lines = ["mean return on".ljust(wide + 6) + "".join(name.rjust(wide) for name in names)]
    for stage, row in zip(["untrained", *stages], rows, strict=False):
        scores_ = "".join(f"{row[PREFIX + name]:{wide}.2f}" for name in names)
        lines.append(f"after {stage}".ljust(wide + 6) + scores_)
    if len(rows) == len(stages) + 1 and len(names) > 1:
        matrix = np.array([[row[PREFIX + name] for name in names] for row in rows])
        found = dataclasses.asdict(summed_up(matrix, trained=stage_tasks(env_kwargs)))
        lines.append("; ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in found.items()))
    return lines


def _one_each(rows: list[dict[str, float]], stages: int) -> list[dict[str, float]]:
    """Return the untrained row and the newest one of each stage.

    A run that was stopped while it was scored has a row twice, and one that went on after its end
    has several of the last stage.
    """
    if len(rows) > stages + 1:
        newest = list({row["step"]: row for row in rows}.values())
        rows = newest if len(newest) > stages else rows
    return [*rows[:stages], *rows[stages:][-1:]]


def summed_up(
    matrix: np.ndarray,
    low: float = 0.0,
    high: float = 1.0,
    trained: Sequence[int] | None = None,
) -> Continual:
    """Return the metrics of a matrix (stages + 1, tasks), whose first row is untrained.

    Args:
        matrix: As `matrix_from` returns it.
        low: Score that counts as 0, such as a random policy's.
        high: Score that counts as 1.
        trained: Task of each stage, as in `continual`.
    """
    scaled = (matrix - low) / (high - low)
    return continual(scaled[1:], scaled[0], trained)
