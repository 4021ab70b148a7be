"""``daedalus watch``."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from daedalus.commands_score import is_archive, open_run
from daedalus.options import refuse
from daedalus.parsing import (
    Count,
    MaybeCount,
    MaybePositive,
    MaybeText,
    Positive,
    UsageError,
    positional,
)

PATIENCE = 600.0
"""Seconds that a page waits for the first checkpoint of a run."""
NICE = 15
"""How far a page steps back behind other processes: a busy core gives it one part in thirty."""


@dataclass
class Watch:
    """See a run, or an environment: a window where there is a display, an mp4 where there is none.

    With an environment instead of a run you play it yourself by keyboard (Escape ends); where
    there is no display, or with --policy random, a random policy acts. With --page a browser shows
    it live: of a run that is being trained always the newest checkpoint. In window and page: space
    pauses, . steps, + and - change the speed, n takes the next seed, r begins again, t takes over.

    Examples:
      daedalus watch runs/last
      daedalus watch runs/last --page                  in a browser, also while it trains
      daedalus watch runs/last --page --beside random  two policies on the same seeds
      daedalus watch runs/last --video maze.mp4 --episodes 5
      daedalus watch runs/last --video maze.rollout    to be watched again without environment
      daedalus watch maze.rollout --video maze.gif
      daedalus watch daedalus/NavMaze-v0               play
      daedalus watch CartPole-v1 --policy random
    """

    what: Annotated[tyro.conf.Positional[str], positional("WHAT")]
    """Run directory, zip of stable-baselines3, stored rollout, environment id or scenario."""
    episodes: Positive = 3
    """Episodes to show; a page goes on until Ctrl-C."""
    video: MaybeText = None
    """File to write, .mp4, .gif or .rollout (auto: a window, or an mp4 without a display)."""
    page: bool = False
    """Serve a live page for browsers instead."""
    beside: MaybeText = None
    """Show beside it, on the same seeds: another run, random or keyboard (auto: nothing)."""
    policy: MaybeText = None
    """keyboard or random (auto: the run's agent; for an environment keyboard in a window)."""
    seed: Count = 0
    """Chooses the held-out seeds."""
    deterministic: bool = False
    """Take the most likely action instead of drawing from the policy."""
    fps: MaybePositive = None
    """Steps in a second (auto: the environment's)."""
    env: MaybeText = None
    """Environment or scenario for a run's agent (auto: the one it was trained in)."""
    env_kwargs: tuple[str, ...] = ()
    """Parameters of the environment as key=value."""
    step: MaybeCount = None
    """Checkpoint to load (auto: the newest)."""
    device: str = "auto"
    """auto, cpu or cuda."""
    agent: MaybeText = None
    """Algorithm of a stable-baselines3 zip, such as ppo (auto: a run knows its own)."""
    trust: bool = False
    """Read a stable-baselines3 zip although it runs code that it holds."""
    host: str = "127.0.0.1"
    """Address of the page; anything but this machine's own needs --token."""
    port: Count = 8035
    """Port of the page; 0 takes a free one."""
    token: MaybeText = None
    """Secret in the page's address, 16 characters or more; new draws one (auto: none)."""

    def run(self) -> int:
        """Open the window, serve the page or write the file."""
        from daedalus.evaluation.watch import STORED, replay, watch
        from daedalus.lookup import naming_parameters

        if self.policy not in (None, "random", "keyboard"):
            raise UsageError(f"--policy is keyboard or random, not {self.policy!r}")
        self._refuse_unused()
        page = self._page()
        if self.what.endswith(STORED):
            written = replay(self.what, video=self._video(None), page=page, fps=self.fps)
        else:
            policy, task, video = self._policy()
            with naming_parameters(task):
                written = watch(
                    policy,
                    task.env,
                    beside=self._beside(),
                    episodes=self.episodes,
                    video=video,
                    page=page,
                    seed=self.seed,
                    deterministic=self.deterministic,
                    fps=self.fps,
                    env_kwargs=task.env_kwargs,
                )
        if written is not None:
            print(f"wrote {written}")
        return 0

    def _refuse_unused(self) -> None:
        """Refuse options that would be ignored."""
        from daedalus.evaluation.watch import STORED

        if self.what.endswith(STORED):
            kept = {"video", "page", "fps", "host", "port", "token"}
            rest = {field.name for field in fields(self)} - kept - {"what"}
            refuse(self, rest, "a stored rollout is shown as it was played")
        zips = is_archive(self.what), is_archive(self.beside or "")
        if not any(zips):
            refuse(self, ("agent", "trust"), "it is for a zip of stable-baselines3")
        if not _is_run(self.what) or zips[0]:
            refuse(self, ("step",), "it is for a run, which has several checkpoints")
        if not _is_run(self.what) and not zips[1]:
            refuse(self, ("env",), f"the environment is {self.what}")
        if self.page:
            refuse(self, ("video",), "with --page no file is written; leave one of them out")
        else:
            refuse(self, ("host", "port", "token"), "it is for a page; add --page")

    def _page(self) -> Any:
        """Where the page is served, if it was asked for."""
        if not self.page:
            return None
        from daedalus.evaluation.live_server import check_address
        from daedalus.evaluation.watch import Page

        token = secrets.token_urlsafe(18) if self.token == "new" else self.token
        try:
            check_address(self.host, token, self.port)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return Page(self.host, self.port, token, _announce)

    def _policy(self) -> tuple[Any, Any, Path | None]:
        """Return who acts, where, and the file to write."""
        from daedalus.evaluation.watch import has_display
        from daedalus.lookup import find_task

        if _is_run(self.what):
            if self.page and not is_archive(self.what) and self.step is None:
                return self._followed()
            trained, task = open_run(self.what, self)
            default = trained.path / "videos" / f"{trained.step}.mp4"
            if is_archive(self.what):
                default = trained.path.with_suffix(".mp4")
            return self.policy or trained.agent, task, self._video(default)
        task = find_task(self.what, self.env_kwargs)
        can_play = self.page or (has_display() and not self.video)
        default = Path(task.env.rpartition(":")[2].rpartition("/")[2] + ".mp4")
        policy = self.policy or ("keyboard" if can_play and self._has_keys(task) else "random")
        return policy, task, self._video(default)

    def _has_keys(self, task: Any) -> bool:
        """Whether a page can be played; a window says why where it cannot."""
        if not self.page:
            return True
        from daedalus.evaluation.rollout import open_for_people
        from daedalus.evaluation.watch import key_actions

        batch = open_for_people(task.env, task.env_kwargs)
        batch.close()
        return bool(key_actions(batch))

    def _followed(self) -> tuple[Any, Any, None]:
        """Return the newest checkpoint of a run as a policy, waiting for the first one."""
        import torch

        from daedalus.accelerators.checkpoint import list_checkpoints
        from daedalus.evaluation.live_sources import Followed
        from daedalus.evaluation.runs import read_run
        from daedalus.lookup import find_agent, find_task

        torch.set_num_threads(1)
        config = read_run(self.what)
        find_agent(str(config["agent"]))
        task = find_task(self.env or str(config["env"]), self.env_kwargs)
        if self.env is None:
            task = replace(task, env_kwargs={**config["env_kwargs"], **task.env_kwargs})
        end = time.monotonic() + PATIENCE
        while not list_checkpoints(self.what) and time.monotonic() < end:
            time.sleep(0.5)
        followed = Followed(self.what, deterministic=self.deterministic)
        return self.policy or followed, task, None

    def _beside(self) -> Any:
        if self.beside is None or not _is_run(self.beside):
            if self.beside not in (None, "random", "keyboard"):
                raise UsageError(f"--beside is a run, random or keyboard, not {self.beside!r}")
            return self.beside
        if is_archive(self.beside):
            return open_run(self.beside, self)[0].agent
        from daedalus.evaluation.live_sources import Followed

        return Followed(self.beside, deterministic=self.deterministic)

    def _video(self, default: Path | None) -> Path | None:
        from daedalus.evaluation.watch import has_display

        if self.video or self.page or has_display():
            return Path(self.video) if self.video else None
        print("no display: writing a video instead; --page shows it live in a browser")
        return default


def _is_run(name: str) -> bool:
    return Path(name).is_dir() or name.startswith(("runs/", "./", "/")) or is_archive(name)


def _announce(address: str) -> None:
    """Say where the page is; from here on this process gives way to training."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    print(f"watch at {address} (Ctrl-C ends)", flush=True)
