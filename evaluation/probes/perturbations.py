"""Perturbations of what a policy sees and does, each with a strength; 0 changes nothing.

Those of observations act on images (uint8 (H, W, C)) or on every array; strengths are relative to
the array's range, so one number means the same on pixels and on numbers. Those of actions act
between the policy and the environment, which the policy is not told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box

from daedalus.accelerators.vector import EnvBatch
from daedalus.evaluation.policy import Arrays, Choice, Policy

See = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]
"""(array float64 (B, ...), range of its elements, strength, generator) -> array."""


class Kind(NamedTuple):
    """A perturbation.

    Attributes:
        what: What it does, with the unit of its strength.
        strengths: Those that are tried unless others are asked for, weakest first, without 0.
        see: Changes an observed array, or None.
        images: Whether ``see`` is for images alone.
    """

    what: str
    strengths: tuple[float, ...]
    see: See | None = None
    images: bool = True


def noise(
    array: np.ndarray, span: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Add normal noise with a standard deviation of ``strength`` times the range."""
    changed: np.ndarray = array + strength * span * rng.standard_normal(array.shape)
    return changed


def inversion(
    array: np.ndarray, span: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Mix with the negative: x + strength (255 - 2 x); 1 inverts, 0.5 leaves grey."""
    mixed: np.ndarray = array + strength * (span - 2 * array)
    return mixed


_GREY = np.array([0.299, 0.587, 0.114])


def recolour(
    array: np.ndarray, span: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Turn the colours around the grey axis by ``strength`` full turns; brightness stays.

    The rotation is Rodrigues' around (1, 1, 1), with each pixel's brightness (Rec. 601) put back.
    """
    if array.shape[-1] != 3:
        return array
    angle = 2 * np.pi * strength
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) / 3
    turned = array @ turn.T
    return turned + ((array - turned) @ _GREY)[..., None]  # type: ignore[no-any-return]


def blur(
    array: np.ndarray, span: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Blur by a Gaussian whose standard deviation is ``strength`` times the shorter side."""
    sigma = strength * min(array.shape[1:3])
    reach = max(1, int(np.ceil(3 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-9)) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        edges = [(0, 0)] * array.ndim
        edges[axis] = (reach, reach)
        padded = np.pad(array, edges, mode="edge")
        array = sum(
            weight * np.take(padded, range(i, i + array.shape[axis]), axis)
            for i, weight in enumerate(weights)
        )
    return array


def occlusion(
    array: np.ndarray, span: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Lay a grey square over ``strength`` of the image's area, elsewhere at every step."""
    height, width = array.shape[1:3]
    share = np.sqrt(min(strength, 1.0))
    tall, wide = max(1, round(share * height)), max(1, round(share * width))
    result = array.copy()
    for image in result:
        top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
        place = np.s_[top : top + tall, left : left + wide]
        image[place] = span[place] / 2
    return result


KINDS: Mapping[str, Kind] = {
    "noise": Kind(
        "normal noise, standard deviation as a share of the range",
        (0.02, 0.05, 0.1, 0.2, 0.4),
        noise,
        images=False,
    ),
    "inversion": Kind("mixed with its negative, share", (0.1, 0.25, 0.4, 0.6, 1.0), inversion),
    "recolour": Kind("colours turned, full turns", (0.05, 0.1, 0.2, 0.35, 0.5), recolour),
    "blur": Kind("blurred, share of the side", (0.01, 0.02, 0.04, 0.08, 0.16), blur),
    "occlusion": Kind("grey square, share of the area", (0.02, 0.05, 0.1, 0.2, 0.4), occlusion),
    "sticky": Kind("the last action again, probability", (0.1, 0.25, 0.4, 0.6, 0.8)),
    "delay": Kind("actions come late, steps", (1, 2, 3, 5, 8)),
    "fgsm": Kind("one step against the policy, share of the range", (0.004, 0.008, 0.016, 0.032)),
    "pgd": Kind("ten steps against the policy, share of the range", (0.004, 0.008, 0.016, 0.032)),
}
"""Every perturbation by name; ``fgsm`` and ``pgd`` are in `daedalus.evaluation.probes.attacks`."""


def is_picture(space: Space[Any]) -> bool:
    """Whether perturbations of images apply: uint8 (H, W, 1 or 3), channels last."""
    shape = space.shape or ()
    return isinstance(space, Box) and space.dtype == np.uint8 and len(shape) == 3 and shape[2] <= 4


def applicable(name: str, observation: Mapping[str, Space[Any]], action: Space[Any]) -> bool:
    """Whether a perturbation changes anything in these spaces."""
    kind = KINDS[name]
    if kind.see is None and name in ("sticky", "delay"):
        return True
    if name == "recolour":
        return any(is_picture(s) and (s.shape or (0,))[-1] == 3 for s in observation.values())
    if name in ("noise", "fgsm", "pgd"):
        return any(isinstance(s, Box) for s in observation.values())
    return any(is_picture(space) for space in observation.values())


class Lens:
    """Changes observations, with noise of its own."""

    def __init__(
        self,
        kind: str,
        strength: float,
        spaces: Mapping[str, Space[Any]],
        span: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Look through a perturbation.

        Args:
            kind: One of `KINDS` but the attacks; those of actions change nothing here.
            strength: How much, in the unit that the kind names.
            spaces: Observation spaces by name.
            span: Range of arrays without bounds, by name; by default 1.

        Raises:
            ValueError: Unknown kind, or a negative strength.
        """
        if kind not in KINDS or strength < 0:
            raise ValueError(
                f"perturbation {kind!r} at {strength}: known are {', '.join(KINDS)}, "
                "strengths are at least 0"
            )
        self.kind, self.strength, self._spaces = kind, strength, spaces
        self._span = {n: range_of(s, (span or {}).get(n)) for n, s in spaces.items()}

    def start(self, seed: int) -> None:
        """Draw noise from ``seed``."""
        self.rng = np.random.default_rng((seed, 0x50455254))

    def see(self, observation: Arrays) -> Arrays:
        """Return what is seen of an observation (B, ...), in its own space."""
        kind = KINDS[self.kind]
        if kind.see is None or self.strength == 0:
            return observation
        seen = {}
        for name, array in observation.items():
            space = self._spaces[name]
            fits = is_picture(space) or (not kind.images and isinstance(space, Box))
            seen[name] = self._changed(kind.see, array, name) if fits else array
        return seen

    def _changed(self, see: See, array: np.ndarray, name: str) -> np.ndarray:
        space: Any = self._spaces[name]
        changed = see(array.astype(np.float64), self._span[name], self.strength, self.rng)
        if array.dtype.kind in "iu":
            changed = np.rint(changed)
        return np.clip(changed, space.low, space.high).astype(array.dtype)


class Perturbed:
    """A policy behind a perturbation; itself a policy."""

    def __init__(self, policy: Policy, lens: Lens) -> None:
        """Let ``policy`` see through ``lens``, whose kind may also be one of actions."""
        self.policy, self.lens, self.name = policy, lens, policy.name

    def start(self, num_envs: int, seed: int) -> None:
        """Begin."""
        self.lens.start(seed)
        self._queue: deque[np.ndarray] = deque()
        self._last: np.ndarray | None = None
        self.policy.start(num_envs, seed)

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Choose from what is left of the observation; the action may not be the policy's."""
        choice = self.policy.choose(self.lens.see(observation), reward, start)
        if self.lens.kind == "sticky":
            return choice._replace(action=self._stick(choice.action, start))
        if self.lens.kind == "delay":
            return choice._replace(action=self._late(choice.action, start))
        return choice

    def _stick(self, action: np.ndarray, start: np.ndarray) -> np.ndarray:
        if self._last is not None:
            again = (self.lens.rng.random(len(start)) < self.lens.strength) & ~start
            rows = again.reshape(-1, *[1] * (action.ndim - 1))
            action = np.where(rows, self._last, action).astype(action.dtype)
        self._last = action
        return action

    def _late(self, action: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Return the action of ``strength`` steps ago; an episode's first one until then."""
        while len(self._queue) < int(self.lens.strength):
            self._queue.append(action.copy())
        for waiting in self._queue:
            waiting[start] = action[start]
        self._queue.append(action.copy())
        return self._queue.popleft()


def range_of(space: Space[Any], otherwise: np.ndarray | None = None) -> np.ndarray:
    """Return high - low of a Box, ``otherwise`` (or 1) where that is infinite."""
    if not isinstance(space, Box):
        return np.ones(space.shape or ())
    span = space.high.astype(np.float64) - space.low.astype(np.float64)
    rest = np.ones_like(span) if otherwise is None else otherwise
    return np.where(np.isfinite(span) & (span < 1e6), span, rest)


def seen_ranges(
    policy: Policy, batch: EnvBatch, seeds: Sequence[int], steps: int = 200
) -> dict[str, np.ndarray]:
    """Return a range for each number without bounds: 4 standard deviations of what is seen.

    A uniform number's range is 3.5 of its standard deviations, a normal one's bulk about 4.

    Args:
        policy: Acts.
        batch: The environments; they are reset.
        seeds: Of their episodes.
        steps: Vector steps that are looked at.
    """
    endless = [
        name
        for name, space in batch.observation_spaces.items()
        if isinstance(space, Box) and not np.isfinite(space.high - space.low).all()
    ]
    if not endless:
        return {}
    count = batch.num_envs
    batch.reset([int(seeds[i % len(seeds)]) for i in range(count)])
    policy.start(count, 0)
    start, reward = np.ones(count, bool), np.zeros(count, np.float32)
    seen: dict[str, list[np.ndarray]] = {name: [] for name in endless}
    for _ in range(steps):
        for name, rows in seen.items():
            rows.append(batch.observation[name].copy())
        batch.step(policy.choose(batch.observation, reward, start).action)
        start, reward = batch.terminated | batch.truncated, batch.reward.copy()
    return {name: 4 * np.concatenate(rows).std(0) for name, rows in seen.items()}
