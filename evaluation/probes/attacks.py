"""Adversarial observations: the smallest changes that turn a policy from its own choice.

FGSM (Goodfellow et al. 2015, 1412.6572) takes one step of length epsilon along the sign of the
gradient of -log pi(a*|x), where a* is what the policy would do; PGD (Madry et al. 2018,
1706.06083) takes several smaller ones from a random start and stays within epsilon. On policies:
Huang et al. 2017, 1702.02284. epsilon is a share of each array's range, in the maximum norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiBinary

from daedalus.evaluation.policy import AgentPolicy, Arrays, Choice
from daedalus.evaluation.probes.perturbations import range_of

STEPS = 10
"""Steps of PGD, each of 2.5 epsilon / STEPS."""


class Attacked(AgentPolicy):
    """An agent whose every observation somebody has tampered with, knowing its weights."""

    def __init__(
        self,
        agent: Any,
        kind: str,
        strength: float,
        span: Mapping[str, np.ndarray] | None = None,
        *,
        deterministic: bool = False,
    ) -> None:
        """Attack ``agent``.

        Args:
            agent: Its networks must be open to `Agent.outputs`.
            kind: ``"fgsm"`` or ``"pgd"``.
            strength: epsilon, a share of the range.
            span: Range of arrays without bounds, by name.
            deterministic: Take the most likely action instead of drawing.
        """
        super().__init__(agent, deterministic=deterministic)
        self.kind, self.strength = kind, strength
        spaces = agent.spaces.observation
        self._bounds = {
            name: (space.low, space.high, strength * range_of(space, (span or {}).get(name)))
            for name, space in spaces.items()
            if isinstance(space, Box)
        }

    def start(self, num_envs: int, seed: int) -> None:
        """Begin, with random starts drawn from ``seed``."""
        self._rng = np.random.default_rng((seed, 0x504744))
        super().start(num_envs, seed)

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Act on the tampered observation."""
        if self.strength > 0:
            observation = self.tampered(observation, reward, start)
        return super().choose(observation, reward, start)

    def tampered(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Arrays:
        """Return the observation within epsilon that the agent would act worst on."""
        clean = {name: array.astype(np.float32) for name, array in observation.items()}
        goal = self._log_probability(clean, observation, reward, start)
        count = 1 if self.kind == "fgsm" else STEPS
        length = 1.0 if count == 1 else 2.5 / STEPS
        seen = dict(clean)
        if count > 1:
            for name, (_, _, epsilon) in self._bounds.items():
                shift = self._rng.uniform(-1, 1, clean[name].shape) * epsilon
                seen[name] = self._within(name, clean[name] + shift, clean[name])
        for _ in range(count):
            slopes = goal(seen)
            for name, (_, _, epsilon) in self._bounds.items():
                step = length * epsilon * np.sign(slopes[name])
                seen[name] = self._within(name, seen[name] - step, clean[name])
        return {
            name: _rounded(seen[name], array, clean[name]) if name in self._bounds else array
            for name, array in observation.items()
        }

    def _within(self, name: str, array: np.ndarray, clean: np.ndarray) -> np.ndarray:
        low, high, epsilon = self._bounds[name]
        near = np.clip(array, clean - epsilon, clean + epsilon)
        inside: np.ndarray = np.clip(near, low, high).astype(np.float32)
        return inside

    def _log_probability(
        self, clean: Arrays, observation: Arrays, reward: np.ndarray, start: np.ndarray
    ) -> Any:
        """Return a function: arrays -> gradient of log pi(a*) by name, with a* of ``clean``."""
        import torch

        inputs, state = self.inputs(observation, reward, start), self.state
        with torch.no_grad():
            chosen = _choice(self.agent.outputs(inputs, state).policy, self.agent.spaces.action)

        def gradient(arrays: Arrays) -> Arrays:
            seen = {
                name: torch.from_numpy(arrays[name]).to(self.agent.device).requires_grad_()
                if name in self._bounds
                else inputs.observation[name]
                for name in observation
            }
            with torch.enable_grad():
                outputs = self.agent.outputs(inputs._replace(observation=seen), state)
                total = chosen(outputs.policy).sum()
                leaves = [seen[name] for name in self._bounds]
                found: Any = torch.autograd.grad(total, leaves, allow_unused=True)
            return {
                name: np.zeros_like(arrays[name]) if slope is None else slope.cpu().numpy()
                for name, slope in zip(self._bounds, found, strict=True)
            }

        return gradient


def _choice(policy: Any, space: Any) -> Any:
    """Return log pi(a*) as a function of outputs, up to a constant; a* is the most likely now."""
    if isinstance(space, Box):  # the density falls with the distance from the mean
        mean = policy.detach()
        return lambda outputs: -0.5 * (outputs - mean - 1e-3).square().sum(-1)
    sizes = [2] * (policy.shape[-1] // 2) if isinstance(space, MultiBinary) else _numbers(space)
    best = [part.argmax(-1, keepdim=True) for part in policy.split(sizes, -1)]

    def log_probability(outputs: Any) -> Any:
        logs = [part.log_softmax(-1) for part in outputs.split(sizes, -1)]
        return sum(log.gather(-1, index) for log, index in zip(logs, best, strict=True))

    return log_probability


def _numbers(space: Any) -> list[int]:
    """Return the number of values of every component of a Discrete or MultiDiscrete space."""
    return [int(n) for n in np.ravel(space.nvec if hasattr(space, "nvec") else space.n)]


def _rounded(changed: np.ndarray, array: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return integers for integers, rounded towards the clean array so that epsilon holds."""
    if array.dtype.kind in "iu":
        changed = clean + np.trunc(changed - clean)
    return changed.astype(array.dtype)
