"""The corners of one `gymnasium.Env`: many seeds, every action, what follows the end, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from daedalus.envs.checker.calls import check_call
from daedalus.envs.checker.checker import Checker, Env
from daedalus.envs.checker.trace import Row, compare, describe_error, play, rows
from daedalus.envs.checker.values import summary


class CornerCheck(Checker):
    """Checks that a play of random actions may never come to."""

    def run(self, reference: list[Row]) -> None:
        """Run all of them; ``reference`` is what the plan gave before."""
        self._check_resets()
        self._check_actions()
        self._check_after_end()
        self._check_render(reference)

    def _check_resets(self, seeds: int = 10) -> None:
        """Some starts are rarer than others."""
        self.ran("resets")
        env = self.make()
        if env is None:
            return
        for seed in range(seeds):
            plan = replace(self.plan, seed=seed, steps=0, episodes=1)
            for call in play(env, plan):
                check_call(self, env, call._replace(episode=seed + 1))
        env.close()

    def _check_actions(self) -> None:
        """Every action of a small space, and the corners of a large one, is accepted."""
        self.ran("actions")
        env = self.make()
        if env is None:
            return
        for action in _corner_actions(env.action_space):
            try:
                env.reset(seed=self.plan.seed)
                env.step(action)
            except Exception as error:
                expected = f"every element of {env.action_space} to be accepted"
                got = f"{summary(action)} raised {describe_error(error)}"
                self.add("action_space", "action", "episode 1, step 1", expected, got)
                break
        env.close()

    def _check_after_end(self) -> None:
        """After its end an episode must not go on as if nothing were."""
        env = self.make()
        if env is None:
            return
        calls = list(play(env, replace(self.plan, episodes=1)))
        if calls[-1].kind == "step" and (calls[-1].result[2] or calls[-1].result[3]):
            self.ran("after_end")
            if _goes_on(env):
                expected = "an error, or the episode to stay ended, when step follows the end"
                where, got = f"{calls[-1].where} + 1", "a step as if it went on"
                self.add("after_end", "step()", where, expected, got, "warning")
        env.close()

    def _check_render(self, reference: list[Row]) -> None:
        """Every declared mode without a window returns what it should and changes no episode."""
        if not self.maker.takes_render_mode:
            self.skip("render", "its constructor takes no render_mode")
            return
        probe = self.make()
        modes = [] if probe is None else (probe.metadata or {}).get("render_modes") or []
        for mode in (m for m in modes if m in _FRAMES):
            try:
                self._check_frames(mode, reference)
            except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
                self.skip(f"render {mode}", str(error))
            except Exception as error:
                field, where = f"render_mode={mode!r}", "episode 1, reset"
                self.add("render", field, where, "a frame", describe_error(error))
        if probe is not None:
            probe.close()

    def _check_frames(self, mode: str, reference: list[Row]) -> None:
        assert self.maker.single is not None
        env = self.maker.single(render_mode=mode)
        self.ran(f"render {mode}")
        field = f"render_mode={mode!r}"
        if env.render_mode != mode:
            expected, got = f"env.render_mode == {mode!r}", repr(env.render_mode)
            self.add("render", field, "construction", expected, got)
        env.reset(seed=self.plan.seed)
        frame: Any = env.render()
        expected, fits = _FRAMES[mode]
        if not fits(frame):
            self.add("render", field, "episode 1, reset", expected, summary(frame))
        plan = replace(self.plan, steps=30, episodes=1, render=True)
        reason = "render() after every call"
        self.differs("render", compare(reference, rows(env, plan)), reason)
        env.close()


def _goes_on(env: Env) -> bool:
    """Step once more; an exception is an honest answer."""
    env.action_space.seed(0)
    try:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
    except Exception:
        return False
    return not (terminated or truncated)


def _is_picture(frame: Any) -> bool:
    picture = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3
    return picture and frame.shape[2] == 3


_FRAMES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "rgb_array": ("a uint8 array (H, W, 3)", _is_picture),
    "ansi": ("a string", lambda frame: isinstance(frame, str)),
}


def _corner_actions(space: spaces.Space[Any], most: int = 64) -> Iterator[Any]:
    if isinstance(space, spaces.Discrete):
        for action in range(int(min(space.n, most))):
            yield np.int64(space.start + action)
        if space.n > most:
            yield np.int64(space.start + space.n - 1)
    elif isinstance(space, spaces.MultiDiscrete):
        yield space.start.astype(space.dtype)
        yield (space.start + space.nvec - 1).astype(space.dtype)
    elif isinstance(space, spaces.MultiBinary):
        yield np.zeros(space.shape, space.dtype)
        yield np.ones(space.shape, space.dtype)
    elif isinstance(space, spaces.Box):
        for corner in (space.low, space.high):
            yield np.where(np.isfinite(corner), corner, 0).astype(space.dtype)
