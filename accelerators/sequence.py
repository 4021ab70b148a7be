"""Tasks in sequence as a source of experience: one of them, or all side by side.

A scenario with stages has ``daedalus/Sequence`` for its environment and the stages among its
parameters. `make_batch` gives it a `TaskBatch`: environments of one task or, with ``task="all"``
(and by default), of every task in equal shares, which is how tasks are trained jointly. Where the
task is known, observations have an array ``task``, float32 (N,), one-hot over the N tasks. Where it
is to be inferred the array is there too, and holds -1: an agent of `daedalus.agents` fills it in.
Where several agents act in an environment it is, as all arrays, one for each: (B, agents, N).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box

from daedalus.accelerators.gymnasium_batch import Arrays
from daedalus.envs.batch import Batch
from daedalus.scenarios import SEQUENCE
from daedalus.scenarios.schema import check_names

ALL = "all"
FLAGS = ("reward", "terminated", "truncated", "cost", "valid")
UNKNOWN = -1.0
"""What the array ``task`` holds where an agent has to find out which task it is."""
VIEWS = ("observation", "final_observation", "label", "info", "final_info")


def task_names(env_kwargs: Mapping[str, Any]) -> list[str]:
    """Return the names of the tasks of a sequence, each once, in the order of the stages."""
    return list(dict.fromkeys(str(stage["name"]) for stage in env_kwargs["stages"]))


def stage_tasks(env_kwargs: Mapping[str, Any]) -> list[int]:
    """Return the number of the task of each stage: 0, 1, 0 where the first comes again."""
    names = task_names(env_kwargs)
    return [names.index(str(stage["name"])) for stage in env_kwargs["stages"]]


def is_staged(env: Any, env_kwargs: Mapping[str, Any] | None) -> bool:
    """Whether training means one task after another: a sequence of which no task is chosen."""
    return bool(env == SEQUENCE and env_kwargs and "task" not in env_kwargs)


def at_stage(env: Any, env_kwargs: Mapping[str, Any], stage: int) -> dict[str, Any]:
    """Return the parameters that make the environments of a stage; others stay as they are."""
    if not is_staged(env, env_kwargs):
        return dict(env_kwargs)
    stages = env_kwargs["stages"]
    return {**env_kwargs, "task": stages[min(stage, len(stages) - 1)]["name"]}


def stage_ends(env_kwargs: Mapping[str, Any], total_timesteps: int) -> list[int]:
    """Return at which step of ``total_timesteps`` each stage ends: in proportion to its own."""
    steps = np.cumsum([stage["total_timesteps"] for stage in env_kwargs["stages"]])
    return [round(total_timesteps * int(end) / int(steps[-1])) for end in steps]


def sequence_batch(
    make: Callable[..., Any], num_envs: int, labels: tuple[str, ...], env_kwargs: Mapping[str, Any]
) -> TaskBatch:
    """Make the environments of a task, or of all.

    Args:
        make: Makes a batch of an id, as `daedalus.accelerators.vector.make_batch`.
        num_envs: Environments; with ``task="all"`` at least one for each task.
        labels: Label arrays.
        env_kwargs: ``stages``, ``task_id``, and perhaps ``task``: a name, or ``"all"``. Without
            it, all tasks that there are environments for.

    Raises:
        ValueError: There is no such task, there are fewer environments than tasks, or all tasks
            are asked for while agents have to tell them apart by what all environments show, or
            stages of one name are different tasks.
    """
    check_names(env_kwargs["stages"])
    stages = {str(stage["name"]): stage for stage in env_kwargs["stages"]}
    names = task_names(env_kwargs)
    chosen = str(env_kwargs.get("task", ALL))
    if chosen not in (ALL, *names):
        raise ValueError(f"there is no task {chosen!r}; the tasks: {', '.join(names)}, {ALL}")
    task_id = str(env_kwargs.get("task_id", "known"))
    if task_id == "inferred" and env_kwargs.get("task") == ALL:
        raise ValueError("task_id: inferred is for one task after another; for all, take known")
    wanted = names if chosen == ALL else [chosen]
    if "task" not in env_kwargs:  # e.g. to watch one
        wanted = names[:num_envs]
    shares = [len(part) for part in np.array_split(np.arange(num_envs), len(wanted))]
    if min(shares) < 1:
        raise ValueError(f"{len(wanted)} tasks side by side need as many environments or more")
    spaces = [_made(make, stages[name], 1, ()).observation_spaces for name in names]
    parts = [_made(make, stages[n], count, labels) for n, count in zip(wanted, shares, strict=True)]
    staged = [str(stage["name"]) for stage in env_kwargs["stages"]]
    return TaskBatch(parts, [names.index(n) for n in wanted], spaces, task_id, staged)


def _made(
    make: Callable[..., Any], stage: Mapping[str, Any], count: int, labels: tuple[str, ...]
) -> Any:
    return make(stage["env"], count, labels=labels, env_kwargs=stage["env_kwargs"])


class TaskBatch:
    """Batches of several tasks as one, with the face of `daedalus.accelerators.vector.EnvBatch`.

    Attributes:
        agents: Agents that act in each environment and share its row; 1 where each has a row.
        copies: Environments; ``num_envs`` counts rows.
    """

    def __init__(
        self,
        parts: Sequence[Any],
        tasks: Sequence[int],
        spaces: Sequence[Mapping[str, Space[Any]]],
        task_id: str = "known",
        stages: Sequence[str] = (),
    ) -> None:
        """Put ``parts`` side by side.

        Args:
            parts: A batch for each task present.
            tasks: Number of the task of each part.
            spaces: Observation spaces of every task of the sequence, present or not.
            task_id: ``"known"`` or ``"inferred"``: add the array ``task`` to observations.
            stages: Name of the task of every stage of the sequence, in the order of training.

        Raises:
            ValueError: The tasks' spaces differ in more than their bounds.
        """
        self.parts, self.tasks, self.spaces = list(parts), list(tasks), list(spaces)
        self.task_id, self.stages = task_id, tuple(stages)
        first = self.parts[0]
        self.agents = first.family.agents if isinstance(first, Batch) else 1
        self.counts = [part.num_envs for part in self.parts]
        self.num_envs, self.autoreset = sum(self.counts), first.autoreset
        self.copies = sum(getattr(part, "copies", part.num_envs) for part in self.parts)
        self.action_space, self.label_spaces = first.action_space, dict(first.label_spaces)
        if any(part.action_space != self.action_space for part in self.parts):
            raise ValueError("tasks of a sequence need the same actions")
        self.observation_spaces = {name: _hull(name, spaces) for name in spaces[0]}
        self._task: Arrays = {}
        if task_id != "hidden":
            told = task_id == "known"
            one_hot = np.repeat(np.eye(len(spaces), dtype=np.float32)[tasks], self.counts, 0)
            if self.agents > 1:
                one_hot = np.repeat(one_hot[:, None], self.agents, 1)
            low, shape = 0.0 if told else UNKNOWN, one_hot.shape[1:]
            self.observation_spaces["task"] = Box(low, 1.0, shape, np.float32)
            self._task["task"] = one_hot if told else np.full_like(one_hot, UNKNOWN)
        self.exact_resume = all(getattr(part, "exact_resume", True) for part in self.parts)

    def __getattr__(self, name: str) -> Any:
        """Return an array over all parts, gathered when it is asked for."""
        if name in FLAGS:
            return self._joined([getattr(part, name) for part in self.parts])
        if name in VIEWS:
            return self._gathered(name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _joined(self, arrays: list[np.ndarray]) -> np.ndarray:
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def _gathered(self, name: str) -> Arrays:
        views = [getattr(part, name) for part in self.parts]
        joined = {key: self._joined([view[key] for view in views]) for key in views[0]}
        return {**joined, **self._task} if name.endswith("observation") else joined

    @property
    def next_observation(self) -> Arrays:
        """What the last step led to, before any reset: a copy."""
        return self._gathered("next_observation")

    def reset(
        self, seed: int | Sequence[int | None] | None = None, mask: np.ndarray | None = None
    ) -> None:
        """Start new episodes."""
        if isinstance(seed, int):
            seed = [int(s) for s in np.random.SeedSequence(seed).generate_state(self.num_envs)]
        start = 0
        for part, count in zip(self.parts, self.counts, strict=True):
            rows = slice(start, start + count)
            part.reset(None if seed is None else seed[rows], None if mask is None else mask[rows])
            start += count

    def step(self, actions: Any) -> None:
        """Step every environment."""
        start = 0
        for part, count in zip(self.parts, self.counts, strict=True):
            part.step(actions[start : start + count])
            start += count

    def pop_episodes(self) -> list[tuple[float, int]]:
        """Return (return, length) of the episodes that ended since the last call."""
        return [episode for part in self.parts for episode in part.pop_episodes()]

    def get_state(self) -> Arrays:
        """Return what the future depends on."""
        states = [part.get_state() for part in self.parts]
        return {f"{i}/{key}": v for i, state in enumerate(states) for key, v in state.items()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `get_state` returned."""
        for i, part in enumerate(self.parts):
            head = f"{i}/"
            part.set_state(
                {k.removeprefix(head): v for k, v in state.items() if k.startswith(head)}
            )

    def render(self, i: int = 0) -> np.ndarray:
        """Return a picture of environment ``i``."""
        ends = np.cumsum(self.counts)
        part = int(np.searchsorted(ends, i, side="right"))
        picture: np.ndarray = self.parts[part].render(i - int(ends[part] - self.counts[part]))
        return picture

    def close(self) -> None:
        """Release what the environments hold."""
        for part in self.parts:
            part.close()


def _hull(name: str, spaces: Sequence[Mapping[str, Space[Any]]]) -> Space[Any]:
    """Return the space that holds those of all tasks."""
    every = [space[name] for space in spaces if name in space]
    first = every[0]
    boxes = [space for space in every if isinstance(space, Box)]
    same = {(space.shape, space.dtype) for space in every}
    if len(every) != len(spaces) or len(same) > 1:
        raise ValueError(f"tasks of a sequence need the same observations, {name!r} differs")
    if len(boxes) != len(every):
        return first
    low, high = (np.min([b.low for b in boxes], 0), np.max([b.high for b in boxes], 0))
    return Box(low, high, first.shape, boxes[0].dtype.type)
