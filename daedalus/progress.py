"""The live line of a training run: steps, speed, return, time left."""

from __future__ import annotations

import math
import time
from typing import Any, Self

from rich.console import Console


class ProgressLine:
    """One line that is rewritten on a terminal; elsewhere a line now and then."""

    def __init__(self, start: int, total: int, console: Console | None = None) -> None:
        """Show nothing yet.

        Args:
            start: Environment steps done before.
            total: Environment steps at the end.
            console: Where to write; by default the terminal.
        """
        self._console = console or Console(stderr=True, highlight=False)
        self._start, self._total = start, total
        self._began = self._shown = time.monotonic()
        self._status: Any = None

    def __enter__(self) -> Self:
        """Begin the line."""
        if self._console.is_terminal:
            self._status = self._console.status("starting ...", spinner="dots")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the line."""
        if self._status is not None:
            self._status.stop()

    def __call__(self, at: Any) -> None:
        """Show a `daedalus.agents.training.Progress`."""
        text = self.text(at.num_timesteps, at.steps_per_second, at.mean_return)
        if self._status is not None:
            self._status.update(text)
        elif time.monotonic() - self._shown > 5 or at.num_timesteps >= self._total:
            self._shown = time.monotonic()
            self._console.print(text)

    def text(self, steps: int, speed: float, mean_return: float) -> str:
        """Return the line for a moment."""
        elapsed = time.monotonic() - self._began
        mean_speed = (steps - self._start) / max(elapsed, 1e-9)
        left = (self._total - steps) / max(mean_speed, 1e-9)
        shown = "-" if math.isnan(mean_return) else f"{mean_return:.2f}"
        share = 100 * steps / max(self._total, 1)
        return (
            f"{steps:,} of {self._total:,} steps ({share:.0f} %)  {speed:,.0f} steps/s  "
            f"return {shown}  {duration(left)} left"
        )


def duration(seconds: float) -> str:
    """Return a time in words, such as ``2 h 05 min``."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
