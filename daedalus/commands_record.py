"""``daedalus demo record`` and ``daedalus demo replay``: demonstrations of web tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from daedalus.parsing import Count, Positive, UsageError, nearest, positional

if TYPE_CHECKING:
    from daedalus.envs.web.browser.recording import Demonstration


@dataclasses.dataclass
class Record:
    """Record demonstrations of a web task as JSON lines.

    The demonstrator, or you (--by person), fills in the page with pointer and keys; every event is
    stored with its time and the table of the page before it. The files can be replayed in both
    backends. For a person the page opens in a window of Chromium; without a display its address is
    printed, to be opened in any browser of this machine (from another: ssh -L).

    Examples:
      daedalus demo record login-user
      daedalus demo record flight-aurora --episodes 20 --out demos
      daedalus demo record login-user --backend browser
      daedalus demo record flight-aurora --by person
    """

    task: Annotated[tyro.conf.Positional[str], positional("TASK")]
    """Name of a web task, such as login-user; `daedalus info daedalus/Web-ClickTest-v0` has all."""
    episodes: Positive = 1
    """Episodes, of the seeds SEED, SEED + 1, ..."""
    seed: Count = 0
    """Seed of the first episode."""
    out: str = "."
    """Folder for the files, <task>-<seed>.jsonl."""
    backend: str = "native"
    """native or browser (headless Chromium), for the demonstrator."""
    by: str = "demonstrator"
    """demonstrator or person."""

    def run(self) -> int:
        """Record, write and name the files."""
        from daedalus.accelerators.files import write_file
        from daedalus.envs.web.browser.recording import lines_of
        from daedalus.envs.web.model import TASKS
        from daedalus.envs.web.tasks import load_tasks

        load_tasks()
        if self.task not in TASKS:
            hint = nearest(self.task, TASKS) or f"; tasks: {', '.join(TASKS)}"
            raise UsageError(f"there is no web task {self.task!r}{hint}")
        _check_backend(self.backend)
        if self.by not in ("demonstrator", "person"):
            raise UsageError(f"--by must be demonstrator or person, got {self.by!r}")
        folder = Path(self.out)
        folder.mkdir(parents=True, exist_ok=True)
        for made in self._demonstrations():
            path = folder / f"{self.task}-{made.seed}.jsonl"
            write_file(path, "".join(f"{line}\n" for line in lines_of(made)).encode())
            print(f"{path}: {len(made.events)} events, reward {made.reward:g}: {made.utterance}")
        return 0

    def _demonstrations(self) -> Iterator[Demonstration]:
        from daedalus.envs.web.browser.recording import record

        seeds = range(self.seed, self.seed + self.episodes)
        if self.by == "demonstrator":
            yield from (record(self.task, seed, self.backend) for seed in seeds)
            return
        from daedalus.envs.web.browser.person import PersonPage, window
        from daedalus.evaluation.watch import has_display

        with ExitStack() as opened:
            page = opened.enter_context(PersonPage(self.task))
            for seed in seeds:
                goal = page.show(seed)
                if seed == self.seed and has_display():
                    opened.enter_context(window(page.address, page.size))
                elif seed == self.seed:
                    print(f"no display: open {page.address} in a browser of this machine")
                print(f"seed {seed}: {goal}", flush=True)
                yield page.wait()


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
