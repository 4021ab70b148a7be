"""Agents: one file per algorithm, read top to bottom; a registry that loads them when asked for.

>>> from daedalus.agents import agent_names
>>> "unreal" in agent_names()
True
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any, Never

_AGENTS: dict[str, str] = {}


def register_agent(name: str, entry_point: str | type) -> None:
    """Register an agent.

    Args:
        name: What the command line and scenarios call it.
        entry_point: ``"module:Class"``, imported when it is first used, or the class itself.

    Raises:
        ValueError: The name is taken by another agent.
    """
    if not isinstance(entry_point, str):
        _LOADED[name] = entry_point
        entry_point = f"{entry_point.__module__}:{entry_point.__qualname__}"
    if _AGENTS.get(name, entry_point) != entry_point:
        raise ValueError(f"agent {name!r} is already registered as {_AGENTS[name]}")
    _AGENTS[name] = entry_point


_LOADED: dict[str, Any] = {}


def agent_names() -> list[str]:
    """Return the names of all registered agents, sorted."""
    return sorted(_AGENTS)


def entry_point(name: str) -> str:
    """Return where a registered agent is, as ``"module:Class"``, without importing it."""
    return _AGENTS[name]


def make_agent(name: str, *environment: Never, **settings: Never) -> Any:
    """Return the class of an agent; call it to make one: ``make_agent("ppo")("CartPole-v1")``.

    Args:
        name: A registered name, or ``"module:Class"``; ``"module:name"`` imports ``module``
            (which registers) first.
        environment: None: they are for the class.
        settings: None, likewise.

    Raises:
        ValueError: Unknown; the message names the nearest known agent.
        TypeError: There are further arguments.
    """
    if environment or settings:
        raise TypeError(
            f"make_agent({name!r}) takes no environment and no settings: it returns the class, "
            f"which does, as in make_agent({name!r})(env)"
        )
    module, _, attribute = name.rpartition(":")
    if module:
        found = getattr(importlib.import_module(module), attribute, None)
        if isinstance(found, type):
            return found
        name = attribute
    if name not in _AGENTS:
        near = difflib.get_close_matches(name, _AGENTS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown agent {name!r}{hint} Known: {', '.join(agent_names())}")
    if name not in _LOADED:
        module, _, attribute = _AGENTS[name].partition(":")
        _LOADED[name] = getattr(importlib.import_module(module), attribute)
    return _LOADED[name]


register_agent("actor_critic", "daedalus.agents.actor_critic:ActorCritic")
register_agent("unreal", "daedalus.agents.unreal:UNREAL")
register_agent("nav", "daedalus.agents.nav:Nav")
register_agent("cpo", "daedalus.agents.cpo:CPO")
register_agent("pdo", "daedalus.agents.pdo:PDO")
register_agent("trpo_penalty", "daedalus.agents.trpo_penalty:TRPOPenalty")
register_agent("ppo_lagrangian", "daedalus.agents.ppo_lagrangian:PPOLagrangian")
register_agent("feudal", "daedalus.agents.feudal:Feudal")
register_agent("pgq", "daedalus.agents.pgq:PGQ")
register_agent("distral", "daedalus.agents.distral:Distral")
register_agent("progressive", "daedalus.agents.progressive:Progressive")
register_agent("qprop", "daedalus.agents.qprop:QProp")
register_agent("urex", "daedalus.agents.urex:UREX")
register_agent("web", "daedalus.agents.web:Web")
register_agent("placer", "daedalus.agents.placer:Placer")
register_agent("hierarchical_placer", "daedalus.agents.hierarchical_placer:HierarchicalPlacer")
register_agent("placeto", "daedalus.agents.placeto:Placeto")
register_agent("comm", "daedalus.agents.comm:Comm")
register_agent("iql", "daedalus.agents.iql:IQL")

for _name, _class in {
    "a2c": "A2C",
    "ars": "ARS",
    "crossq": "CrossQ",
    "ddpg": "DDPG",
    "dqn": "DQN",
    "maskable_ppo": "MaskablePPO",
    "ppo": "PPO",
    "qrdqn": "QRDQN",
    "recurrent_ppo": "RecurrentPPO",
    "sac": "SAC",
    "td3": "TD3",
    "tqc": "TQC",
    "trpo": "TRPO",
}.items():
    register_agent(_name, f"daedalus.agents.sb3:{_class}")
