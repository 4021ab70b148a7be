"""Watch policies or play oneself: in a window, as a live page, as a video or a stored rollout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.accelerators.vector import EnvBatch
from daedalus.envs.batch import Batch
from daedalus.evaluation.drawing import Stage
from daedalus.evaluation.evaluate import held_out_seeds
from daedalus.evaluation.live import Session
from daedalus.evaluation.live_sources import Keyboard, Replay
from daedalus.evaluation.policy import as_policy, check_spaces
from daedalus.evaluation.rollout import Moment, Player, open_for_people
from daedalus.evaluation.rollout_file import About, StoredRollout, record
from daedalus.evaluation.video import write_video

MAX_FRAMES = 3_000
"""Steps of an episode that a video shows at most."""
STORED = ".rollout"
"""Ending of the name of a stored rollout."""


@dataclass(frozen=True)
class Page:
    """Where a live page is served.

    Attributes:
        host: Address to listen at; anything but loopback needs a token.
        port: Port; 0 takes a free one.
        token: Needed in the page's address, if given.
        ready: Called with the page's address.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    ready: Callable[[str], object] = print


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
    beside: Any = None,
    episodes: int = 3,
    video: str | Path | None = None,
    page: Page | None = None,
    seed: int = 0,
    deterministic: bool = False,
    fps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Path | None:
    """Show rollouts on held-out seeds.

    Args:
        policy: An agent, ``"random"``, ``"keyboard"``, or anything with SB3's ``predict``.
        env: Environment id.
        beside: Another such policy, to play the same seeds beside the first.
        episodes: Episodes to show; a page goes on until it is closed.
        video: File to write: ``.mp4``, ``.gif``, or ``.rollout``, which `replay` shows again; by
            default a window, or ``watch.mp4`` where there is no display.
        page: Serve a live page instead, until Ctrl-C.
        seed: Chooses the held-out seeds.
        deterministic: Take the most likely action instead of drawing.
        fps: Steps in a second; by default the environment's.
        env_kwargs: Keyword arguments of the environment.

    Returns:
        The file's path, or None if none was written.

    Raises:
        ValueError: The keyboard was asked for without a display or without known keys, the
            environment does not have the agent's spaces, or two policies go into one rollout.
    """
    if video is None and page is None and not has_display():
        video = Path("watch.mp4")
    with _no_window(video is not None or page is not None), ExitStack() as stack:
        players, keyboard = [], None
        for chosen in (policy,) if beside is None else (policy, beside):
            batch = open_for_people(env, env_kwargs, _labels_of(chosen))
            stack.callback(batch.close)
            check_spaces(getattr(chosen, "agent", chosen), batch, env)
            keys = key_actions(batch)
            if keyboard is None and (keys or chosen == "keyboard"):
                keyboard = Keyboard(keys)
            player = keyboard if chosen == "keyboard" else chosen
            acting = as_policy(player, batch.action_space, deterministic=deterministic)
            players.append(Player(acting, batch, env))
        rate = fps or frame_rate(batch)
        limits = {} if page else {"episodes": episodes, "max_steps": MAX_FRAMES}
        session = Session(players, rate, keyboard=keyboard, seed=seed, **limits)
        return _present(session, action_names(batch), video, page)


def replay(
    stored: str | Path,
    *,
    video: str | Path | None = None,
    page: Page | None = None,
    fps: int | None = None,
) -> Path | None:
    """Show a stored rollout again, without its environment; the arguments are `watch`'s.

    Raises:
        RolloutError: The file is no stored rollout, or damaged.
    """
    source = Replay(StoredRollout(stored))
    about = source.stored.about
    if video is None and page is None and not has_display():
        video = Path(stored).with_suffix(".mp4")
    episodes = None if page else max(len(about.seeds), 1)
    session = Session([source], fps or about.fps, episodes=episodes)
    return _present(session, about.action_names, video, page)


def _labels_of(policy: Any) -> Sequence[str]:
    """Return the labels whose predictions a policy may show."""
    agent = getattr(policy, "agent", policy)
    return agent.labels_needed() if hasattr(agent, "labels_needed") else ()


def _present(
    session: Session, names: Mapping[Any, str], video: str | Path | None, page: Page | None
) -> Path | None:
    """Serve the page, write the file, or open the window."""
    if page is not None:
        from daedalus.evaluation.live_server import serve
        from daedalus.evaluation.live_show import Show

        place = {"host": page.host, "port": page.port, "token": page.token}
        serve(Show(session, names), **place, ready=page.ready)  # type: ignore[arg-type]
        return None
    if video is None:
        _show(session, names)
        return None
    if session.plays:
        raise ValueError("playing by keyboard needs a display or --page; leave out --video")
    video = Path(video)
    if video.suffix == STORED:
        _store(session, names, video)
    else:
        write_video(video, map(_Screen(session, names).frame, _moments(session)), session.fps)
    return video


def _moments(session: Session) -> Iterator[Sequence[Moment]]:
    yield session.moments
    while session.advance():
        yield session.moments


def _store(session: Session, names: Mapping[Any, str], path: Path) -> None:
    if len(session.sources) > 1:
        raise ValueError(f"{path}: a stored rollout holds one policy; leave out --beside")
    seeds = held_out_seeds(session.episodes or 1, session.base_seed)
    words = {int(key): name for key, name in names.items() if isinstance(key, int | np.integer)}
    about = About(session.sources[0].title, session.fps, words, tuple(seeds))
    record(path, (moments[0] for moments in _moments(session)), about)


class _Screen:
    """Frames of a session: the stages of its sources side by side."""

    def __init__(self, session: Session, names: Mapping[Any, str]) -> None:
        self._sources = session.sources
        self._stages = [Stage(source.title, names) for source in session.sources]

    def frame(self, moments: Sequence[Moment]) -> np.ndarray:
        """Return the frame of the sources' moments, uint8 (H, W, 3)."""
        for stage, source in zip(self._stages, self._sources, strict=True):
            stage.title = source.title
        pairs = zip(self._stages, moments, strict=True)
        return np.concatenate([stage.frame(moment) for stage, moment in pairs], axis=1)


def _show(session: Session, names: Mapping[Any, str]) -> None:
    """Open a window until it is closed, Escape is pressed, or all episodes are over."""
    from daedalus.envs.window import Window

    window, screen = Window("Daedalus", session.fps), _Screen(session, names)
    try:
        frame = screen.frame(session.moments)
        while window.is_open and not session.over:
            window.fps = 1.0 / session.interval
            window.show(frame)
            held, before = window.held(), session.moments
            if "escape" in held:
                break
            if session.keyboard is not None:
                session.keyboard.held = held
            for key in window.pressed():
                session.press(key)
            session.advance()
            if session.moments is not before:
                frame = screen.frame(session.moments)
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
