"""Constrained tasks on Gymnasium's MuJoCo bodies (extra ``mujoco``)."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from daedalus.envs.safety import cpo
from daedalus.scenarios.extras import require

SPEED_LIMITS = {
    "Ant": 2.6222,
    "HalfCheetah": 3.2096,
    "Hopper": 0.7402,
    "Humanoid": 1.4149,
    "Swimmer": 0.2282,
    "Walker2d": 2.3415,
}
"""Metres a second above which a step costs 1 (Safety-Gymnasium, version 1)."""
_PLANAR = ("HalfCheetah", "Hopper", "Walker2d")
APPLES = BOMBS = 8
FALL = -10.0

SPHERE, BOX = 2, 6
"""Numbers of MuJoCo's shapes (``mjtGeom``)."""
VIEW = {"trackbodyid": 1, "distance": 16.0, "elevation": -30.0}
"""The camera, where the surroundings matter: m from the torso, degrees."""


def _mark(kind: int, position: Any, size: Any, color: Any) -> dict[str, Any]:
    return {"type": kind, "pos": position, "size": size, "rgba": color, "label": ""}


def _body(name: str, **options: Any) -> gymnasium.Env[Any, Any]:
    require("mujoco", extra="mujoco")
    return gymnasium.make(f"{name}-v5", max_episode_steps=-1, **options).unwrapped


class _Wrapped(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A MuJoCo body with a reward or a cost of its own, and marks in its picture."""

    def markers(self) -> list[dict[str, Any]]:
        """Return what to draw besides the body, as MuJoCo's viewers take it; nothing by default."""
        return []

    def moved(self, action: Any) -> Any:
        """Step the body; a window, which is drawn in every step, gets the marks."""
        if self.render_mode == "human":
            self._mark()
        return self.env.step(action)

    def render(self) -> Any:
        """Draw the body and the marks."""
        if self.unwrapped.mujoco_renderer.viewer is None:  # type: ignore[attr-defined]
            self.env.render()  # makes the viewer
        self._mark()
        return self.env.render()

    def _mark(self) -> None:
        viewer = self.unwrapped.mujoco_renderer.viewer  # type: ignore[attr-defined]
        for marker in self.markers() if viewer is not None else []:
            viewer.add_marker(**marker)

    @property
    def torso(self) -> np.ndarray:
        """Position of the torso: x, y, z in metres."""
        return np.asarray(self.unwrapped.data.qpos[:3])  # type: ignore[attr-defined]


class Velocity(_Wrapped):
    """Run fast, but not faster than allowed.

    Observation, action, reward and end are those of Gymnasium's ``<body>-v5``; ``info["cost"]`` is
    1 where the speed exceeds the body's limit: forward for the planar bodies, in the plane for Ant,
    Humanoid and Swimmer.

    Source:
        Zhang, Vuong and Ross 2020, "First order constrained optimization in policy space"; limits
        of Safety-Gymnasium, version 1.
    """

    def __init__(self, body: str, limit: float | None = None, **options: Any) -> None:
        """Choose the body (a key of ``SPEED_LIMITS``) and the limit in m/s.

        Raises:
            ValueError: There is no such body.
            MissingExtraError: MuJoCo is not installed.
        """
        if body not in SPEED_LIMITS:
            raise ValueError(f"there is no body {body!r}; there are: {', '.join(SPEED_LIMITS)}")
        super().__init__(_body(body, **options))
        self.planar, self.limit = body in _PLANAR, SPEED_LIMITS[body] if limit is None else limit

    def step(self, action: Any) -> Any:
        """Step and add the cost."""
        observation, reward, terminated, truncated, info = self.moved(action)
        speed = info["x_velocity"]
        if not self.planar:
            speed = math.hypot(speed, info["y_velocity"])
        return (
            observation,
            reward,
            terminated,
            truncated,
            info | {"cost": float(speed > self.limit)},
        )


class Circle(_Wrapped):
    """Run around a circle while staying in a slab that cuts off most of it.

    Observation and action are those of Gymnasium's ``Ant-v5`` or ``Humanoid-v5``, the position
    included. The reward is v . (-y, x) / (1 + | |(x, y)| - 10 |); the Humanoid's alive bonus,
    control and contact costs are added, the Ant's own terms are not. ``info["cost"]`` is 1 where
    |x| exceeds 3 (Ant) or 2.5 (Humanoid). Ends when the torso leaves 0.2 to 1.0 m (Ant) or 0.8 to
    2.0 m. The usual limit of an episode's cost is 10.

    Source:
        Achiam et al. 2017, "Constrained policy optimization", on the bodies of today's Gymnasium.
    """

    RADIUS = 10.0

    def __init__(self, body: str, **options: Any) -> None:
        """Choose ``"Ant"`` or ``"Humanoid"``.

        Raises:
            ValueError: It is another body.
            MissingExtraError: MuJoCo is not installed.
        """
        if body not in ("Ant", "Humanoid"):
            raise ValueError(f"Circle has the bodies Ant and Humanoid, got {body!r}")
        heights = (0.2, 1.0) if body == "Ant" else (0.8, 2.0)
        options = {
            "exclude_current_positions_from_observation": False,
            "default_camera_config": VIEW,
            **options,
        }
        super().__init__(_body(body, healthy_z_range=heights, **options))
        self.limit, self.own_terms = (3.0, False) if body == "Ant" else (2.5, True)

    def markers(self) -> list[dict[str, Any]]:
        """Return the circle, as a row of dots, and the two sides of the slab."""
        angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        dots = self.RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1)
        sides = [
            _mark(BOX, (x, 0, 0.3), (0.03, 2 * self.RADIUS, 0.3), (0.9, 0.3, 0.2, 0.4))
            for x in (-self.limit, self.limit)
        ]
        return sides + [
            _mark(SPHERE, (x, y, 0.05), (0.1,) * 3, (0.2, 0.7, 0.3, 1)) for x, y in dots
        ]

    def step(self, action: Any) -> Any:
        """Step; replace the reward and add the cost."""
        observation, reward, terminated, truncated, info = self.moved(action)
        x, y = self.torso[:2]
        around = -info["x_velocity"] * y + info["y_velocity"] * x
        circle = around / (1.0 + abs(math.hypot(x, y) - self.RADIUS))
        if self.own_terms:
            circle += reward - info["reward_forward"]
        info = info | {"cost": float(abs(x) > self.limit)}
        return observation, float(circle), terminated, truncated, info


class AntGather(_Wrapped):
    """Gather apples and leave the bombs, on four legs.

    Observation: that of ``Ant-v5`` with the position, then ten bins for apples and ten for bombs,
    as in ``PointGather``. Reward: 10 for an apple, -10 for falling (torso outside 0.2 to 1.0 m),
    which ends the episode, as does gathering everything. ``info["cost"]`` is 1 in a step that
    catches a bomb. 8 apples, 8 bombs; the usual limit of an episode's cost is 0.2.

    Source:
        Achiam et al. 2017, "Constrained policy optimization", and its repository.
    """

    def __init__(self, **options: Any) -> None:
        """Add the sensors to the observation."""
        options = {
            "exclude_current_positions_from_observation": False,
            "default_camera_config": VIEW,
            **options,
        }
        super().__init__(_body("Ant", healthy_z_range=(0.2, 1.0), **options))
        size = self.env.observation_space.shape[0] + 2 * cpo.BINS  # type: ignore[index]
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float64)
        self.things, self.there = np.zeros((0, 2)), np.zeros(0, bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Put apples and bombs on the lattice."""
        observation, info = self.env.reset(seed=seed, options=options)
        even = cpo.STEP * (np.arange(cpo.LATTICE) - cpo.LATTICE // 2)
        lattice = np.array([(x, y) for x in even for y in even if (x, y) != (0, 0)])
        chosen = self.unwrapped.np_random.permutation(len(lattice))[: APPLES + BOMBS]
        self.things, self.there = lattice[chosen], np.ones(APPLES + BOMBS, bool)
        return self._seen(observation), info

    def markers(self) -> list[dict[str, Any]]:
        """Return apples, green, and bombs, red, as far as they are there."""
        colors = [(0.3, 0.8, 0.2, 1.0)] * APPLES + [(0.9, 0.2, 0.1, 1.0)] * BOMBS
        return [
            _mark(SPHERE, (*self.things[i], 0.4), (0.4,) * 3, colors[i])
            for i in np.flatnonzero(self.there)
        ]

    def _seen(self, observation: np.ndarray) -> np.ndarray:
        """Add what the sensors see from the torso along its heading."""
        w, i, j, k = self.unwrapped.data.qpos[3:7]  # type: ignore[attr-defined]
        heading = math.atan2(2 * (w * k + i * j), 1 - 2 * (j * j + k * k))
        x, y = self.torso[:2]
        readings = np.zeros(2 * cpo.BINS)
        for i in np.flatnonzero(self.there):
            dx, dy = self.things[i] - (x, y)
            k, reading = cpo.reading_of(dx, dy, heading)
            if k >= 0:
                k += 0 if i < APPLES else cpo.BINS
                readings[k] = max(readings[k], reading)
        return np.concatenate([observation, readings])

    def step(self, action: Any) -> Any:
        """Step; replace the reward by what was gathered."""
        observation, _, terminated, truncated, info = self.moved(action)
        near = np.hypot(*(self.things - self.torso[:2]).T) < cpo.CATCH
        caught = near & self.there
        self.there &= ~near
        reward = 10.0 * caught[:APPLES].sum() + (FALL if terminated else 0.0)
        info = info | {"cost": float(caught[APPLES:].any())}
        over = terminated or not self.there.any()
        return self._seen(observation), float(reward), bool(over), truncated, info
