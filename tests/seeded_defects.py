"""One sound environment, thirty that differ from it by one defect each, and some more.

The sound one walks on a line to either end: observation float32 (3,) = position, a noise drawn at
reset, share of the time limit; action float32 (1,) in [-1, 1]; an episode ends at |position| >= 1
or is truncated after 20 steps.
"""

# ruff: noqa: D101, D107  (the name of a defect says what it is)
from __future__ import annotations

import os
import random
import time
from types import SimpleNamespace
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

LIMIT = 20


class Line(gymnasium.Env[Any, Any]):
    """The sound environment."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}  # type: ignore[misc]

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space: gymnasium.Space[Any] = Box(-2, 2, (3,), np.float32)
        self.action_space: gymnasium.Space[Any] = Box(-1, 1, (1,), np.float32)
        self.position, self.noise, self.time = 0.0, 0.0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.position, self.noise, self.time = 0.0, float(self.np_random.uniform()), 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        self.position += self.move(action)
        terminated = abs(self.position) >= 1
        return self.observe(), -0.01, terminated, not terminated and self.time >= LIMIT, {}

    def move(self, action: Any) -> float:
        return 0.3 * float(np.asarray(action).ravel()[0]) + 0.05 * float(self.np_random.normal())

    def observe(self) -> Any:
        return np.array([np.clip(self.position, -2, 2), self.noise, self.time / LIMIT], np.float32)

    def render(self) -> Any:
        return np.full((8, 8, 3), int(50 * (self.position + 2)), np.uint8)


class WrongShapeInStep(Line):
    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        return (observation[:2], *rest)


class DoubleForFloat(Line):
    def observe(self) -> Any:
        return super().observe().astype(np.float64)


class OutOfBoundsAtStepFive(Line):
    def observe(self) -> Any:
        return super().observe() + np.float32(10 * (self.time == 5))


class NanObservationAtStepOne(Line):
    def observe(self) -> Any:
        return super().observe() * np.float32(np.nan if self.time == 1 else 1)


class ChangedResult(Line):
    """A step whose results pass through ``change``."""

    def step(self, action: Any) -> Any:
        return self.change(*super().step(action))

    def change(self, *result: Any) -> Any:
        return result


class NanReward(ChangedResult):
    def change(self, *result: Any) -> Any:
        return (result[0], float("nan"), *result[2:])


class InfiniteRewardAtStepFive(ChangedResult):
    def change(self, *result: Any) -> Any:
        return (result[0], float("inf") if self.time == 5 else 0.0, *result[2:])


class RewardNone(ChangedResult):
    def change(self, *result: Any) -> Any:
        return (result[0], None, *result[2:])


class TerminatedAsInt(ChangedResult):
    def change(self, *result: Any) -> Any:
        return (*result[:2], int(result[2]), *result[3:])


class FourTuple(ChangedResult):
    def change(self, *result: Any) -> Any:
        return (*result[:2], result[2] or result[3], result[4])


class InfoNotADict(ChangedResult):
    def change(self, *result: Any) -> Any:
        return (*result[:4], [("distance", 1.0)])


class ResetIgnoresSeed(Line):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset()


class GlobalGeneratorInStep(Line):
    def move(self, action: Any) -> float:
        return super().move(action) + 0.01 * random.random()


class StateLeaksOverReset(Line):
    wind = 0.0

    def move(self, action: Any) -> float:
        self.wind = 0.9 * self.wind + 0.01
        return super().move(action) + self.wind


class ReusedBuffer(Line):
    def observe(self) -> Any:
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros(3, np.float32)
        self.buffer[:] = super().observe()
        return self.buffer


class RaisesAtStepFive(ChangedResult):
    def change(self, *result: Any) -> Any:
        if self.time == 5:
            raise KeyError("wall")
        return result


class SlowStep(ChangedResult):
    """Three deadlines long; the test's deadline is 0.2 s."""

    def change(self, *result: Any) -> Any:
        if self.time == 5:
            time.sleep(0.6)
        return result


class MutatesAction(Line):
    def move(self, action: Any) -> float:
        action *= 0.5
        return super().move(action)


class UnpicklableInfo(ChangedResult):
    def change(self, *result: Any) -> Any:
        return (*result[:4], {"undo": lambda: None})


class InstancesShareState(Line):
    shared: ClassVar[dict[str, float]] = {}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.shared["drift"] = 0.0
        return super().reset(seed=seed)

    def move(self, action: Any) -> float:
        self.shared["drift"] += 0.001
        return super().move(action) + self.shared["drift"]


class HashSeed(Line):
    def move(self, action: Any) -> float:
        return super().move(action) + 1e-4 * (hash("north") % 1000)


class TerminatedAsArray(ChangedResult):
    def change(self, *result: Any) -> Any:
        return (*result[:2], np.array([result[2]]), *result[3:])


class OutOfSpaceAfterSomeResets(Line):
    def observe(self) -> Any:
        return super().observe() + np.float32(3 * (self.time == 0 and self.noise > 0.7))


class RenderModeLies(Line):
    def render(self) -> Any:
        return super().render() / 255.0


class ActionSpaceMismatch(Line):
    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = Discrete(40)

    def move(self, action: Any) -> float:
        return super().move([-1.0, *np.linspace(-1, 1, 38)][action])


class GoesOnAfterItsEnd(Line):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        if terminated or truncated:
            self.position, self.time = 0.0, 0
        return observation, reward, terminated, truncated, info


class ResetReturnsObservation(Line):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0]


class LineVector(SyncVectorEnv):
    """The sound vector environment."""

    def __init__(
        self, num_envs: int = 3, autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP
    ) -> None:
        super().__init__([self.make_one] * num_envs, autoreset_mode=autoreset_mode)

    def make_one(self) -> gymnasium.Env[Any, Any]:
        return Line()


class FinalObservationMissing(LineVector):
    def step(self, actions: Any) -> Any:
        *result, infos = super().step(actions)
        kept = {k: v for k, v in infos.items() if k not in ("final_obs", "_final_obs")}
        return (*result, kept)


class SameSeedForAll(LineVector):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if isinstance(seed, int):
            seed = [seed] * self.num_envs
        return super().reset(seed=seed, options=options)


class Endless(Line):
    def step(self, action: Any) -> Any:
        observation, reward, *_, info = super().step(0.0 * action)
        self.position, self.time = 0.0, min(self.time, LIMIT - 1)
        return observation, reward, False, False, info


class NeverTruncates(LineVector):
    """Registered with a time limit that its vector face does not keep."""

    def __init__(self, max_episode_steps: int = LIMIT, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def make_one(self) -> gymnasium.Env[Any, Any]:
        return Endless()


class BreaksItsOwnLimit(Endless):
    """A limit that is its own, as a native family's."""

    batch = SimpleNamespace(time_limit=LIMIT)


class BreakTheirOwnLimit(LineVector):
    batch = SimpleNamespace(time_limit=LIMIT)

    def make_one(self) -> gymnasium.Env[Any, Any]:
        return Endless()


class ModeLies(LineVector):
    """Says NEXT_STEP and resets in the same step."""

    def __init__(self, num_envs: int = 3) -> None:
        super().__init__(num_envs, AutoresetMode.SAME_STEP)
        self.metadata = {**self.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}


NEVER_TRUNCATES = "defect/NeverTruncates-v0"
gymnasium.register(
    NEVER_TRUNCATES,
    vector_entry_point="seeded_defects:NeverTruncates",
    max_episode_steps=LIMIT,
)

# defect -> (kind of finding that must come, field it must name)
DEFECTS: dict[Any, tuple[str, str]] = {
    WrongShapeInStep: ("shape", "observation"),
    DoubleForFloat: ("dtype", "observation"),
    OutOfBoundsAtStepFive: ("bounds", "observation"),
    NanObservationAtStepOne: ("finite", "observation"),
    NanReward: ("finite", "reward"),
    InfiniteRewardAtStepFive: ("finite", "reward"),
    RewardNone: ("type", "reward"),
    TerminatedAsInt: ("type", "terminated"),
    FourTuple: ("type", "step()"),
    InfoNotADict: ("type", "info"),
    ResetIgnoresSeed: ("seeding", "observation"),
    GlobalGeneratorInStep: ("seeding", "observation"),
    StateLeaksOverReset: ("leak", "observation"),
    ReusedBuffer: ("ownership", "observation"),
    RaisesAtStepFive: ("call", "step()"),
    SlowStep: ("deadline", "time"),
    MutatesAction: ("action", "action"),
    UnpicklableInfo: ("pickle", "info"),
    InstancesShareState: ("instances", "observation"),
    HashSeed: ("process", "observation"),
    FinalObservationMissing: ("final_obs", "vector info['final_obs']"),
    TerminatedAsArray: ("type", "terminated"),
    OutOfSpaceAfterSomeResets: ("bounds", "observation"),
    SameSeedForAll: ("seeding", "vector observation"),
    NEVER_TRUNCATES: ("end", "vector truncated"),
    RenderModeLies: ("render", "render_mode='rgb_array'"),
    ActionSpaceMismatch: ("action_space", "action"),
    GoesOnAfterItsEnd: ("after_end", "step()"),
    ResetReturnsObservation: ("type", "reset()"),
    ModeLies: ("autoreset", "vector step()"),
}


# -- further kinds, beyond the thirty


class Hangs(ChangedResult):
    def change(self, *result: Any) -> Any:
        while self.time == 5:
            time.sleep(0.05)
        return result


class KillsItsProcess(ChangedResult):
    def change(self, *result: Any) -> Any:
        if self.time == 5:
            os._exit(3)
        return result


class HandsOutItsState(Line):
    """The returned observation is the state itself."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state = super().observe()
        return self.state, {}

    def step(self, action: Any) -> Any:
        _, reward, terminated, truncated, info = super().step(action)
        self.state = self.state + np.float32(0.01)
        return self.state, reward, terminated, truncated, info


class KeepsTheAction(Line):
    """Uses the array that was passed one step ago."""

    last: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.last = None
        return super().reset(seed=seed)

    def move(self, action: Any) -> float:
        moved = super().move(action if self.last is None else self.last)
        self.last = action
        return moved


class RenderChangesTheEpisode(Line):
    def render(self) -> Any:
        self.position += 0.01
        return super().render()


class KeysMissing(Line):
    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        parts = {"position": Box(-2, 2, (3,), np.float32), "goal": Discrete(2)}
        self.observation_space = gymnasium.spaces.Dict(parts)

    def observe(self) -> Any:
        return {"position": super().observe()}


class NeighboursLeak(LineVector):
    """The reward of an environment depends on its neighbours."""

    def step(self, actions: Any) -> Any:
        observation, reward, *rest = super().step(actions)
        return (observation, reward + float(observation[:, 0].mean()), *rest)


class VectorBuffer(LineVector):
    """Returns the same array every time and says nothing of it."""

    def step(self, actions: Any) -> Any:
        observation, reward, *rest = super().step(actions)
        if not hasattr(self, "kept"):
            self.kept = observation.copy()
        self.kept[:] = observation
        return (self.kept, reward, *rest)


class MaskIgnored(LineVector):
    """A masked reset resets every environment."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if options and "reset_mask" in options:
            options = {"reset_mask": np.ones(self.num_envs, bool)}
        return super().reset(seed=seed, options=options)


FURTHER: dict[Any, tuple[str, str]] = {
    BreaksItsOwnLimit: ("end", "truncated"),
    BreakTheirOwnLimit: ("end", "vector truncated"),
    Hangs: ("process", "environment"),
    KillsItsProcess: ("process", "environment"),
    HandsOutItsState: ("aliasing", "observation"),
    KeepsTheAction: ("aliasing", "observation"),
    RenderChangesTheEpisode: ("render", "observation"),
    KeysMissing: ("keys", "observation"),
    NeighboursLeak: ("batch_of_one", "reward"),
    VectorBuffer: ("ownership", "vector observation"),
    MaskIgnored: ("autoreset", "vector reset()"),
}


def is_vector(target: Any) -> bool:
    return isinstance(target, type) and issubclass(target, VectorEnv)
