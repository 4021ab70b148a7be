"""What computations are placed on: devices with speed and memory, links between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

GB = 1e9
"""Bytes."""


class Machine(NamedTuple):
    """D devices and a link from each to each other, as the simulator reads them."""

    speed: np.ndarray  # float64 (D,); an operation takes cost / speed
    memory: np.ndarray  # float64 (D,), bytes
    bandwidth: np.ndarray  # float64 (D, D), bytes per ms from device to device
    latency: np.ndarray  # float64 (D, D), ms that each transfer takes beside

    @property
    def devices(self) -> int:
        """Number of devices, D."""
        return len(self.speed)


def make_machine(
    devices: int,
    *,
    memory: float | Sequence[float] = np.inf,
    speed: float | Sequence[float] = 1.0,
    bandwidth: float | Sequence[Sequence[float]] = 7.6 * GB / 1000,
    latency: float | Sequence[Sequence[float]] = 0.025,
) -> Machine:
    """Make a machine; one number stands for all devices or links.

    Args:
        devices: Number of devices, at least 1.
        memory: Bytes of each device.
        speed: Relative speed of each device.
        bandwidth: Bytes per ms of each link; by default 7.6 GB/s, which park's simulator was fitted
            to on a machine with eight K80.
        latency: ms that each transfer takes beside; by default 25 us, likewise.

    Raises:
        ValueError: A number is not positive (a latency: is negative), a speed is infinite, or the
            count is wrong.
    """
    if devices < 1:
        raise ValueError(f"a machine needs at least 1 device, got {devices}")
    return Machine(
        _fill("speed", speed, (devices,)),
        _fill("memory", memory, (devices,)),
        _fill("bandwidth", bandwidth, (devices, devices)),
        _fill("latency", latency, (devices, devices), zero=True),
    )


def _fill(name: str, value: object, shape: tuple[int, ...], zero: bool = False) -> np.ndarray:
    given = np.asarray(value, np.float64)
    if given.ndim and given.shape != shape:
        raise ValueError(f"{name} has shape {given.shape}, expected one number or {shape}")
    if not ((given >= 0) if zero else (given > 0)).all():
        raise ValueError(f"{name} must be {'0 or more' if zero else 'positive'}, got {value}")
    if name == "speed" and np.isinf(given).any():
        raise ValueError(f"speed must be finite, got {value}")
    array = np.broadcast_to(given, shape).copy()
    array.flags.writeable = False
    return array
