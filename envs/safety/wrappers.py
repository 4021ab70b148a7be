"""Cost as ``info["cost"]`` here, as the third of six elsewhere: wrappers both ways."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper


class SixTuple(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Give an environment with ``info["cost"]`` the face of Safety-Gymnasium's.

    Example:
        >>> import daedalus
        >>> env = SixTuple(daedalus.make("daedalus/PointGoal1-v0"))
        >>> _ = env.reset(seed=0)
        >>> observation, reward, cost, terminated, truncated, info = env.step([1.0, 0.0])
    """

    def step(self, action: Any) -> Any:
        """Return observation, reward, cost, terminated, truncated and info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, float(info.get("cost", 0.0)), terminated, truncated, info


class SixTupleVector(VectorWrapper[Any, Any, Any]):
    """Give a vector environment the face of Safety-Gymnasium's; the cost is an array (B,)."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment whose ``info["cost"]`` is an array, as ours."""
        super().__init__(env)

    def step(self, actions: Any) -> Any:
        """Return observations, rewards, costs, terminated, truncated and infos.

        Where an episode ended, Gymnasium's own vectors may have its last cost in ``final_info``
        alone; where a step only reset, there is none.
        """
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        costs, final = infos.get("cost", np.zeros(self.num_envs)), infos.get("final_info")
        if isinstance(final, dict) and "cost" in final:
            costs = np.where(final.get("_cost", terminated | truncated), final["cost"], costs)
        return observations, rewards, costs, terminated, truncated, infos


class FiveTuple(gymnasium.Env[Any, Any]):
    """Use an environment whose ``step`` returns six values, such as Safety-Gymnasium's.

    The cost goes to ``info["cost"]``; everything else passes through. What is wrapped need not be
    an instance of this Gymnasium's ``Env``.
    """

    def __init__(self, env: Any) -> None:
        """Wrap an environment with ``reset`` and a ``step`` that returns six values."""
        self.env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.metadata = getattr(env, "metadata", {})
        self.render_mode = getattr(env, "render_mode", None)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset; see ``gymnasium.Env.reset``."""
        super().reset(seed=seed)
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step; the cost is ``info["cost"]``.

        Raises:
            ValueError: The environment returns another number of values.
        """
        result = self.env.step(action)
        if len(result) != 6:
            raise ValueError(f"FiveTuple wraps steps of six values, this returns {len(result)}")
        observation, reward, cost, terminated, truncated, info = result
        return (
            observation,
            float(reward),
            bool(terminated),
            bool(truncated),
            info | {"cost": float(cost)},
        )

    def render(self) -> Any:
        """Return what the environment draws."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()
