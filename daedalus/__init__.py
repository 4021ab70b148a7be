"""Daedalus: a reinforcement-learning suite for Gymnasium.

``import daedalus`` registers the environments with Gymnasium and loads nothing heavy: the names
below are imported when they are first used. One whose optional package is missing says in one line
which command installs it.

>>> import daedalus
>>> env = daedalus.make("daedalus/Catch-v0")
>>> env.observation_space.shape
(10, 5)
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymnasium import make, make_vec

__version__ = "0.1.0"

if not Path(__file__).with_name("envs").is_dir():  # a checkout: the folders stand beside this one
    __path__.append(str(Path(__file__).parents[1]))

from daedalus.envs import register  # found through __path__; registers every id with Gymnasium

if TYPE_CHECKING:  # the same names for type checkers and editors; a test holds the two equal
    from daedalus.accelerators.vector import make_batch
    from daedalus.agents import agent_names, make_agent, register_agent
    from daedalus.agents.actor_critic import ActorCritic
    from daedalus.agents.base import Agent
    from daedalus.agents.comm import Comm
    from daedalus.agents.cpo import CPO
    from daedalus.agents.distral import Distral
    from daedalus.agents.feudal import Feudal
    from daedalus.agents.hierarchical_placer import HierarchicalPlacer
    from daedalus.agents.iql import IQL
    from daedalus.agents.nav import Nav
    from daedalus.agents.pdo import PDO
    from daedalus.agents.pgq import PGQ
    from daedalus.agents.placer import Placer
    from daedalus.agents.placeto import Placeto
    from daedalus.agents.ppo_lagrangian import PPOLagrangian
    from daedalus.agents.progressive import Progressive
    from daedalus.agents.qprop import QProp
    from daedalus.agents.sb3 import A2C, ARS, DDPG, DQN, PPO, QRDQN, SAC, TD3, TQC, TRPO, CrossQ

    # isort: split
    from daedalus.agents.sb3 import MaskablePPO, RecurrentPPO
    from daedalus.agents.training import train
    from daedalus.agents.trpo_penalty import TRPOPenalty
    from daedalus.agents.unreal import UNREAL
    from daedalus.agents.urex import UREX
    from daedalus.agents.web import Web
    from daedalus.envs.batch import Batch
    from daedalus.envs.core import Family
    from daedalus.evaluation.benchmark import benchmark
    from daedalus.evaluation.evaluate import evaluate
    from daedalus.evaluation.plan import plan_from
    from daedalus.evaluation.probes.robustness import robustness
    from daedalus.evaluation.watch import watch
    from daedalus.scenarios import Scenario
    from daedalus.scenarios import load as load_scenario

_LAZY = {
    "Agent": "daedalus.agents.base",
    "ActorCritic": "daedalus.agents.actor_critic",
    "Batch": "daedalus.envs.batch",
    "CPO": "daedalus.agents.cpo",
    "Distral": "daedalus.agents.distral",
    "Comm": "daedalus.agents.comm",
    "Family": "daedalus.envs.core",
    "Feudal": "daedalus.agents.feudal",
    "HierarchicalPlacer": "daedalus.agents.hierarchical_placer",
    "IQL": "daedalus.agents.iql",
    "Nav": "daedalus.agents.nav",
    "PDO": "daedalus.agents.pdo",
    "PPOLagrangian": "daedalus.agents.ppo_lagrangian",
    "PGQ": "daedalus.agents.pgq",
    "Placer": "daedalus.agents.placer",
    "Placeto": "daedalus.agents.placeto",
    "Progressive": "daedalus.agents.progressive",
    "QProp": "daedalus.agents.qprop",
    "Scenario": "daedalus.scenarios",
    "TRPOPenalty": "daedalus.agents.trpo_penalty",
    "UNREAL": "daedalus.agents.unreal",
    "UREX": "daedalus.agents.urex",
    "Web": "daedalus.agents.web",
    "agent_names": "daedalus.agents",
    "benchmark": "daedalus.evaluation.benchmark",
    "evaluate": "daedalus.evaluation.evaluate",
    "load_scenario": "daedalus.scenarios:load",
    "make_agent": "daedalus.agents",
    "make_batch": "daedalus.accelerators.vector",
    "plan_from": "daedalus.evaluation.plan",
    "register_agent": "daedalus.agents",
    "robustness": "daedalus.evaluation.probes.robustness",
    "train": "daedalus.agents.training",
    "watch": "daedalus.evaluation.watch",
}
"""Public name -> its module, followed by ``:name`` where it goes by another name there."""

_SB3 = "A2C ARS CrossQ DDPG DQN MaskablePPO PPO QRDQN RecurrentPPO SAC TD3 TQC TRPO"
_LAZY |= dict.fromkeys(_SB3.split(), "daedalus.agents.sb3")

_FOLDERS = ("accelerators", "agents", "evaluation", "scenarios")

__all__ = [
    "A2C",
    "ARS",
    "CPO",
    "DDPG",
    "DQN",
    "IQL",
    "PDO",
    "PGQ",
    "PPO",
    "QRDQN",
    "SAC",
    "TD3",
    "TQC",
    "TRPO",
    "UNREAL",
    "UREX",
    "ActorCritic",
    "Agent",
    "Batch",
    "Comm",
    "CrossQ",
    "Distral",
    "Family",
    "Feudal",
    "HierarchicalPlacer",
    "MaskablePPO",
    "Nav",
    "PPOLagrangian",
    "Placer",
    "Placeto",
    "Progressive",
    "QProp",
    "RecurrentPPO",
    "Scenario",
    "TRPOPenalty",
    "Web",
    "agent_names",
    "benchmark",
    "evaluate",
    "load_scenario",
    "make",
    "make_agent",
    "make_batch",
    "make_vec",
    "plan_from",
    "register",
    "register_agent",
    "robustness",
    "train",
    "watch",
]


if not TYPE_CHECKING:  # or checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used.

        Raises:
            AttributeError: there is no such name.
            MissingExtraError: it needs an optional package that is not installed.
        """
        if name in _FOLDERS:
            return import_module(f"daedalus.{name}")
        if name not in _LAZY:
            raise AttributeError(f"module 'daedalus' has no attribute {name!r}")
        from daedalus.scenarios.extras import needed

        module, _, original = _LAZY[name].partition(":")
        with needed():
            value = getattr(import_module(module), original or name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
