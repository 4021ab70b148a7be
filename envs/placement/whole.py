"""A whole placement in one step: the bandit of Mirhoseini et al. 2017."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import MultiDiscrete

from daedalus.envs.core import Family
from daedalus.envs.placement.kernels import (
    begin,
    show_edges,
    show_outcome,
    show_static,
    simulate_state,
    state_fields,
)
from daedalus.envs.placement.packing import STATIC, Packed, groups_at, unit_at
from daedalus.envs.placement.picture import draw_placement
from daedalus.envs.placement.world import World, amount, spaces_for


class WholeParams(NamedTuple):
    """What is placed, and what failing costs."""

    packed: Packed
    failing: float  # reward units; what a step that runs out of memory counts as


class WholeArrays(NamedTuple):
    """What is seen of a graph, and what the step came to."""

    nodes: np.ndarray
    edges: np.ndarray
    run_time: np.ndarray
    load: np.ndarray
    memory: np.ndarray


def whole_reset(state: Any, params: WholeParams) -> None:
    """Draw the graph. The last placement stays, for the picture: an episode is but one step."""
    begin(state, params.packed)


def whole_step(state: Any, action: np.ndarray, params: WholeParams) -> tuple[float, bool]:
    """Simulate the placement; an episode is one step."""
    packed = params.packed
    for i in range(groups_at(packed, state.graph)):
        state.placement[i] = action[i]
    simulate_state(state, packed)
    if state.excess > 0.0:
        state.cost = 1.0
        return -math.sqrt(params.failing), True
    return -math.sqrt(state.run_time / unit_at(packed, state.graph)), True


def whole_observe(state: Any, params: WholeParams, out: WholeArrays) -> None:
    """Show the graph."""
    if out.nodes.size > 0:
        show_static(state, params.packed, out.nodes)
    if out.edges.size > 0:
        show_edges(state, params.packed, out.edges)
    show_outcome(state, out.run_time, out.load, out.memory)


class DevicePlacement(Family):
    """Place a whole computation on devices in one step; a step of it is then simulated.

    List scheduling: a device runs one operation at a time in the order in which they become ready;
    a finished operation's tensors are sent once to each device that needs them, over links that
    carry one at a time; sending overlaps computing. Groups (co-location classes of the graph,
    merged further if ``groups`` says so) are placed as one.

    Observation:
        nodes: float32 (G, 5); for each group 1 (0 beyond the graph's own groups), its cost and the
            time to send its tensors as shares of the greatest cost of a group, its memory as a
            share of a device's, its place in the topological order as a share.
        edges: int32 (P, 2); pairs of groups between which tensors pass, producer first; -1 where
            there are no more.
    Action:
        MultiDiscrete([D] * G): the device of each group; entries beyond the graph's groups are
        ignored.
    Reward:
        -sqrt(run time); -sqrt(failing) where a device runs out of memory (Mirhoseini et al.'s
        failing signal). Seconds, or times on the fastest device alone. ``info`` has ``run_time`` in
        ms, ``load`` (ms that each device computes) and ``memory`` (GB at each device's peak).
    Cost:
        1 where a device runs out of memory.
    Episode end:
        Terminates after one step.
    Parameters:
        graph: Name of a graph (`daedalus.envs.placement.loaders.graph_names`), ``family:size:seed``
            of a synthetic one (chain, tree, inception, seq2seq), or a .json or .txt file; of
            several one is drawn for each episode.
        groups: Groups at most; 0 for the graph's co-location classes.
        devices: Number of devices; 0 for what the graph's authors had, or 4.
        memory_gb: Memory of each device in GB; 0 for what the authors had, or 16.
        bandwidth_gb: GB/s of the link from each device to each other.
        latency_ms: ms that each transfer takes beside.
        speeds: Relative speed of each device; empty for equal ones.
        unit: What the reward counts: "second", or "single" for the time on the fastest device
            alone.
        failing: Run time that running out of memory counts as.
    Version history:
        v0: first version.
    Source:
        Mirhoseini et al. 2017, "Device placement optimization with reinforcement learning"; graphs
        of Tarnawski et al. 2020 and of PipeDream (Narayanan et al. 2019); link speed of park (Mao
        et al. 2019).
    """

    Params, Arrays = WholeParams, WholeArrays
    observations = ("nodes", "edges")
    infos = ("run_time", "load", "memory")
    time_limit = 0
    fps = 1
    reset, step, observe = whole_reset, whole_step, whole_observe

    def __init__(
        self,
        *,
        graph: str | Sequence[str] = "layer-graphs/gnmt_inference",
        groups: int = 0,
        devices: int = 0,
        memory_gb: float = 0.0,
        bandwidth_gb: float = 7.6,
        latency_ms: float = 0.025,
        speeds: Sequence[float] = (),
        unit: str = "second",
        failing: float = 100.0,
    ) -> None:
        """Load the graphs.

        Raises:
            ValueError: A graph or a number is not valid.
        """
        machine = dict(devices=devices, memory_gb=memory_gb, bandwidth_gb=bandwidth_gb)
        links = dict(latency_ms=latency_ms, speeds=tuple(speeds))
        self.world = World(graph, groups, unit, {**machine, **links})
        packed = self.world.packed
        self.params = WholeParams(packed, amount("failing", failing))
        self.state_dtype = np.dtype(state_fields(packed))
        self.action_space = MultiDiscrete([packed.devices] * packed.groups)
        self.spaces = spaces_for(packed, len(STATIC))
        self.keys = {str(d + 1): [d] * packed.groups for d in range(min(packed.devices, 9))}

    def render(self, state: np.void) -> np.ndarray:
        """Return the graph in the colours of the devices and the Gantt chart of its step."""
        return draw_placement(self.world.problems[int(state["graph"])], state["placement"])

    def panels(self, state: np.void) -> dict[str, Any]:
        """Return what there is to show beside the picture: the step as a Gantt chart."""
        return self.world.panels(state)
