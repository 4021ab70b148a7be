"""Reading graphs: what ships, files of dnn-partitioning, profiles of PipeDream, synthetic ones.

What ships is measured: the layer and operator graphs of Tarnawski et al. 2020 ("Efficient
algorithms for device placement of DNN graph operators") and the profiles of Narayanan et al. 2019
("PipeDream"), both from Microsoft under the MIT licence.
"""

from __future__ import annotations

import functools
import json
import re
from collections import defaultdict
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.envs.placement.graph import Graph, GraphError, Operation, build
from daedalus.envs.placement.synthetic import FAMILIES, synthetic

DATA = Path(__file__).parent / "data"
EXPERTS = DATA / "human-experts"
MAX_BYTES = 256 * 1024 * 1024
"""Longest file that is read."""
STATE = 3.0
"""Memory of a trained parameter: itself, its gradient, its momentum."""
_LINE = re.compile(
    r"(?P<name>\S+) -- (?P<what>.*) -- forward_compute_time=(?P<forward>\S+), "
    r"backward_compute_time=(?P<backward>\S+), activation_size=(?P<size>\[.*\]|\S+), "
    r"parameter_size=(?P<parameters>\S+)$"
)


def graph_names() -> list[str]:
    """Return the names of the graphs that ship, sorted."""
    found = [
        path.relative_to(DATA).with_suffix("").as_posix()
        for path in DATA.rglob("*.json")
        if path.parent != EXPERTS
    ]
    for path in DATA.glob("pipedream/*.txt"):
        if path.stem != "LICENSE":
            found += [f"pipedream/{path.stem}_{mode}" for mode in ("inference", "training")]
    return sorted(found)


@functools.lru_cache(maxsize=64)
def load_graph(name: str) -> Graph:
    """Return a graph by name.

    Args:
        name: Of a graph that ships (``"layer-graphs/gnmt_inference"``), ``"family:size"`` or
            ``"family:size:seed"`` of a synthetic one (``"inception:200:7"``), or the path of a
            .json file of dnn-partitioning or a .txt profile of PipeDream (a training step).

    Raises:
        GraphError: There is none, or the file is malformed.

    Example:
        >>> load_graph("layer-graphs/gnmt_inference").operations
        96
    """
    if name in graph_names():
        return _shipped(name)
    family, *numbers = name.split(":")
    if family in FAMILIES and 1 <= len(numbers) <= 2 and all(n.isdigit() for n in numbers):
        return synthetic(family, int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0)
    path = Path(name)
    if path.suffix in (".json", ".txt") and path.is_file():
        read = read_json if path.suffix == ".json" else read_pipedream
        return read(path)
    close = get_close_matches(name, graph_names(), n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise GraphError(
        f"there is no graph {name!r}{hint} (a shipped name, a .json or .txt file, or "
        f"family:size:seed with {', '.join(FAMILIES)})"
    )


def _shipped(name: str) -> Graph:
    if not name.startswith("pipedream/"):
        return replace(read_json(DATA / f"{name}.json"), name=name)
    stem, _, mode = name.rpartition("_")
    return replace(read_pipedream(DATA / f"{stem}.txt", mode == "training"), name=name)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise GraphError(f"{path}: longer than {MAX_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"{path}: cannot be read as UTF-8 text: {error}") from None


# ------------------------------------------------------------------------------ dnn-partitioning


def read_json(path: Path) -> Graph:
    """Read an operator or layer graph of dnn-partitioning.

    The stored transfer costs have unit errors and are ignored; ``size`` of an edge is what counts.
    ``size`` of a node is all its memory, activations with it. Layer graphs of training store the
    backward pass in the direction of the forward pass and without a tie to it; such edges are
    reversed here, and a backward operation waits for the forward ones of its colour.

    Raises:
        GraphError: Not such a file; says what is missing or wrong.
    """
    try:
        data = json.loads(_text(path))
    except ValueError as error:
        raise GraphError(f"{path}: not valid JSON: {error}") from None
    nodes, edges = (_field(path, data, name, list) for name in ("nodes", "edges"))
    index: dict[int, int] = {}
    operations, backward = [], []
    for i, node in enumerate(nodes):
        number = int(_number(f"{path}, node {i}", node, "id"))
        if number in index:
            raise GraphError(f"{path}, node {i}: the id {number} stands there twice")
        index[number] = i
        cost, size = (_number(f"{path}, node {number}", node, k) for k in ("fpgaLatency", "size"))
        colour = node.get("colorClass")
        operations.append(Operation(str(node.get("name", number)), cost, size, colour))
        backward.append(bool(node.get("isBackwardNode", False)))
    links = [_link(path, i, edge, index) for i, edge in enumerate(edges)]
    links = _joined_passes(operations, backward, links)
    graph = build(str(path), operations, links, keep=False, identity=list(index))
    devices = int(data.get("maxFPGAs", 0))
    return replace(graph, devices=devices, memory=float(data.get("maxSizePerFPGA", 0.0)))


def _field(where: object, data: Any, name: str, kind: type) -> Any:
    if not isinstance(data, dict) or not isinstance(data.get(name), kind):
        raise GraphError(f"{where}: the field {name!r} is missing or no {kind.__name__}")
    return data[name]


def _number(where: str, data: Any, name: str) -> float:
    value = data.get(name) if isinstance(data, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GraphError(f"{where}: the field {name!r} is missing or no number")
    return float(value)


def _link(path: Path, i: int, edge: Any, index: dict[int, int]) -> tuple[int, int, float]:
    where = f"{path}, edge {i}"
    ends = [int(_number(where, edge, name)) for name in ("sourceId", "destId")]
    for number in ends:
        if number not in index:
            raise GraphError(f"{where}: there is no node {number}")
    return index[ends[0]], index[ends[1]], _number(where, edge, "size")


def _joined_passes(
    operations: list[Operation], backward: list[bool], links: list[tuple[int, int, float]]
) -> list[tuple[int, int, float]]:
    """Tie a backward pass that stands apart to the forward pass, in its own direction."""
    if not any(backward) or any(backward[a] != backward[b] for a, b, _ in links):
        return links
    joined = [(b, a, size) if backward[a] else (a, b, size) for a, b, size in links]
    forward = defaultdict(list)
    for i, operation in enumerate(operations):
        if not backward[i]:
            forward[operation.colour].append(i)
    joined += [
        (a, b, 0.0)
        for b, operation in enumerate(operations)
        if backward[b]
        for a in forward[operation.colour]
    ]
    return joined


# ------------------------------------------------------------------------------------- PipeDream


def read_pipedream(path: Path, training: bool = True) -> Graph:
    """Read a profile of PipeDream.

    The forward time of an Input is the loading of data and counts as 0. For a training step each
    layer has a backward operation on the same device, which waits for the layer's output; its
    parameters take `STATE` times their size.

    Raises:
        GraphError: Not such a file; says which line is wrong.
    """
    layers: dict[str, tuple[str, list[float]]] = {}
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        where = f"{path}, line {number}"
        if line.startswith("\t"):
            ends = [end.strip() for end in line.split("--")]
            if len(ends) != 2:
                raise GraphError(f"{where}: expected 'nodeA -- nodeB'")
            pairs.append((ends[0], ends[1]))
        elif line.strip():
            layers.update([_layer(where, line)])
    names = list(layers)
    index = {name: i for i, name in enumerate(names)}
    for a, b in pairs:
        if a not in index or b not in index:
            raise GraphError(f"{path}: the edge {a} -- {b} leads to no layer")
    links = [(index[a], index[b], layers[a][1][2]) for a, b in pairs]
    return _pipeline(path, list(layers.values()), links, training)


def _layer(where: str, line: str) -> tuple[str, tuple[str, list[float]]]:
    """Return name and (description, [forward, backward, output bytes, parameter bytes])."""
    match = _LINE.match(line)
    if not match:
        raise GraphError(
            f"{where}: expected 'node -- description -- forward_compute_time=..., "
            "backward_compute_time=..., activation_size=..., parameter_size=...'"
        )
    try:
        size = sum(float(part) for part in match["size"].strip("[]").split(";"))
        numbers = [float(match[name]) for name in ("forward", "backward", "parameters")]
    except ValueError:
        raise GraphError(f"{where}: a time or size is no number") from None
    forward, backward, parameters = numbers
    if match["what"].startswith("Input"):
        forward = 0.0
    return match["name"], (match["what"], [forward, backward, size, parameters])


def _pipeline(
    path: Path,
    layers: list[tuple[str, list[float]]],
    links: list[tuple[int, int, float]],
    training: bool,
) -> Graph:
    """Lay out the forward operations, and behind them the backward ones in reverse."""
    n = len(layers)
    state = STATE if training else 1.0
    operations = [
        Operation(what.partition("(")[0], forward, state * parameters, i)
        for i, (what, (forward, _, _, parameters)) in enumerate(layers)
    ]
    if training:
        for i in reversed(range(n)):
            what, (_, backward, size, _) = layers[i]
            operations.append(Operation(f"{what.partition('(')[0]} backward", backward, 0.0, i))
            links = [*links, (i, 2 * n - 1 - i, size)]
        links += [(2 * n - 1 - b, 2 * n - 1 - a, size) for a, b, size in links if b < n]
    return build(str(path), operations, links)


# --------------------------------------------------------------------------------- experts' splits


def expert_split(name: str) -> np.ndarray | None:
    """Return the device of every operation as human experts chose, or None.

    Args:
        name: Of a layer graph that ships. Graphs without a split of their own take the one of the
            same network's inference: the backward operation of a layer goes where the layer goes.

    Returns:
        int32 (N,), in the order of the graph's operations.
    """
    folder, _, stem = name.rpartition("/")
    if folder not in ("layer-graphs", "layer-graphs-latency"):
        return None
    graph = load_graph(name)
    assert graph.identity is not None
    own = EXPERTS / f"{stem}_expert.json"
    path = own if own.exists() else EXPERTS / f"{stem.replace('training', 'inference')}_expert.json"
    if not path.exists():
        return None
    parts = json.loads(_text(path))["fpgas"]
    device = {number: d for d, part in enumerate(parts) for number in part["nodes"]}
    chosen = {
        int(group): device[number]
        for group, number in zip(graph.arrays.group, graph.identity.tolist(), strict=True)
        if number in device
    }
    return np.array([chosen[int(group)] for group in graph.arrays.group], np.int32)
