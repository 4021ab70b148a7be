"""The live line of a training run: steps, speed, return, time left."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

WINDOW = 5.0
"""Seconds over which the speed is taken, and between two lines where there is no terminal."""


class ProgressLine:
    """One line that is rewritten four times a second on a terminal; elsewhere a line now and then.

    On a terminal the steps are read from the agent, so the line moves between logged rows too.
    """

    def __init__(self, agent: Any, total: int, console: Console | None = None) -> None:
        """Show nothing yet.

        Args:
            agent: Its ``num_timesteps`` is shown.
            total: Environment steps at the end.
            console: Where to write; by default standard error.
        """
        self._agent, self._total = agent, total
        self._console = console or Console(stderr=True, highlight=False)
        self._start = agent.num_timesteps
        self._began = self._shown = time.monotonic()
        self._seen = deque([(self._began, self._start)])
        self._mean_return = math.nan
        self._preparing: tuple[Any, float, int] | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin the line."""
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=lambda: Text(self.text(), overflow="ellipsis", no_wrap=True),
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the line."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, at: Any) -> None:
        """Take a `daedalus.agents.training.Progress`."""
        self._mean_return = at.mean_return
        if at.preparation is not None:
            self._prepare(at.preparation)
        if self._live is None and time.monotonic() - self._shown > WINDOW:
            self._shown = time.monotonic()
            self._console.print(self.text(), soft_wrap=True)

    def _prepare(self, at: Any) -> None:
        """Keep where a preparation stands, and since when; the steps begin after it."""
        self._began = time.monotonic()
        self._seen = deque([(self._began, self._start)])
        if self._preparing is not None and self._preparing[0].what == at.what:
            self._preparing = at, *self._preparing[1:]
        else:
            self._preparing = at, self._began, at.done

    def text(self) -> str:
        """Return the line for this moment."""
        now, steps = time.monotonic(), self._agent.num_timesteps
        if self._preparing is not None and steps == self._start:
            return preparation(*self._preparing)
        self._seen.append((now, steps))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        before, done = self._seen[0]
        speed = (steps - done) / max(now - before, 1e-9)
        overall = (steps - self._start) / max(now - self._began, 1e-9)
        left = duration((self._total - steps) / overall) if overall > 0 else "-"
        shown = "-" if math.isnan(self._mean_return) else f"{self._mean_return:.2f}"
        share = 100 * steps / max(self._total, 1)
        return (
            f"{steps:,} of {self._total:,} steps ({share:.0f} %)  {speed:,.0f} steps/s  "
            f"return {shown}  {left} left"
        )


def preparation(at: Any, since: float, first: int) -> str:
    """Return the line of a preparation.

    Args:
        at: A `daedalus.agents.base.Preparation`.
        since: Monotonic time when this process had done the first.
        first: Number of updates that were done then.
    """
    if not at.total:
        return str(at.what)
    each = (time.monotonic() - since) / max(at.done - first, 1)
    left = duration(each * (at.total - at.done)) if at.done > first else "-"
    numbers = "".join(f"  {name.replace('_', ' ')} {x:.3f}" for name, x in at.metrics.items())
    share = 100 * at.done / at.total
    return f"{at.what}: {at.done:,} of {at.total:,} updates ({share:.0f} %){numbers}  {left} left"


def duration(seconds: float) -> str:
    """Return a time in words, such as ``2 h 05 min``."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class BenchmarkProgress:
    """The live lines of a benchmark on a terminal; elsewhere a line for each finished run."""

    def __init__(self, console: Console | None = None) -> None:
        """Show nothing yet; ``console`` is by default standard error."""
        self._console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the live lines."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, state: Any) -> None:
        """Take a `daedalus.evaluation.benchmark.State`."""
        if state.event:
            self._console.print(f"[{state.done}/{state.total}] {state.event}", markup=False)
        if self._live is not None:
            self._live.update(Text("\n".join(self.lines(state))), refresh=True)

    @staticmethod
    def lines(state: Any) -> list[str]:
        """Return the lines for a state: a head, then one for each run at work."""
        left = "" if math.isnan(state.seconds_left) else f"  {duration(state.seconds_left)} left"
        failed = f"  {len(state.failed)} failed" if state.failed else ""
        rows = [f"{state.done} of {state.total} runs done{failed}{left}"]
        for run, share in state.active:
            name = f"{run['label']} on {run['scenario']}, seed {run['seed']}"
            rows.append(f"  {'#' * round(20 * share):<20} {share:4.0%}  {name}")
        return rows
