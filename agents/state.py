"""An agent's state as named tensors and plain data, and back."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from daedalus.agents.spaces import space_to_json

if TYPE_CHECKING:
    from daedalus.agents.base import Agent


def state_of(agent: Agent) -> tuple[dict[str, Tensor | np.ndarray], dict[str, Any]]:
    """Return everything that the training of ``agent`` depends on; see `Agent.get_state`."""
    tensors: dict[str, Tensor | np.ndarray] = {}
    for name, module in agent.modules.items():
        tensors.update({f"{name}/{k}": v for k, v in module.state_dict().items()})
    optimizers = {}
    for name, optimizer in agent.optimizers.items():
        arrays, optimizers[name] = optimizer_state(optimizer)
        tensors.update({f"optimizer/{name}/{k}": v for k, v in arrays.items()})
    for name, generator in agent.generators.items():
        tensors[f"generator/{name}"] = generator.get_state()
    for name, store in agent.stores.items():
        tensors.update({f"store/{name}/{k}": v for k, v in store.get_state().items()})
    if agent.consolidation is not None:
        kept = agent.consolidation.get_state()
        tensors.update({f"consolidation/{k}": v for k, v in kept.items()})
    if agent.collector is not None:
        collected = agent.collector.get_state()
        tensors.update({f"collector/{k}": v for k, v in collected.items()})
    return tensors, {**_header(agent), "optimizers": optimizers}


def _header(agent: Agent) -> dict[str, Any]:
    return {
        "agent": agent.name,
        "config": dataclasses.asdict(agent.config),
        "seed": agent.seed,
        "num_envs": agent.copies,
        "num_timesteps": agent.num_timesteps,
        "num_updates": agent.num_updates,
        "num_prepared": agent.num_prepared,
        "total_timesteps": agent.total_timesteps,
        "finished_tasks": agent.finished_tasks,
        "task_started": agent.task_started,
        "rng": agent.rng.bit_generator.state,
        "episodes": list(agent.ep_info_buffer),
        "observation_spaces": {k: space_to_json(s) for k, s in agent.spaces.observation.items()},
        "action_space": space_to_json(agent.spaces.action),
        "label_spaces": {k: space_to_json(s) for k, s in agent.spaces.label.items()},
    }


def restore(
    agent: Agent, tensors: Mapping[str, np.ndarray | Tensor], state: Mapping[str, Any]
) -> None:
    """Restore what `state_of` returned; see `Agent.set_state`.

    Raises:
        ValueError: The state is of another agent or of other spaces.
    """
    _check(agent, state)
    parts = _Parts(tensors)
    for name, module in agent.modules.items():
        _check_shapes(name, module, parts[name])
    for name, module in agent.modules.items():
        module.load_state_dict({k: torch.as_tensor(v) for k, v in parts[name].items()})
    for name, optimizer in agent.optimizers.items():
        load_optimizer_state(optimizer, parts[f"optimizer/{name}"], state["optimizers"][name])
    _set_generators(agent, parts["generator"])
    if agent.consolidation is not None:
        agent.consolidation.set_state(parts["consolidation"])
    if agent.collector is not None:
        _set_experience(agent, parts, int(state["num_envs"]))
    agent.rng.bit_generator.state = state["rng"]
    agent.ep_info_buffer.clear()
    agent.ep_info_buffer.extend(state["episodes"])
    agent.finished_tasks = list(
        state.get("finished_tasks", [])
    )  # none in checkpoints of earlier versions
    agent.task_started = int(state.get("task_started", 0))
    agent.num_prepared = int(state.get("num_prepared", 0))
    for field in ("num_timesteps", "num_updates", "total_timesteps"):
        setattr(agent, field, int(state[field]))


def _set_generators(agent: Agent, saved: Mapping[str, Any]) -> None:
    """Restore the generators; one saved on another kind of device stays as it was seeded."""
    states = {name: torch.as_tensor(value).cpu() for name, value in saved.items()}
    fits = {n: len(states[n]) == len(g.get_state()) for n, g in agent.generators.items()}
    for name, generator in agent.generators.items():
        if fits[name]:
            generator.set_state(states[name])
    if not all(fits.values()):
        warnings.warn(
            f"saved on another kind of device than {agent.device.type}, whose random numbers are "
            "others: draws go on differently",
            stacklevel=5,
        )


def _set_experience(agent: Agent, parts: _Parts, num_envs: int) -> None:
    """Restore environments and replay; another number of environments starts anew."""
    assert agent.collector is not None
    if num_envs != agent.copies:
        if num_envs:
            warnings.warn(
                f"saved with {num_envs} environments, loaded with {agent.copies}: episodes "
                "begin anew and the replay is empty; training does not go on bit for bit",
                stacklevel=5,
            )
        return
    for name, store in agent.stores.items():
        store.set_state(parts[f"store/{name}"])
    agent.collector.set_state({k: np.asarray(v) for k, v in parts["collector"].items()})


def _check(agent: Agent, state: Mapping[str, Any]) -> None:
    if state["agent"] != agent.name:
        raise ValueError(f"this is a checkpoint of {state['agent']!r}, not of {agent.name!r}")
    mine = _header(agent)
    for field in ("observation_spaces", "action_space"):
        if mine[field] != state[field]:
            raise ValueError(
                f"the checkpoint's {field.replace('_', ' ')} is {state[field]}, "
                f"the environment's is {mine[field]}"
            )


def _check_shapes(name: str, module: nn.Module, saved: Mapping[str, Any]) -> None:
    """Raise in one line where ``load_state_dict`` would list every difference."""
    mine = module.state_dict()
    for key in [*mine, *saved]:
        here = tuple(mine[key].shape) if key in mine else "nothing"
        there = tuple(saved[key].shape) if key in saved else "nothing"
        if here != there:
            raise ValueError(
                f"{name}/{key} has shape {there} in the checkpoint and {here} in this agent: "
                "make the agent with the checkpoint's settings"
            )


class _Parts(dict[str, dict[str, Any]]):
    """Tensors grouped by prefix: ``parts["a/b"]["c"]`` is the tensor ``"a/b/c"``."""

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        super().__init__()
        self._tensors = tensors

    def __missing__(self, prefix: str) -> dict[str, Any]:
        head = prefix + "/"
        found = {k[len(head) :]: v for k, v in self._tensors.items() if k.startswith(head)}
        self[prefix] = found
        return found


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of an optimiser's state by name, and the rest for JSON."""
    full = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for index, entries in full["state"].items():
        for key, value in entries.items():
            (tensors if isinstance(value, Tensor) else rest)[f"{index}/{key}"] = value
    return tensors, {"rest": rest, "groups": full["param_groups"]}


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    """Restore a copy of what `optimizer_state` returned."""
    entries: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **state["rest"]}.items():
        index, key = name.split("/", 1)
        kept = torch.as_tensor(value).clone() if name in tensors else value
        entries.setdefault(int(index), {})[key] = kept
    optimizer.load_state_dict({"state": entries, "param_groups": list(state["groups"])})
