"""Rollouts of (T, B) steps: what an agent acts on and learns from.

Dimension letters: ``T`` steps of the rollout, ``B`` environments of the batch, ``K`` episodes that
ended in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

State = dict[str, Tensor]
"""Recurrent state by name, each (B, ...); empty for a feed-forward agent."""


class Inputs(NamedTuple):
    """What an agent acts on."""

    observation: dict[str, Tensor]  # (B, ...)
    previous_action: Tensor  # (B, ...), to be ignored where episode_start
    previous_reward: Tensor  # (B,) float32, zero where episode_start
    episode_start: Tensor  # (B,) bool: this observation is the first of its episode

    def at(self, *index: Tensor | slice | int | None) -> Inputs:
        """Return the part of every array that ``index`` picks from its first dimensions."""
        observation = {name: value[index] for name, value in self.observation.items()}
        return Inputs(observation, *(value[index] for value in self[1:]))


class Acted(NamedTuple):
    """What acting returns."""

    action: Tensor  # (B, ...)
    state: State  # recurrent state after this step
    extras: dict[str, Tensor]  # (B, ...) by name; one per step in Rollout.extras


class Seen(NamedTuple):
    """A step of acting, to be explained to people."""

    inputs: Inputs
    acted: Acted


class Outputs(NamedTuple):
    """What an agent's networks say of inputs; gradients reach observations that ask for them."""

    policy: Tensor  # (B, P), the distribution's parameters: logits, means, or action values
    value: Tensor  # (B,), expected discounted return
    layers: dict[str, Tensor]  # (B, ...), activations by name, from the input on


class Actor(Protocol):
    """The part of an agent that collecting needs."""

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Choose an action for every environment."""

    def initial_state(self, num_envs: int) -> State:
        """Return the recurrent state at the start of training."""

    def begin_with(self, observation: Mapping[str, Tensor]) -> None:
        """See the observations (B, ...) that collecting begins with."""


class Rollout(NamedTuple):
    """``T`` steps of ``B`` environments. Valid until the next is collected.

    ``observation[t]`` is what the agent saw at step t, ``observation[T]`` what it will see next.
    Where an episode ended at (t, b), ``observation[t + 1, b]`` belongs to the next episode and the
    last observation of the old one is a row of ``final_observation``.
    """

    observation: dict[str, Tensor]  # (T+1, B, ...)
    action: Tensor  # (T, B, ...)
    reward: Tensor  # (T, B) float32
    terminated: Tensor  # (T, B) bool: stops the bootstrap
    truncated: Tensor  # (T, B) bool: stops the recursion, not the bootstrap
    valid: Tensor  # (T, B) bool: False where the step only reset the environment
    episode_start: Tensor  # (T+1, B) bool
    previous_action: Tensor  # (T+1, B, ...), to be ignored where episode_start
    previous_reward: Tensor  # (T+1, B) float32, zero where episode_start
    label: dict[str, Tensor]  # (T+1, B, ...), aligned with observation
    cost: Tensor  # (T, B) float32
    final_index: Tensor  # (K, 2) int64 rows (t, b) where an episode ended, in either way
    final_observation: dict[str, Tensor]  # (K, ...)
    final_state: State  # (K, ...) recurrent state after step t, with which to judge it
    extras: dict[str, list[Tensor]]  # from act, T of (B, ...) each, where all environments act
    initial_state: State  # (B, ...) before step 0
    state: State  # (B, ...) after step T - 1

    @property
    def final_inputs(self) -> Inputs:
        """The last observations of the ended episodes and what goes with them, (K, ...)."""
        t, b = self.final_index.unbind(1)
        return Inputs(
            self.final_observation,
            self.action[t, b],
            self.reward[t, b],
            torch.zeros_like(t, dtype=torch.bool),
        )

    @property
    def inputs(self) -> Inputs:
        """What the agent acted on at steps 0 .. T-1 and will act on next, (T+1, B, ...)."""
        seen = self.observation, self.previous_action, self.previous_reward, self.episode_start
        return Inputs(*seen)
