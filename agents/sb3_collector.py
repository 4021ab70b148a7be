"""The collector of stable-baselines3's algorithms: their own ``collect_rollouts`` in our loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecTransposeImage

from daedalus.accelerators.guards import StepGuard
from daedalus.accelerators.sb3_vec_env import BatchVecEnv
from daedalus.envs.batch import Batch

if TYPE_CHECKING:
    from daedalus.agents.sb3_adapter import SB3Agent


class _StepCallback(BaseCallback):
    """Calls a function after every vector step."""

    def __init__(self, on_step: Callable[[], bool] | None) -> None:
        super().__init__()
        self._function = on_step

    def _on_step(self) -> bool:
        return True if self._function is None else self._function()


class SB3Collector:
    """Collects as `Collector` does, but into the buffers of a stable-baselines3 algorithm.

    Attributes:
        seeds: Seeds of the environments.
    """

    def __init__(self, agent: SB3Agent, env: BatchVecEnv, seeds: list[int]) -> None:
        """Make a collector; the environments are reset at the first `collect`.

        Args:
            agent: The agent, whose algorithm and generators are used.
            env: The environments that the algorithm was made with.
            seeds: One for each of them.
        """
        self.agent, self.model, self.env, self.seeds = agent, agent.model, env, seeds
        batch = env.batch
        ours = isinstance(batch, Batch)
        env.guard = StepGuard(batch.num_envs, batch.observation_spaces, check_bounds=not ours)

    def collect(self, length: int, on_step: Callable[[], bool] | None = None) -> Any:
        """Take ``length`` steps, or what the algorithm takes between two updates.

        Returns:
            What its ``collect_rollouts`` returned, or None if ``on_step`` stopped it.
        """
        model, agent = self.model, self.agent
        with agent.streams.active():
            if model._last_obs is None:
                self.env.next_seeds(self.seeds)
                model._setup_learn(agent.total_timesteps, reset_num_timesteps=False)
            model.num_timesteps, model._total_timesteps = agent.steps_of_task()
            callback = _StepCallback(on_step)
            callback.init_callback(model)
            if isinstance(model, OnPolicyAlgorithm):
                return self._on_policy(callback, length) or None
            if isinstance(model, OffPolicyAlgorithm):
                collected = self._off_policy(callback)
                return collected if collected.continue_training else None
            model._update_current_progress_remaining(*agent.steps_of_task())
            model._do_one_update(callback, None)
            return True

    def _on_policy(self, callback: BaseCallback, length: int) -> bool:
        model = self.model
        return bool(model.collect_rollouts(model.env, callback, model.rollout_buffer, length))

    def _off_policy(self, callback: BaseCallback) -> Any:
        model = self.model
        return model.collect_rollouts(
            model.env,
            train_freq=model.train_freq,
            action_noise=model.action_noise,
            callback=callback,
            learning_starts=model.learning_starts,
            replay_buffer=model.replay_buffer,
            log_interval=None,
        )

    def evidence(self) -> dict[str, np.ndarray]:
        """Return what the environments show now; the algorithm's buffers are in its state."""
        batch = self.env.batch
        last = {f"last_observation/{n}": a.copy() for n, a in batch.observation.items()}
        return {**last, "reward": batch.reward.copy()}

    def get_state(self) -> dict[str, Any]:
        """Return everything that the next rollout depends on."""
        model = self.model
        if model._last_obs is None:
            return {}
        state: dict[str, Any] = {
            "episode_start": np.asarray(model._last_episode_starts, bool),
            "episode_return": self.env._returns.copy(),
            "episode_length": self.env._lengths.copy(),
        }
        state.update({f"batch/{name}": v for name, v in self.env.batch.get_state().items()})
        for name, tensor in _recurrent(model):
            state[f"recurrent/{name}"] = tensor
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `get_state` was called; nothing stored means not started yet."""
        model, batch = self.model, self.env.batch
        if not state:
            return
        head = "batch/"
        batch.set_state({k[len(head) :]: v for k, v in state.items() if k.startswith(head)})
        exact = getattr(batch, "exact_resume", True)
        starts = np.array(state["episode_start"], bool)
        model._last_obs = _shown(model.env, self.env)
        model._setup_learn(self.agent.total_timesteps, reset_num_timesteps=False)
        model._last_episode_starts = starts if exact else np.ones_like(starts)
        self.env._returns[:] = state["episode_return"] if exact else 0.0
        self.env._lengths[:] = state["episode_length"] if exact else 0
        for name, tensor in _recurrent(model):
            tensor.copy_(torch.as_tensor(state[f"recurrent/{name}"]))


def _shown(outer: Any, env: BatchVecEnv) -> Any:
    observation = env.observe()
    if isinstance(outer, VecTransposeImage):
        return outer.transpose_observations(observation)
    return observation


def _recurrent(model: Any) -> list[tuple[str, torch.Tensor]]:
    """Return the LSTM states of ``RecurrentPPO`` by name."""
    states = getattr(model, "_last_lstm_states", None)
    if states is None:
        return []
    pairs = {"actor": states.pi, "critic": states.vf}
    return [
        (f"{name}_{part}", tensor)
        for name, pair in pairs.items()
        for part, tensor in zip(("hidden", "cell"), pair, strict=True)
    ]
