"""What an agent does between tasks: protect the last one, forget its experience, begin the next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daedalus.accelerators.agent_rows import by_agent
from daedalus.accelerators.collector import Collector
from daedalus.accelerators.replay import SequenceReplay
from daedalus.accelerators.rollout import Rollout
from daedalus.accelerators.step_replay import StepReplay
from daedalus.accelerators.transitions import TransitionReplay
from daedalus.accelerators.vector import make_batch
from daedalus.agents.policies import check_actions
from daedalus.agents.task_model import RecognisedTasks, is_inferred

if TYPE_CHECKING:
    from daedalus.agents.base import Agent

ROLLOUTS = 16
"""Rollouts over which the samples at the end of a task are spread."""


def finish_task(agent: Agent, task: str) -> None:
    """Protect what ``agent`` knows of ``task``, and let go of what belongs to that task alone.

    The optimiser starts anew, replays are emptied, and the annealing of the learning rate begins
    again with the next task.
    """
    if agent.consolidation is not None:
        agent.consolidation.finish(task, agent.likelihoods())
    for optimizer in agent.optimizers.values():
        for entries in optimizer.state.values():
            for value in entries.values():
                if isinstance(value, torch.Tensor):
                    value.zero_()
    for store in agent.stores.values():
        if isinstance(store, SequenceReplay | StepReplay | TransitionReplay):
            store.clear()
    agent.finished_tasks = [*agent.finished_tasks, task]
    agent.task_started = agent.total_timesteps = agent.num_timesteps


def between_tasks(agent: Agent) -> bool:
    """Tell whether a task is finished and the training of the next one has not begun."""
    return bool(agent.finished_tasks) and agent.total_timesteps <= agent.task_started


def open_batch(
    agent: Agent, env: Any, num_envs: int | None, env_kwargs: Mapping[str, Any] | None
) -> Any:
    """Return environments, one row for each of their agents; see `make_batch` for the arguments.

    Raises:
        TypeError: No agent takes their actions.
    """
    batch = make_batch(env, num_envs, labels=agent.labels_needed(), env_kwargs=env_kwargs)
    try:
        check_actions(batch.action_space)
    except TypeError:
        if isinstance(env, str):
            batch.close()
        raise
    return by_agent(batch)


def driven(agent: Agent, batch: Any) -> Any:
    """Return ``batch`` as ``agent`` drives it: with tasks recognised, where they are to be."""
    if agent.task_model is not None and is_inferred(batch.observation_spaces):
        batch = RecognisedTasks(batch, agent.task_model)
    return agent.wrapped(batch)


def set_env(
    agent: Agent, env: Any, num_envs: int | None, env_kwargs: Mapping[str, Any] | None
) -> None:
    """Put another environment with the same spaces in the place of the agent's.

    The episodes that were finished in the one before no longer count as the latest.

    Raises:
        ValueError: Its spaces differ from those that the agent was made for, or it leaves the task
            to be inferred where the agent was made to be told.
    """
    copies = agent.copies or None if isinstance(env, str) and num_envs is None else num_envs
    batch = open_batch(agent, env, copies, env_kwargs)
    own = batch is agent.batch
    shapes = (_shapes(batch.observation_spaces), _shapes(agent.spaces.observation))
    if shapes[0] != shapes[1] or batch.action_space != agent.spaces.action:
        if isinstance(env, str):
            batch.close()
        raise ValueError(
            f"{env} has observations {shapes[0]} and actions {batch.action_space}, the agent was "
            f"made for {shapes[1]} and {agent.spaces.action}: all tasks need the same spaces"
        )
    if is_inferred(batch.observation_spaces) and agent.task_model is None:
        if isinstance(env, str):
            batch.close()
        raise ValueError(
            f"{env} leaves it to the agent which task it is, and this one was made to be told: "
            "make it for task_id inferred"
        )
    if not own:
        batch = driven(agent, batch)
        if agent.batch is not None:
            agent.batch.close()
    key = (agent.seed, 1, len(agent.finished_tasks))
    seeds = np.random.SeedSequence(key).generate_state(batch.num_envs)
    agent.batch = batch
    agent.collector = Collector(batch, agent, agent.device, [int(s) for s in seeds])
    agent.ep_info_buffer.clear()  # the returns that are logged are of one environment


def _shapes(spaces: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (space.shape, str(space.dtype)) for name, space in spaces.items()}


def rollouts_for(count: int, steps: int) -> int:
    """Return how many rollouts of ``steps`` to draw ``count`` steps from, at most `ROLLOUTS`."""
    return min(ROLLOUTS, math.ceil(count / steps))


def observed(agent: Agent, count: int = ROLLOUTS) -> Iterator[Rollout]:
    """Yield rollouts of acting as in training, from which nothing is learnt; they do not count.

    Raises:
        ValueError: The agent has no environment.
    """
    if agent.collector is None:
        raise ValueError("the end of a task needs its environment: load the agent with env=...")
    for _ in range(count):
        with torch.no_grad():
            rollout = agent.collector.collect(agent.rollout_length)
        assert rollout is not None  # only a callback could have stopped it
        yield rollout
