"""Watch a policy or play oneself: a window where there is a display, an mp4 where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.accelerators.vector import EnvBatch
from daedalus.envs.batch import Batch
from daedalus.evaluation.drawing import Stage
from daedalus.evaluation.evaluate import held_out_seeds
from daedalus.evaluation.policy import Arrays, Choice, Policy, as_policy, check_spaces
from daedalus.evaluation.rollout import Moment, open_for_people, play
from daedalus.evaluation.video import write_video

MAX_FRAMES = 3_000
"""Steps of an episode that a video shows at most."""


def has_display() -> bool:
    """Tell whether a window can be opened."""
    if os.environ.get("SDL_VIDEODRIVER") == "dummy" or sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def _no_window(wanted: bool) -> Iterator[None]:
    """Let environments that draw with SDL do so without looking for a screen."""
    before = os.environ.get("SDL_VIDEODRIVER")
    if wanted and before is None:
        os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("SDL_VIDEODRIVER", None)


def watch(
    policy: Any,
    env: str,
    *,
    episodes: int = 3,
    video: str | Path | None = None,
    seed: int = 0,
    deterministic: bool = False,
    fps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Path | None:
    """Show rollouts on held-out seeds.

    Args:
        policy: An agent, ``"random"``, ``"keyboard"``, or anything with SB3's ``predict``.
        env: Environment id.
        episodes: Episodes to show.
        video: File to write; by default a window, or ``watch.mp4`` where there is no display.
        seed: Chooses the held-out seeds.
        deterministic: Take the most likely action instead of drawing.
        fps: Steps in a second; by default the environment's.
        env_kwargs: Keyword arguments of the environment.

    Returns:
        The video's path, or None if a window was shown.

    Raises:
        ValueError: The keyboard was asked for without a display or without known keys, or
            the environment does not have the agent's spaces.
    """
    if video is None and not has_display():
        video = Path("watch.mp4")
    with _no_window(video is not None):
        batch = open_for_people(env, env_kwargs)
        try:
            check_spaces(policy, batch, env)
            keys = key_actions(batch)
            if policy == "keyboard":
                player: Policy = Keyboard(keys)
            else:
                player = as_policy(policy, batch.action_space, deterministic=deterministic)
            stage = Stage(f"{player.name} in {env}", action_names(batch))
            moments = play(player, batch, held_out_seeds(episodes, seed), MAX_FRAMES)
            return _present(moments, stage, player, fps or frame_rate(batch), video)
        finally:
            batch.close()


def _present(
    moments: Iterator[Moment], stage: Stage, player: Policy, fps: int, video: str | Path | None
) -> Path | None:
    """Write the video, or open the window."""
    if video is None:
        _show(moments, stage, player, fps)
        return None
    if isinstance(player, Keyboard):
        raise ValueError("playing by keyboard needs a display; leave out --video")
    write_video(video, (stage.frame(moment) for moment in moments), fps)
    return Path(video)


def _show(moments: Iterator[Moment], stage: Stage, player: Policy, fps: int) -> None:
    from daedalus.envs.window import Window

    window = Window("Daedalus", fps)
    if isinstance(player, Keyboard):
        player.window = window
    try:
        for moment in moments:
            window.show(stage.frame(moment))
            if not window.is_open or "escape" in window.held():
                break
    finally:
        window.close()


def frame_rate(batch: EnvBatch) -> int:
    """Return the steps in a second that suit the environment."""
    if isinstance(batch, Batch):
        return batch.family.fps
    metadata = getattr(getattr(batch, "env", None), "metadata", {})
    return min(int(metadata.get("render_fps") or 15), 60)


def key_actions(batch: EnvBatch) -> dict[str, Any]:
    """Return the keys of a person who plays and their actions; ``""`` is no key at all."""
    if isinstance(batch, Batch):
        return dict(batch.family.keys)
    envs = getattr(getattr(batch, "env", None), "envs", None)
    inner: Any = envs[0].unwrapped if envs else None
    if not hasattr(inner, "get_keys_to_action"):
        return {}
    table = inner.get_keys_to_action()
    return {_key_name(keys): action for keys, action in table.items() if len(keys) <= 1}


def action_names(batch: EnvBatch) -> dict[Any, str]:
    """Return words for actions: those that the family gives, else the keys that mean them."""
    names = getattr(getattr(batch, "family", None), "actions", None)
    if names:
        return {i: str(name).replace("_", " ") for i, name in enumerate(names)}
    return {action: key for key, action in key_actions(batch).items() if key}


def _key_name(keys: Any) -> str:
    """Gymnasium names keys by characters or key codes in tuples."""
    if not keys:
        return ""
    key = keys if isinstance(keys, str) else keys[0]
    return key if isinstance(key, str) else chr(key) if key < 128 else str(key)


class Keyboard:
    """A person: the first held key that means an action."""

    name = "you"

    def __init__(self, keys: Mapping[str, Any]) -> None:
        """Take the keys of the environment.

        Raises:
            ValueError: It has none.
        """
        if not keys:
            raise ValueError(
                "this environment names no keys to play with; watch a policy instead, "
                "for example with --policy random"
            )
        self.keys = keys
        self.window: Any = None

    def start(self, num_envs: int, seed: int) -> None:
        """Nothing to forget."""

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Return the action of the held key, else the one of no key, else the first action."""
        held = self.window.held() if self.window is not None else set()
        pressed = (action for key, action in self.keys.items() if key in held)
        return Choice(np.array([next(pressed, self.keys.get("", 0))]), None)
