"""Several agents that act at once, with PettingZoo's parallel face beside Gymnasium's.

The worlds go by PettingZoo's names, so that one line changes where others have MPE2, and are in its
registry (from version 1.27 on) once this package is imported:

    from daedalus.envs.cooperation import cooperative_navigation_v0

    env = cooperative_navigation_v0.parallel_env(max_cycles=25)
    env = pettingzoo.make("parallel", "daedalus/CooperativeNavigation-v0")

How several agents fit the engine: a joint step is one step of the kernel, with one entry of the
action for each agent; arrays begin with an axis of agents; ``step`` leaves their rewards in the
state and returns the mean. Nothing else in the engine knows of agents. The faces are views of the
same batch: Gymnasium's shows one player who moves all (``MultiDiscrete``), PettingZoo's cuts its
arrays by agent, and ``daedalus.accelerators.agent_rows.AgentRows`` makes each agent of each copy a
row, for algorithms that know one agent.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

from daedalus.scenarios.extras import require

WORLDS = {
    "cooperative_navigation_v0": "daedalus/CooperativeNavigation-v0",
    "speaker_listener_v0": "daedalus/SpeakerListener-v0",
    "predator_prey_v0": "daedalus/PredatorPrey-v0",
    "referential_game_v0": "daedalus/ReferentialGame-v0",
    "climbing_game_v0": "daedalus/ClimbingGame-v0",
    "skirmish_v0": "daedalus/Skirmish-v0",
}
"""PettingZoo's name of a world -> its id."""

__all__ = ["WORLDS", "env", "parallel_env"]


def parallel_env(env_id: str, **kwargs: Any) -> Any:
    """Return a world of several agents as a PettingZoo ``ParallelEnv``.

    Args:
        env_id: Id of a native family with agents.
        **kwargs: ``render_mode``, ``max_cycles`` (steps of an episode) and the family's parameters.

    Raises:
        MissingExtraError: PettingZoo is not installed.
    """
    require("pettingzoo", extra="multiagent")
    from daedalus.envs.cooperation.parallel import ParallelWorld

    return ParallelWorld(env_id, **kwargs)


def env(env_id: str, **kwargs: Any) -> Any:
    """Return a world as a PettingZoo ``AECEnv``, one agent after the other; see `parallel_env`."""
    made = parallel_env(env_id, **kwargs)
    from pettingzoo.utils import parallel_to_aec

    return parallel_to_aec(made)


def __getattr__(name: str) -> SimpleNamespace:
    """Return a world as PettingZoo's modules are: with ``parallel_env`` and ``env``."""
    if name not in WORLDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = (functools.partial(make, WORLDS[name]) for make in (parallel_env, env))
    return SimpleNamespace(**dict(zip(("parallel_env", "env"), made, strict=True)))


def _register() -> None:
    """Enter the worlds into PettingZoo's registry, where it is installed and has one."""
    try:
        from pettingzoo import register
    except ImportError:
        return
    for env_id in WORLDS.values():
        register("parallel", env_id, f"{__name__}:parallel_env", kwargs={"env_id": env_id})
        register("aec", env_id, f"{__name__}:env", kwargs={"env_id": env_id})


_register()
