"""Graphs of any size that look like networks, for policies that must work on graphs unseen.

Costs are drawn log-normally around a millisecond, tensors around a megabyte, as the measured graphs
have them; a share of operations (reshapes, additions) costs almost nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from daedalus.envs.placement.graph import Graph, Operation, build

Pairs = list[tuple[int, int]]
MEGABYTE = 1e6
CHEAP = 0.25
"""Share of operations that take a hundredth of the time."""


def synthetic(family: str, size: int, seed: int = 0) -> Graph:
    """Draw a graph.

    Args:
        family: ``chain``, ``tree``, ``inception`` or ``seq2seq``.
        size: Number of operations, at least 2.
        seed: The same family, size and seed give the same graph.

    Raises:
        ValueError: No such family, or too small.

    Example:
        >>> synthetic("tree", 7).edges()[1].tolist()
        [4, 4, 5, 5, 6, 6]
    """
    if family not in FAMILIES:
        raise ValueError(f"there is no family {family!r}; there are: {', '.join(FAMILIES)}")
    if size < 2:
        raise ValueError(f"a graph needs at least 2 operations, got {size}")
    rng = np.random.default_rng([seed, size, list(FAMILIES).index(family)])
    pairs = FAMILIES[family](size, rng)
    used = {a for a, _ in pairs}
    pairs += [(a, size - 1) for a in range(size - 1) if a not in used]  # one end: the loss
    cost = rng.lognormal(0.0, 0.7, size) * np.where(rng.random(size) < CHEAP, 0.01, 1.0)
    output = (rng.lognormal(0.0, 1.0, size) * MEGABYTE).round()
    parameters = (rng.lognormal(1.0, 1.0, size) * MEGABYTE).round()
    operations = [
        Operation(f"{family} {i}", float(cost[i]), float(parameters[i])) for i in range(size)
    ]
    edges = [(a, b, float(output[a])) for a, b in pairs]
    return build(f"{family}:{size}:{seed}", operations, edges)


def _chain(size: int, rng: np.random.Generator) -> Pairs:
    """One after the other, with a residual connection here and there."""
    pairs = [(i, i + 1) for i in range(size - 1)]
    skips = np.flatnonzero(rng.random(size) < 0.15)
    return pairs + [(int(i), int(i) + 3) for i in skips if i + 3 < size]


def _tree(size: int, rng: np.random.Generator) -> Pairs:
    """Pairs join until one operation is left: ensembles, reductions."""
    return [(i, size - 1 - (size - 2 - i) // 2) for i in range(size - 1)]


def _inception(size: int, rng: np.random.Generator) -> Pairs:
    """Blocks of parallel branches of one to four operations, each joined by one operation."""
    pairs: Pairs = []
    join, next_ = 0, 1
    while next_ < size:
        ends = []
        for length in rng.integers(1, 5, size=rng.integers(2, 6)).tolist():
            last = join
            for _ in range(min(length, size - 1 - next_)):
                pairs.append((last, next_))
                last, next_ = next_, next_ + 1
            if last != join:
                ends.append(last)
        pairs += [(end, next_) for end in ends or [join]]
        join, next_ = next_, next_ + 1
    return pairs


def _seq2seq(size: int, rng: np.random.Generator) -> Pairs:
    """Encoder and decoder of two to four layers, unrolled in time, with attention."""
    layers = min(int(rng.integers(2, 5)), max(size // 4, 1))
    steps = -(-size // layers)
    pairs: Pairs = []
    for i in range(size):
        step, layer = divmod(i, layers)
        if layer + 1 < layers and i + 1 < size:
            pairs.append((i, i + 1))
        if i + layers < size:
            pairs.append((i, i + layers))
        if layer == 0 and step >= steps // 2 > 0:  # a decoder's step sees the encoder's top
            seen = (step - steps // 2) * layers + layers - 1
            if seen < i:
                pairs.append((seen, i))
    return pairs


FAMILIES: dict[str, Callable[[int, np.random.Generator], Pairs]] = {
    "chain": _chain,
    "tree": _tree,
    "inception": _inception,
    "seq2seq": _seq2seq,
}
