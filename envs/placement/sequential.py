"""Placing one group after the other: from nothing (seq2seq order), or improving (Placeto)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Discrete
from numba.extending import register_jitable

from daedalus.envs.core import Family
from daedalus.envs.placement.kernels import (
    CURRENT,
    PLACED,
    START,
    VISITED,
    begin,
    show_edges,
    show_outcome,
    show_static,
    simulate_state,
    state_fields,
)
from daedalus.envs.placement.machine import GB
from daedalus.envs.placement.packing import Packed, groups_at, unit_at
from daedalus.envs.placement.picture import draw_placement
from daedalus.envs.placement.world import World, amount, spaces_for
from daedalus.envs.random import SPAWN, integers

STARTS = ("single", "random")


class SequentialParams(NamedTuple):
    """What is placed, and how it is paid."""

    packed: Packed
    improves: bool  # a placement is improved; otherwise it is made, and paid at the end
    random: bool  # improvement starts from random devices
    failing: float  # reward units
    penalty: float  # reward units for each GB by which the worst device is too full


class SequentialArrays(NamedTuple):
    """What is seen of graph and placement, and what the last step came to."""

    nodes: np.ndarray
    edges: np.ndarray
    run_time: np.ndarray
    load: np.ndarray
    memory: np.ndarray


def sequential_reset(state: Any, params: SequentialParams) -> None:
    """Draw the graph, and a placement to improve."""
    packed = params.packed
    begin(state, packed)
    for i in range(packed.groups):
        state.placement[i] = 0 if params.improves else -1
        state.start[i] = 0.0
        if params.improves and params.random:
            state.placement[i] = integers(state, SPAWN, packed.devices)
    if params.improves:
        simulate_state(state, packed)
        state.value = _value(state, params)


@register_jitable
def _value(state: Any, params: SequentialParams) -> float:
    """Return rho: run time and memory penalty in reward units."""
    time = state.run_time / unit_at(params.packed, state.graph)
    return time + params.penalty * state.excess / GB


def sequential_step(state: Any, action: int, params: SequentialParams) -> tuple[float, bool]:
    """Place the current group; pay the improvement, or the whole placement once it is complete."""
    packed = params.packed
    moved = state.placement[state.current] != action
    state.placement[state.current] = action
    state.current += 1
    over = state.current == groups_at(packed, state.graph)
    reward = 0.0
    if params.improves:
        before = state.value
        if moved:
            simulate_state(state, packed)
            state.value = _value(state, params)
        reward = before - state.value
    elif over:
        simulate_state(state, packed)
        reward = -math.sqrt(state.run_time / unit_at(packed, state.graph))
        if state.excess > 0.0:
            reward = -math.sqrt(params.failing)
    state.cost = 1.0 if state.excess > 0.0 else 0.0
    return reward, over


def sequential_observe(state: Any, params: SequentialParams, out: SequentialArrays) -> None:
    """Show the graph, how far one is, where groups are and when they start."""
    packed = params.packed
    if out.nodes.size > 0:
        show_static(state, packed, out.nodes)
        _show_placement(state, packed, out.nodes)
    if out.edges.size > 0:
        show_edges(state, packed, out.edges)
    show_outcome(state, out.run_time, out.load, out.memory)


@register_jitable
def _show_placement(state: Any, packed: Packed, nodes: np.ndarray) -> None:
    """Fill the columns that a placement changes."""
    nodes[:, VISITED:] = 0.0
    groups = groups_at(packed, state.graph)
    current = min(state.current, groups - 1)
    span = max(state.run_time, 1e-9)
    for i in range(groups):
        nodes[i, VISITED] = 1.0 if i < state.current else 0.0
        nodes[i, START] = (state.start[i] - state.start[current]) / span
        if state.placement[i] >= 0:
            nodes[i, PLACED + state.placement[i]] = 1.0
    nodes[current, CURRENT] = 1.0


class SequentialPlacement(Family):
    """Place one group after the other, in topological order; each is placed once.

    Simulator, graphs and groups are those of DevicePlacement. ``PlacementGroups`` makes a placement
    from nothing and is paid at the end; ``PlacementImprovement`` is Placeto's: it improves a
    complete placement, and is paid what each move gains.

    Observation:
        nodes: float32 (G, 8 + D); the 5 columns of DevicePlacement, then whether the group has been
            visited and whether it is the current one (0 or 1), the start of its first operation
            after that of the current group as a share of the run time, and its device, one-hot.
        edges: int32 (P, 2); pairs of groups between which tensors pass, producer first; -1 where
            there are no more.
    Action:
        Discrete(D): the device of the current group.
    Reward:
        Improvement: rho before the move - rho after it, with rho = run time + ``memory_penalty``
        for each GB by which the worst device is too full; the rewards of an episode sum to what was
        gained. Making: 0, at the end -sqrt(run time) or -sqrt(failing). Seconds, or times on the
        fastest device alone. ``info`` has ``run_time`` in ms, ``load`` (ms that each device
        computes) and ``memory`` (GB at each device's peak).
    Cost:
        1 in a step after which a device is too full.
    Episode end:
        Terminates when every group has been placed.
    Parameters:
        graph: Name of a graph, ``family:size:seed`` of a synthetic one, or a .json or .txt file; of
            several one is drawn for each episode.
        improves: Improve a placement (Placeto) instead of making one.
        start: Where improvement starts: "single" (all on device 0) or "random".
        groups: Groups at most; 0 for the graph's co-location classes.
        devices: Number of devices; 0 for what the graph's authors had, or 4.
        memory_gb: Memory of each device in GB; 0 for what the authors had, or 16.
        bandwidth_gb: GB/s of the link from each device to each other.
        latency_ms: ms that each transfer takes beside.
        speeds: Relative speed of each device; empty for equal ones.
        unit: What the reward counts: "second", or "single" for the time on the fastest device
            alone.
        failing: Run time that running out of memory counts as, making a placement.
        memory_penalty: Reward units for each GB too much, improving a placement.
    Version history:
        v0: first version.
    Source:
        Addanki et al. 2019, "Placeto: learning generalizable device placement algorithms for
        distributed machine learning"; memory penalty of its code. All groups are visited, the last
        one too (park's version leaves it out).
    """

    Params, Arrays = SequentialParams, SequentialArrays
    observations = ("nodes", "edges")
    infos = ("run_time", "load", "memory")
    time_limit = 0
    keys = {str(i + 1): i for i in range(4)}
    fps = 8
    reset, step, observe = sequential_reset, sequential_step, sequential_observe

    def __init__(
        self,
        *,
        graph: str | Sequence[str] = "layer-graphs/gnmt_inference",
        improves: bool = True,
        start: str = "single",
        groups: int = 0,
        devices: int = 0,
        memory_gb: float = 0.0,
        bandwidth_gb: float = 7.6,
        latency_ms: float = 0.025,
        speeds: Sequence[float] = (),
        unit: str = "second",
        failing: float = 100.0,
        memory_penalty: float = 2.0,
    ) -> None:
        """Load the graphs.

        Raises:
            ValueError: A graph, a word or a number is not valid.
        """
        if start not in STARTS:
            raise ValueError(f"start must be 'single' or 'random', got {start!r}")
        machine = dict(devices=devices, memory_gb=memory_gb, bandwidth_gb=bandwidth_gb)
        links = dict(latency_ms=latency_ms, speeds=tuple(speeds))
        self.world = World(graph, groups, unit, {**machine, **links})
        packed = self.world.packed
        paid = amount("failing", failing), amount("memory_penalty", memory_penalty)
        self.params = SequentialParams(packed, bool(improves), start == "random", *paid)
        self.state_dtype = np.dtype(state_fields(packed))
        self.action_space = Discrete(packed.devices)
        self.spaces = spaces_for(packed, PLACED + packed.devices)

    def render(self, state: np.void) -> np.ndarray:
        """Return the graph in the colours of the devices and the Gantt chart of its step."""
        return draw_placement(self.world.problems[int(state["graph"])], state["placement"])

    def panels(self, state: np.void) -> dict[str, Any]:
        """Return what there is to show beside the picture: the step as a Gantt chart."""
        return self.world.panels(state)
