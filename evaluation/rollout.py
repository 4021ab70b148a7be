"""Play a policy for people: one environment, one moment after the other, with a picture of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from daedalus.accelerators.vector import EnvBatch, VectorEnvBatch, make_batch
from daedalus.envs.batch import Batch
from daedalus.evaluation.policy import Policy


class Moment(NamedTuple):
    """One step of an episode as a person sees it."""

    picture: np.ndarray | None  # uint8 (H, W, 3), the environment's own drawing
    view: np.ndarray | None  # uint8 (H, W, 3), an image that the policy observes
    episode: int  # counted from 0
    step: int  # steps taken before this moment
    action: Any  # what the policy chooses here; None at the end
    value: float | None  # what the policy expects from here, discounted
    reward: float  # of the step that led here; 0 at the start
    episode_return: float  # sum of rewards so far


def open_for_people(env: str, env_kwargs: Mapping[str, Any] | None = None) -> EnvBatch:
    """Make one environment that can draw itself, where it can, and that waits after an episode.

    Args:
        env: Environment id, or ``"module:Id"``.
        env_kwargs: Keyword arguments for making it.
    """
    kwargs = dict(env_kwargs or {})
    batch = make_batch(env, 1, env_kwargs=kwargs)
    if isinstance(batch, Batch):
        observed = tuple(batch.observation_spaces)
        limit = batch.time_limit
        return Batch(
            batch.family, 1, observations=observed, labels=(), time_limit=limit, autoreset=_WAIT
        )
    batch.close()
    return VectorEnvBatch(
        SyncVectorEnv([lambda: _make(env, kwargs)], autoreset_mode=AutoresetMode.NEXT_STEP)
    )


_WAIT = "next_step"  # the ended episode stays as it is, to be drawn


def _make(env: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    try:
        return gymnasium.make(env, **kwargs, render_mode="rgb_array")
    except (TypeError, ValueError, gymnasium.error.Error):
        return gymnasium.make(env, **kwargs)


def image_name(batch: EnvBatch) -> str | None:
    """Return the first observed array that is an image: uint8 (H, W, 1 or 3)."""
    for name, space in batch.observation_spaces.items():
        shape = space.shape or ()
        if not isinstance(space, Box) or space.dtype != np.uint8 or len(shape) != 3:
            continue
        if shape[2] in (1, 3) and min(shape[:2]) >= 8:
            return name
    return None


def play(
    policy: Policy, batch: EnvBatch, seeds: Sequence[int], max_steps: int | None = None
) -> Iterator[Moment]:
    """Play one episode for each seed.

    Args:
        policy: Chooses the actions.
        batch: One environment.
        seeds: A seed for each episode.
        max_steps: Steps after which an episode is left; None plays to the end.
    """
    name = image_name(batch)
    for episode, seed in enumerate(seeds):
        batch.reset([int(seed)])
        policy.start(1, int(seed))
        step, total, reward, ended = 0, 0.0, 0.0, False
        while not ended and (max_steps is None or step < max_steps):
            view = None if name is None else _rgb(batch.observation[name][0].copy())
            picture = _picture(batch)
            seen = np.array([reward], np.float32)
            choice = policy.choose(batch.observation, seen, np.array([step == 0]))
            value = None if choice.value is None else float(choice.value[0])
            yield Moment(picture, view, episode, step, choice.action[0], value, reward, total)
            batch.step(choice.action)
            ended = bool(batch.terminated[0] | batch.truncated[0])
            reward = float(batch.reward[0])
            total, step = total + reward, step + 1
        view = None if name is None else _rgb(batch.observation[name][0].copy())
        yield Moment(_picture(batch), view, episode, step, None, None, reward, total)


def _picture(batch: EnvBatch) -> np.ndarray | None:
    try:
        return _rgb(np.asarray(batch.render(0)))
    except (NotImplementedError, ValueError, AttributeError, gymnasium.error.Error):
        return None


def _rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
