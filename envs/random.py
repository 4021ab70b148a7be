"""Random numbers for kernels: a counter-based generator in the state of each environment.

A draw is a hash of (key of the stream, number of the draw), so it depends on nothing but the seed,
the episode and the stream: the same seed gives the same episode for any batch size, order of
stepping or number of threads. The streams are separate: drawing one apple more never moves the
goal.

The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014, "Fast splittable pseudorandom
number generators").
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.cache import jit

LAYOUT, GOAL, SPAWN, NOISE = 0, 1, 2, 3
"""Stream indices: what the world looks like, where the goal is, where one starts, noise."""
STREAMS = 4

STATE_FIELDS: list[tuple[Any, ...]] = [
    ("seed_key", "u8"),
    ("stream_key", "u8", (STREAMS,)),
    ("stream_count", "u8", (STREAMS,)),
    ("episode", "u8"),
]
"""Fields that the engine adds to the state of every family for this generator."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SCALE = 1.0 / 9007199254740992.0  # 2 ** -53


@jit
def mix(value: np.uint64) -> np.uint64:
    """Return the SplitMix64 finaliser of a 64-bit value."""
    z = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@jit
def begin_episode(state: Any) -> None:
    """Move every stream of a state to the start of its next episode."""
    state.episode += np.uint64(1)
    base = mix(state.seed_key + state.episode * _GOLDEN)
    for stream in range(STREAMS):
        state.stream_key[stream] = mix(base + np.uint64(stream + 1) * _GOLDEN)
        state.stream_count[stream] = np.uint64(0)


@jit
def set_stream(state: Any, stream: int, seed: int) -> None:
    """Pin one stream to a seed of its own, as for the layout of a static maze; for ``reset``."""
    state.stream_key[stream] = mix(np.uint64(seed) + np.uint64(stream + 1) * _GOLDEN)
    state.stream_count[stream] = np.uint64(0)


@jit
def bits(state: Any, stream: int) -> Any:
    """Draw 64 random bits from a stream."""
    state.stream_count[stream] += np.uint64(1)
    return mix(state.stream_key[stream] + state.stream_count[stream] * _GOLDEN)


@jit
def uniform(state: Any, stream: int) -> Any:
    """Draw a float64 uniformly from [0, 1)."""
    return (bits(state, stream) >> np.uint64(11)) * _SCALE


@jit
def integers(state: Any, stream: int, n: int) -> Any:
    """Draw an int64 uniformly from [0, n), n positive and below 2**31 (bias below 2**-32)."""
    return np.int64(((bits(state, stream) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@jit
def normal(state: Any, stream: int) -> float:
    """Draw a float64 from the standard normal distribution (Box and Muller, 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(state, stream)))
    return radius * math.cos(2.0 * math.pi * uniform(state, stream))
