"""Training health: rules over the logged rows that say early when a run has gone wrong.

Every rule needs several rows in a row, so that one bad one is no alarm. An alarm is one warning
on the terminal, when it begins; the logged rows (TensorBoard, ``metrics.csv``, the result store and
the report) have ``health/<alarm>`` = 1 for as long as it holds. NaN and infinity stop a run instead
(`daedalus.accelerators.guards`).
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

ROWS = 3
"""Rows in a row before an alarm."""
FIRST = 5
"""Rows that say what is usual before a rule that compares with them begins."""
COLLAPSED = 0.02
"""Share of the largest entropy seen below which a policy has collapsed."""
DENSITY = -1e-3
"""Entropy below which it is that of a density, and not of a sure choice that was rounded."""
EXPLODED = 100.0
"""Times the largest |return| (of values) or the median so far (of losses and gradients)."""
SLOW = 0.1
"""Share of the median speed below which training has stalled."""
SILENT = 60.0
"""Seconds without an environment step after which somebody is told."""


class Curve(NamedTuple):
    """The mean returns of an earlier run."""

    steps: np.ndarray  # (N,), rising
    returns: np.ndarray  # (N,)


class Health:
    """Watches the rows of one run."""

    def __init__(self, earlier: Sequence[Curve] = (), total_timesteps: int = 0) -> None:
        """Begin.

        Args:
            earlier: Runs of the same agent and task; three or more let regressions be seen.
            total_timesteps: Of this run; the first third of it is not compared.
        """
        self._earlier, self._total = list(earlier), total_timesteps
        self._held: dict[str, int] = {}
        self._history: dict[str, list[float]] = {}
        self._largest = {"entropy": 0.0, "return": 0.0}
        self._least_entropy, self._best = np.inf, -np.inf

    def check(self, step: int, row: Mapping[str, float]) -> dict[str, float]:
        """Look at a row; warn of what has just become wrong.

        Args:
            step: Environment steps.
            row: Numbers by tag, SB3's tags.

        Returns:
            ``health/<alarm>`` -> 1 or 0, for the rules that the row's numbers allow.
        """
        mean_return = row.get("rollout/ep_rew_mean")
        if mean_return is not None and np.isfinite(mean_return):
            self._largest["return"] = max(self._largest["return"], abs(mean_return))
            self._best = max(self._best, mean_return)
        found: dict[str, str | None] = {}
        found |= self._entropy(row, mean_return)
        found |= self._values(row)
        for tag, name in (
            ("train/value_loss", "value_loss_explosion"),
            ("train/gradient_norm", "gradient_explosion"),
        ):
            found |= self._usual(name, tag, row, EXPLODED)
        found |= self._usual("stall", "time/fps", row, SLOW)
        found |= self._regression(step, mean_return)
        return {f"health/{name}": self._hold(name, step, text) for name, text in found.items()}

    def _hold(self, name: str, step: int, text: str | None) -> float:
        """Count rows in a row; warn when there are enough."""
        held = self._held[name] = self._held.get(name, 0) + 1 if text else 0
        if held == ROWS:
            warnings.warn(f"training health at step {step:,}: {text}", stacklevel=5)
        return float(held >= ROWS)

    def _entropy(
        self, row: Mapping[str, float], mean_return: float | None
    ) -> dict[str, str | None]:
        """Collapse: next to no entropy is left, and the return is not at its best.

        That of continuous actions is none once it has been below 0: a density's has no least
        value, and that of a normal is negative from a deviation of 0.24 on.
        """
        entropy = row.get("train/entropy", -row.get("train/entropy_loss", np.nan))
        if not np.isfinite(entropy):
            return {}
        largest = self._largest["entropy"] = max(self._largest["entropy"], entropy)
        least = self._least_entropy = min(self._least_entropy, entropy)
        low = largest > 0 and least > DENSITY and entropy < COLLAPSED * largest
        spread = 0.05 * max(self._largest["return"], 1e-9)
        poor = mean_return is not None and mean_return < self._best - spread
        text = (
            f"the policy's entropy fell from {largest:.3g} to {entropy:.2g} and the return is "
            "below its best: raise entropy_weight, or lower the learning rate"
        )
        return {"entropy_collapse": text if low and poor else None}

    def _values(self, row: Mapping[str, float]) -> dict[str, str | None]:
        """Explosion: values far beyond any return."""
        value, largest = row.get("train/value"), self._largest["return"]
        if value is None or largest == 0:
            return {}
        text = (
            f"the mean value is {value:.3g} where no mean return was beyond {largest:.3g}: lower "
            "the learning rate, or check gamma and the scale of the reward"
        )
        return {"value_explosion": text if abs(value) > EXPLODED * max(largest, 1e-3) else None}

    def _usual(
        self, name: str, tag: str, row: Mapping[str, float], factor: float
    ) -> dict[str, str | None]:
        """Compare with the median so far: far above it, or far below for a factor under 1."""
        value = row.get(tag)
        if value is None:
            return {}
        history = self._history.setdefault(tag, [])
        usual = float(np.median(history)) if len(history) >= FIRST else None
        wrong = usual is not None and (
            value > factor * max(usual, 1e-12) if factor > 1 else value < factor * usual
        )
        if not wrong:
            history.append(float(value))
        advice = (
            "the environment or the machine has slowed down"
            if factor < 1
            else "lower the learning rate"
        )
        text = f"{tag} is {value:.3g}, usual was {usual or 0:.3g}: {advice}"
        return {name: text if wrong else None}

    def _regression(self, step: int, mean_return: float | None) -> dict[str, str | None]:
        """Behind every earlier run at the same step, and by three standard deviations."""
        if mean_return is None or len(self._earlier) < 3 or 3 * step < self._total:
            return {}
        then = [float(np.interp(step, c.steps, c.returns)) for c in self._earlier]
        least, usual = min(then), float(np.mean(then))
        wrong = mean_return < min(least, usual - 3 * float(np.std(then, ddof=1)))
        text = (
            f"the mean return is {mean_return:.3g}; the {len(then)} earlier runs of this task had "
            f"{least:.3g} to {max(then):.3g} by now"
        )
        return {"regression": text if wrong else None}


class Heartbeat:
    """Says so when the environments do not answer: a thread that looks at the step counter."""

    def __init__(self, agent: Any, silent: float = SILENT) -> None:
        """Watch ``agent``, whose collecting the loop announces with `collecting`.

        Args:
            agent: Its ``num_timesteps`` moves with every vector step.
            silent: Seconds without a step that are too long.
        """
        self._agent, self._silent = agent, silent
        self._since: float | None = None
        self._over = threading.Event()

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def collecting(self, now: bool) -> None:
        """Say that environments are being stepped, or no longer; updates may take their time."""
        self._since = time.monotonic() if now else None

    def _watch(self) -> None:
        step, told, begun = -1, False, self._agent.num_timesteps
        while not self._over.wait(self._silent / 20):
            since = self._since
            if since is None or step != self._agent.num_timesteps:
                step, told, moved = self._agent.num_timesteps, False, time.monotonic()
                continue
            quiet = time.monotonic() - max(since, moved)
            if quiet > self._silent and not told:
                told = True
                compiling = " (a first run compiles: minutes on a busy machine)"
                warnings.warn(
                    f"training health at step {step:,}: the environments have not answered for "
                    f"{quiet:.0f} s{compiling if step == begun else ''}; Ctrl-C stops, and "
                    "resuming begins at the last checkpoint",
                    stacklevel=2,
                )
