"""Checking an environment before anything is trained on it.

`check` runs Gymnasium's checker, stable-baselines3's and ours; the last plays the environment again
and again and
compares to the last bit: a second instance, a used one, two side by side, other processes with
    other hash seeds, other batch sizes, thread counts and autoreset modes.
"""

from __future__ import annotations

import warnings
from typing import Any

from daedalus.envs.checker.external import check_external
from daedalus.envs.checker.findings import CheckResult, EnvironmentCheckError, Finding
from daedalus.envs.checker.maker import Target, make_maker
from daedalus.envs.checker.replay import Replayers
from daedalus.envs.checker.single import SingleCheck, Times
from daedalus.envs.checker.trace import Plan, describe_error
from daedalus.envs.checker.vector import VectorCheck

__all__ = ["CheckResult", "EnvironmentCheckError", "Finding", "Replayers", "check"]


def check(
    env: Target,
    *,
    seed: int = 123,
    steps: int = 1000,
    episodes: int = 3,
    deadline: float = 1.0,
    patience: float = 30.0,
    seconds: float = 5.0,
    external: bool = True,
    replayers: Replayers | None = None,
    **kwargs: Any,
) -> CheckResult:
    """Check an environment: its single face, and its vector face where there is one.

    Args:
        env: An id (``"module:Id"`` too), a class or function that makes a `gymnasium.Env` or a
            `VectorEnv`, or an environment made from an id.
        seed: Seed of everything that is drawn.
        steps: Steps of one play at most.
        episodes: Episodes of one play at most.
        deadline: Longest time that a call of ``step`` or ``reset`` may take, in s, after the first
            two.
        patience: A call that takes longer than this is given up, in s.
        seconds: Wall time of one play at most, in s; there are about eight.
        external: Also run Gymnasium's and stable-baselines3's checkers, if ours found no error.
        replayers: Child processes to share between many checks; otherwise they are started and
            ended here.
        **kwargs: Parameters of the environment.

    Returns:
        The findings; `CheckResult.ok` says whether there was an error, ``str()`` gives the report.

    Example:
        >>> result = check("CartPole-v1", external=False)
        >>> result.ok
        True
    """
    name = env if isinstance(env, str) else getattr(env, "__name__", str(env))
    result = CheckResult(name)
    try:
        maker = make_maker(env, **kwargs)
    except Exception as error:
        result.add(
            Finding("construct", "environment", "any", "something to make", describe_error(error))
        )
        return result
    plan = Plan(seed=seed, steps=steps, episodes=episodes, seconds=seconds)
    children = replayers or Replayers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the environment; those of the checkers become notes
        if maker.single is not None:
            SingleCheck(maker, result, plan, Times(deadline, patience), children).run()
            if external and result.ok:
                check_external(maker, result)
        if maker.vector is not None:
            VectorCheck(maker, result, plan).run()
    if replayers is None:
        children.close()
    return result
