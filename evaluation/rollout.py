"""Play a policy for people: one environment, one moment after the other, with a picture of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from daedalus.accelerators.sequence import sequence_batch
from daedalus.accelerators.vector import EnvBatch, VectorEnvBatch, make_batch, open_env
from daedalus.envs.batch import Batch
from daedalus.evaluation.policy import Policy
from daedalus.scenarios import SEQUENCE


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
    episode_cost: float = 0.0  # sum of costs so far
    panels: Mapping[str, Any] = {}  # what agent and environment show; see `as_panel`


def open_for_people(
    env: str, env_kwargs: Mapping[str, Any] | None = None, labels: Sequence[str] = ()
) -> EnvBatch:
    """Make one environment that can draw itself, where it can, and that waits after an episode.

    Args:
        env: Environment id, or ``"module:Id"``.
        env_kwargs: Keyword arguments for making it.
        labels: Label arrays to show beside predictions, where the environment has them.
    """
    kwargs = dict(env_kwargs or {})
    if env == SEQUENCE:
        return sequence_batch(_part, 1, tuple(labels), kwargs)
    batch = make_batch(env, 1, env_kwargs=kwargs)
    if isinstance(batch, Batch):
        return Batch(
            batch.family,
            1,
            observations=tuple(batch.observation_spaces),
            labels=[name for name in labels if name in batch.family.spaces],
            time_limit=batch.time_limit,
            autoreset=_WAIT,
        )
    batch.close()
    return VectorEnvBatch(
        SyncVectorEnv([lambda: _make(env, kwargs)], autoreset_mode=AutoresetMode.NEXT_STEP)
    )


def _part(
    env: str, count: int, *, labels: Sequence[str], env_kwargs: Mapping[str, Any]
) -> EnvBatch:
    """Make the one environment of a task of a sequence."""
    return open_for_people(env, env_kwargs, labels)


_WAIT = "next_step"  # the ended episode stays as it is, to be drawn


def _make(env: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    try:
        return open_env(env, **kwargs, render_mode="rgb_array")
    except (TypeError, ValueError, gymnasium.error.Error):
        return open_env(env, **kwargs)


def image_name(batch: EnvBatch) -> str | None:
    """Return the first observed array that is an image: uint8 (H, W, 1 or 3)."""
    for name, space in batch.observation_spaces.items():
        shape = space.shape or ()
        if not isinstance(space, Box) or space.dtype != np.uint8 or len(shape) != 3:
            continue
        if shape[2] in (1, 3) and min(shape[:2]) >= 8:
            return name
    return None


class Player:
    """A policy in one environment, moment by moment."""

    def __init__(self, policy: Policy, batch: EnvBatch, name: str = "") -> None:
        """Play in a batch of one environment, called ``name``."""
        self.policy, self.batch, self._where = policy, batch, name
        self._image = image_name(batch)
        self.ended = True

    @property
    def title(self) -> str:
        """Who plays where."""
        return f"{self.policy.name} in {self._where}" if self._where else self.policy.name

    def begin(self, seed: int, episode: int = 0) -> Moment:
        """Start an episode and return its first moment."""
        self.batch.reset([seed])
        self.policy.start(1, seed)
        self._episode, self._step, self._reward, self.ended = episode, 0, 0.0, False
        self._return = self._cost = 0.0
        return self._look()

    def advance(self, action: Any = None) -> Moment:
        """Take the policy's action, or another one in its place, and return what follows."""
        taken = self._choice.action
        if action is not None:
            taken = np.asarray([action], taken.dtype)
            getattr(self.policy, "correct", lambda _: None)(taken)
        batch = self.batch
        batch.step(taken)
        self.ended = bool(batch.terminated[0] | batch.truncated[0])
        self._reward = float(batch.reward[0])
        self._return += self._reward
        self._cost += float(batch.cost[0])
        self._step += 1
        return self._look()

    def _look(self) -> Moment:
        action, value, panels = None, None, dict[str, Any]()
        if not self.ended:
            seen = np.array([self._reward], np.float32)
            start = np.array([self._step == 0])
            self._choice = choice = self.policy.choose(self.batch.observation, seen, start)
            action = choice.action[0]
            value = None if choice.value is None else float(choice.value[0])
            panels = getattr(self.policy, "inspect", lambda _: {})(self.batch.label)
        view = None
        if self._image is not None:
            view = _rgb(self.batch.observation[self._image][0].copy())
        where = self._episode, self._step, action, value, self._reward, self._return, self._cost
        picture = _picture(self.batch, action, panels)
        return Moment(picture, view, *where, {**panels, **_env_panels(self.batch)})


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
    player = Player(policy, batch)
    for episode, seed in enumerate(seeds):
        moment = player.begin(int(seed), episode)
        yield moment
        while not player.ended and (max_steps is None or moment.step < max_steps):
            moment = player.advance()
            yield moment if moment.step != max_steps else moment._replace(action=None, value=None)


def _env_panels(batch: EnvBatch) -> dict[str, Any]:
    """Return what the environment has to show, by its ``panels``."""
    panels, own = _method(batch, "panels")
    return {} if panels is None else dict(panels(*own))


def _method(batch: EnvBatch, name: str) -> tuple[Any, tuple[Any, ...]]:
    """Return a method of the environment, or None, and the state that a family's method takes."""
    if isinstance(batch, Batch):
        return getattr(batch.family, name, None), (batch.states[0],)
    envs = getattr(getattr(batch, "env", None), "envs", None)
    return (getattr(envs[0].unwrapped, name, None) if envs else None), ()


def _picture(batch: EnvBatch, action: Any, panels: Mapping[str, Any]) -> np.ndarray | None:
    """Return the environment's drawing, with the policy over it where it can ``annotate``."""
    try:
        picture = _rgb(np.asarray(batch.render(0)))
    except (NotImplementedError, ValueError, AttributeError, gymnasium.error.Error):
        return None
    annotate, own = _method(batch, "annotate")
    return picture if annotate is None else annotate(picture, *own, action, panels)


def _rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
