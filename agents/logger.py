"""Named numbers to files: the part of stable-baselines3's logger that agents and callbacks use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Sink = Callable[[int, Mapping[str, float]], None]


class Logger:
    """Collects values by name until ``dump`` hands them to every sink.

    Attributes:
        sinks: Functions of (step, values); a run directory adds its own.
        name_to_value: What was recorded since the last ``dump``.
        output_formats: Empty; some SB3 callbacks look for it.
    """

    def __init__(self) -> None:
        """Start with no sinks."""
        self.sinks: list[Sink] = []
        self.name_to_value: dict[str, Any] = {}
        self.output_formats: list[Any] = []
        self._counts: dict[str, int] = {}
        self._folder: Path | None = None

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        """Keep ``value`` under ``key``; the last one before ``dump`` counts."""
        self.name_to_value[key] = value

    def record_mean(self, key: str, value: float | None, exclude: Any = None) -> None:
        """Keep the running mean under ``key``."""
        if value is None:
            return
        count = self._counts[key] = self._counts.get(key, 0) + 1
        old = self.name_to_value.get(key, 0.0)
        self.name_to_value[key] = old + (value - old) / count

    def numbers(self) -> dict[str, float]:
        """Return what was recorded since the last ``dump``, without what is no number."""
        return {k: float(v) for k, v in self.name_to_value.items() if _is_number(v)}

    def dump(self, step: int = 0) -> None:
        """Hand all numbers to the sinks and forget them."""
        numbers = self.numbers()
        for sink in self.sinks:
            sink(step, numbers)
        self.name_to_value.clear()
        self._counts.clear()

    def get_dir(self) -> str | None:
        """Return the TensorBoard folder, if there is one."""
        return None if self._folder is None else str(self._folder)

    def open_tensorboard(self, root: Path, name: str) -> None:
        """Write TensorBoard files to ``root/name_1`` (or the next free number)."""
        if self._folder is not None:
            return
        number = 1
        while (root / f"{name}_{number}").exists():
            number += 1
        self._folder = root / f"{name}_{number}"
        self.sinks.append(tensorboard_sink(self._folder))


def tensorboard_sink(folder: Path) -> Sink:
    """Return a sink that writes scalars to TensorBoard files in ``folder``."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def write(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
