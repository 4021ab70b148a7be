"""``daedalus demo record`` and ``daedalus demo replay``: demonstrations of web tasks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from daedalus.parsing import Count, UsageError, nearest, positional


@dataclasses.dataclass
class Record:
    """Record demonstrations of a web task as JSON lines.

    The demonstrator fills in the page with pointer and keys; every event is stored with its time
    and the table of the page before it. The files can be replayed in both backends.

    Examples:
      daedalus demo record login-user
      daedalus demo record flight-aurora --episodes 20 --out demos
      daedalus demo record login-user --backend browser
    """

    task: Annotated[tyro.conf.Positional[str], positional("TASK")]
    """Name of a web task, such as login-user; `daedalus info daedalus/Web-ClickTest-v0` has all."""
    episodes: Count = 1
    """Episodes, of the seeds SEED, SEED + 1, ..."""
    seed: Count = 0
    """Seed of the first episode."""
    out: str = "."
    """Folder for the files, <task>-<seed>.jsonl."""
    backend: str = "native"
    """native or browser (headless Chromium)."""

    def run(self) -> int:
        """Record, write and name the files."""
        from daedalus.accelerators.files import write_file
        from daedalus.envs.web.browser.recording import lines_of, record
        from daedalus.envs.web.model import TASKS
        from daedalus.envs.web.tasks import load_tasks

        load_tasks()
        if self.task not in TASKS:
            hint = nearest(self.task, TASKS) or f"; tasks: {', '.join(TASKS)}"
            raise UsageError(f"there is no web task {self.task!r}{hint}")
        _check_backend(self.backend)
        folder = Path(self.out)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(self.seed, self.seed + self.episodes):
            made = record(self.task, seed, self.backend)
            path = folder / f"{self.task}-{seed}.jsonl"
            write_file(path, "".join(f"{line}\n" for line in lines_of(made)).encode())
            print(f"{path}: {len(made.events)} events, reward {made.reward:g}: {made.utterance}")
        return 0


@dataclasses.dataclass
class Replay:
    """Replay demonstrations and verify pages, request and reward.

    Examples:
      daedalus demo replay login-user-0.jsonl
      daedalus demo replay demos/*.jsonl --backend browser
    """

    paths: Annotated[tyro.conf.Positional[tuple[str, ...]], positional("FILES")]
    """Files of `daedalus demo record`."""
    backend: str = "native"
    """native or browser (headless Chromium)."""

    def run(self) -> int:
        """Replay and tell what differs; 1 if anything does."""
        from daedalus.envs.web.browser.recording import read_demonstration, replay

        _check_backend(self.backend)
        failed = 0
        for path in self.paths:
            reward, differences = replay(read_demonstration(path), self.backend)
            failed += bool(differences)
            said = "; ".join(differences[:3]) or "verified"
            print(f"{path}: reward {reward:g}, {said}")
        return 1 if failed else 0


def _check_backend(backend: str) -> None:
    if backend not in ("native", "browser"):
        raise UsageError(f"--backend must be native or browser, got {backend!r}")
