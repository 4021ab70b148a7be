"""What the families are configured by: graphs, machine, spaces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box

from daedalus.envs.placement.groups import coarsen
from daedalus.envs.placement.loaders import load_graph
from daedalus.envs.placement.packing import LARGEST, Packed, pack
from daedalus.envs.placement.picture import gantt_rows
from daedalus.envs.placement.problem import Problem, default_machine

UNITS = ("second", "single")


class World:
    """Graphs on one machine.

    Attributes:
        problems: One for each graph.
        packed: The same for the kernels.
    """

    def __init__(
        self, graph: str | Sequence[str], groups: int, unit: str, machine: Mapping[str, Any]
    ) -> None:
        """Load the graphs; see `DevicePlacement` for the parameters.

        Several graphs share the machine of the first.

        Raises:
            ValueError: A graph, the unit or a number is not valid.
        """
        if unit not in UNITS:
            raise ValueError(f"unit must be 'second' or 'single', got {unit!r}")
        names = [graph] if isinstance(graph, str) else list(graph)
        if not names:
            raise ValueError("a placement needs at least one graph")
        graphs = [load_graph(name) for name in names]
        if groups:
            graphs = [coarsen(one, groups) for one in graphs]
        made = default_machine(graphs[0], **machine)
        self.problems = [Problem(one, made) for one in graphs]
        self.packed = pack(self.problems, unit)

    def panels(self, state: np.void) -> dict[str, Any]:
        """Return the Gantt chart of a complete placement, for a page that follows an episode."""
        problem = self.problems[int(state["graph"])]
        chosen = state["placement"][: problem.graph.groups]
        if (chosen < 0).any():
            return {}
        return {"step (ms)": gantt_rows(problem.run(chosen), problem.graph.labels)}


def amount(name: str, value: float) -> float:
    """Return what something costs, in reward units.

    Raises:
        ValueError: It is negative, infinite or no number.
    """
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and 0 or more, got {value:g}")
    return float(value)


def spaces_for(packed: Packed, columns: int) -> dict[str, Space[Any]]:
    """Return the spaces of what is shown, with ``columns`` for each group."""
    devices, high = packed.devices, np.inf
    return {
        "nodes": Box(-1.0, LARGEST, (packed.groups, columns), np.float32),
        "edges": Box(-1, packed.groups - 1, (packed.pairs, 2), np.int32),
        "run_time": Box(0.0, high, (1,), np.float32),
        "load": Box(0.0, high, (devices,), np.float32),
        "memory": Box(0.0, high, (devices,), np.float32),
    }
