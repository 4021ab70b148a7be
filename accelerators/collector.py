"""Collect rollouts on the learner's device.

NumPy and torch share memory on the CPU; on CUDA the copies go through pinned memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from daedalus.accelerators.guards import StepGuard, check_finite
from daedalus.accelerators.instances import SharedInstances
from daedalus.accelerators.rollout import Actor, Inputs, Rollout, State
from daedalus.accelerators.vector import EnvBatch
from daedalus.envs.batch import Batch


class _Buffer:
    """One (T, B, ...) array on the host and, on CUDA, its copy on the device."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, device: torch.device) -> None:
        kind = torch.from_numpy(np.zeros(1, dtype)).dtype
        host = torch.zeros(shape, dtype=kind, pin_memory=device.type == "cuda")
        self.array: np.ndarray = host.numpy()
        self._host = host
        self.tensor = host if device.type == "cpu" else torch.zeros_like(host, device=device)
        self._copies = self.tensor is not host

    def put(self, t: int, value: np.ndarray) -> None:
        """Write row ``t`` and start its copy to the device."""
        self.array[t] = value
        if self._copies:
            self.tensor[t].copy_(self._host[t], non_blocking=True)

    def push(self) -> Tensor:
        """Copy everything to the device and return the tensor there."""
        if self._copies:
            self.tensor.copy_(self._host, non_blocking=True)
        return self.tensor


class Collector:
    """Steps a batch with an agent and keeps what happened.

    Owns the buffers, the agent's recurrent state and the previous action and reward between
    rollouts. ``on_step`` hooks and seeds come from the caller.
    """

    def __init__(
        self, batch: EnvBatch, agent: Actor, device: torch.device, seeds: list[int] | None = None
    ) -> None:
        """Make a collector; the batch is reset (with ``seeds``) at the first `collect`."""
        self.batch = batch
        self.agent = agent
        self.device = device
        self.seeds = seeds
        self.state: State | None = None
        self._length = 0
        self._space = batch.action_space
        self._clip = isinstance(self._space, Box)
        self._start = np.ones(batch.num_envs, bool)
        self._action: np.ndarray | None = None
        self._reward = np.zeros(batch.num_envs, np.float32)
        ours = isinstance(batch, Batch)  # whose observations are held to their spaces by tests
        self._guard = StepGuard(batch.num_envs, batch.observation_spaces, check_bounds=not ours)
        self._steps = 0  # taken in the rollout that is being collected

    def reset(self) -> None:
        """Start new episodes and forget the recurrent state."""
        self.batch.reset(self.seeds)
        self._guard.check(self.batch.observation, self._reward)
        self._start[:] = True
        self._reward[:] = 0.0
        self._action = None
        self.state = self.agent.initial_state(self.batch.num_envs)
        first = self.batch.observation
        self.agent.begin_with({n: torch.from_numpy(a).to(self.device) for n, a in first.items()})

    def collect(self, length: int, on_step: Callable[[], bool] | None = None) -> Rollout | None:
        """Take ``length`` steps in every environment.

        Args:
            length: Steps T.
            on_step: Called after every vector step; False stops and gives the rollout up.

        Returns:
            The rollout, or None if it was stopped.
        """
        if self.state is None:
            self.reset()
        if self._length != length:
            self._allocate(length)
        self._begin()
        for t in range(length):
            self._step(t)
            if on_step is not None and not on_step():
                self._give_up()
                return None
        return self._rollout()

    def _give_up(self) -> None:
        """Begin anew where environments that play one episode a rollout were left in the middle."""
        if isinstance(self.batch, SharedInstances) and self.batch.give_up():
            self._start[:] = True
            self._reward[:] = 0.0

    def _allocate(self, length: int) -> None:
        n, space = self.batch.num_envs, self._space
        self._length = length

        def buffer(steps: int, shape: tuple[int, ...], dtype: object) -> _Buffer:
            return _Buffer((steps, n, *shape), np.dtype(dtype), self.device)  # type: ignore[call-overload]

        self._observation = {
            name: buffer(length + 1, array.shape[1:], array.dtype)
            for name, array in self.batch.observation.items()
        }
        self._label = {
            name: buffer(length + 1, array.shape[1:], array.dtype)
            for name, array in self.batch.label.items()
        }
        self._actions = buffer(length + 1, space.shape or (), _action_dtype(space.dtype))
        self._rewards = buffer(length + 1, (), np.float32)
        self._starts = buffer(length + 1, (), bool)
        self._terminated, self._truncated, self._valid = (
            buffer(length, (), bool) for _ in range(3)
        )
        self._reward_now, self._cost = (
            buffer(length, (), np.float32),
            buffer(length, (), np.float32),
        )

    def _begin(self) -> None:
        assert self.state is not None
        self._give_up()  # an exception may have ended the last one
        self._initial, self._steps = self.state, 0
        self._extras: dict[str, list[Tensor]] = {}
        self._ends: list[tuple[int, np.ndarray, dict[str, np.ndarray], State]] = []
        if self._action is None:
            self._action = np.zeros_like(self._actions.array[0])
        self._observe(0)

    def _observe(self, t: int) -> None:
        """Write what the agent sees at step ``t``."""
        for name, buffer in self._observation.items():
            buffer.put(t, self.batch.observation[name])
        for name, buffer in self._label.items():
            buffer.put(t, self.batch.label[name])
        self._actions.put(t, self._action)  # type: ignore[arg-type]
        self._rewards.put(t, self._reward)
        self._starts.put(t, self._start)

    def _step(self, t: int) -> None:
        inputs = Inputs(
            {name: buffer.tensor[t] for name, buffer in self._observation.items()},
            self._actions.tensor[t],
            self._rewards.tensor[t],
            self._starts.tensor[t],
        )
        self._action = action = self._act(inputs)
        if self._clip:
            action = np.clip(action, self._space.low, self._space.high)  # type: ignore[attr-defined]
            check_finite({"action": action}, "act", env_axis=0)
        batch = self.batch
        batch.step(action)
        self._steps = t + 1
        self._guard.check(batch.observation, batch.reward)
        self._reward_now.array[t] = batch.reward
        self._cost.array[t] = batch.cost
        self._terminated.array[t] = batch.terminated
        self._truncated.array[t] = batch.truncated
        self._valid.array[t] = batch.valid
        self._after(t)
        self._observe(t + 1)

    def _act(self, inputs: Inputs) -> np.ndarray:
        """Return the agent's actions (B, ...); it does not act where an episode is waited for."""
        batch, state = self.batch, self.state
        assert state is not None
        playing = batch.playing if isinstance(batch, SharedInstances) else None
        if playing is None or playing.all():
            acted = self.agent.act(inputs, state)
            self.state = acted.state
            for name, value in acted.extras.items():
                self._extras.setdefault(name, []).append(value)
            return acted.action.detach().cpu().numpy()
        action: np.ndarray = self._action.copy()  # type: ignore[union-attr]
        if playing.any():
            rows = torch.from_numpy(np.flatnonzero(playing)).to(self.device)
            acted = self.agent.act(inputs.at(rows), {n: v[rows] for n, v in state.items()})
            self.state = {n: state[n].index_copy(0, rows, v) for n, v in acted.state.items()}
            action[playing] = acted.action.detach().cpu().numpy()
        return action

    def _after(self, t: int) -> None:
        """Note ended episodes; ``_start`` becomes that of the observation after step ``t``."""
        batch = self.batch
        ended = batch.terminated | batch.truncated
        resets_now = batch.autoreset != "next_step"
        if ended.any():
            rows = np.flatnonzero(ended)
            last = batch.final_observation if resets_now else batch.observation
            observation = {name: array[rows] for name, array in last.items()}
            check_finite(last, "last step of an episode", env_axis=0)
            state = {name: value[rows].detach() for name, value in self.state.items()}  # type: ignore[union-attr]
            self._ends.append((t, rows, observation, state))
        np.copyto(self._start, ended if resets_now else ~batch.valid)
        np.multiply(batch.reward, ~self._start, out=self._reward)

    def _rollout(self) -> Rollout:
        actions, rewards = self._actions.push(), self._rewards.push()
        index, final_observation, final_state = self._finals()
        rollout = Rollout(
            observation={name: b.tensor for name, b in self._observation.items()},
            action=actions[1:],
            reward=self._reward_now.push(),
            terminated=self._terminated.push(),
            truncated=self._truncated.push(),
            valid=self._valid.push(),
            episode_start=self._starts.push(),
            previous_action=actions,
            previous_reward=rewards,
            label={name: b.tensor for name, b in self._label.items()},
            cost=self._cost.push(),
            final_index=index,
            final_observation=final_observation,
            final_state=final_state,
            extras=self._extras,
            initial_state=self._initial,
            state=self.state,  # type: ignore[arg-type]
        )
        self.state = {name: value.detach() for name, value in rollout.state.items()}
        return rollout

    def _finals(self) -> tuple[Tensor, dict[str, Tensor], State]:
        """Return index, observation and recurrent state of the ends of episodes."""
        if not self._ends:
            empty = {n: b.tensor[0, :0] for n, b in self._observation.items()}
            state = {name: value[:0].detach() for name, value in self._initial.items()}
            return torch.zeros((0, 2), dtype=torch.int64, device=self.device), empty, state
        index = np.concatenate([np.stack([np.full_like(b, t), b], 1) for t, b, _, _ in self._ends])
        observation = {
            name: torch.from_numpy(np.concatenate([end[2][name] for end in self._ends]))
            for name in self._observation
        }
        state = {name: torch.cat([end[3][name] for end in self._ends]) for name in self._initial}
        observation = {name: value.to(self.device) for name, value in observation.items()}
        return torch.from_numpy(index).to(self.device), observation, state

    def evidence(self) -> dict[str, np.ndarray]:
        """Return what led to a fault: the arrays (T', B, ...) of the rollout up to it.

        ``observation[t]`` is what ``action[t]`` answered; ``last_observation`` (B, ...) is what the
        last step returned.
        """
        last = {f"last_observation/{n}": a.copy() for n, a in self.batch.observation.items()}
        if not self._steps or self._action is None:
            return last
        done, batch = self._steps - 1, self.batch
        return {
            **{f"observation/{n}": b.array[: done + 1] for n, b in self._observation.items()},
            **last,
            "action": np.concatenate([self._actions.array[1 : done + 1], self._action[None]]),
            "reward": np.concatenate([self._reward_now.array[:done], batch.reward[None]]),
            "terminated": np.concatenate([self._terminated.array[:done], batch.terminated[None]]),
            "truncated": np.concatenate([self._truncated.array[:done], batch.truncated[None]]),
        }

    def get_state(self) -> dict[str, np.ndarray | Tensor]:
        """Return everything that the next rollout depends on; see `set_state`."""
        if self.state is None:
            return {}
        state: dict[str, np.ndarray | Tensor] = {
            "episode_start": self._start.copy(),
            "previous_reward": self._reward.copy(),
        }
        if self._action is not None:
            state["previous_action"] = self._action.copy()
        state.update({f"recurrent/{name}": value for name, value in self.state.items()})
        state.update({f"batch/{name}": value for name, value in self.batch.get_state().items()})
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where `get_state` was called; nothing stored means not started yet."""
        if not state:
            self.state = None
            return
        self.batch.set_state(_below(state, "batch/"))
        self._start[:] = state["episode_start"]
        self._reward[:] = state["previous_reward"]
        action = state.get("previous_action")
        self._action = None if action is None else np.array(action)
        self.state = {
            name: torch.as_tensor(np.array(value)).to(self.device)
            for name, value in _below(state, "recurrent/").items()
        }
        if not getattr(self.batch, "exact_resume", True):  # it has begun new episodes
            self._start[:] = True
            self._reward[:] = 0.0


def _below(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _action_dtype(dtype: object) -> np.dtype:
    kind = np.dtype(dtype)  # type: ignore[call-overload]
    return np.dtype(np.int64) if kind.kind in "iub" else np.dtype(np.float32)
