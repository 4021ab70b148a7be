"""The adapter that makes an agent of an algorithm of stable-baselines3 or sb3-contrib.

Their networks, buffers, ``collect_rollouts`` and ``train`` are used as they are; our loop calls
them, so logging, checkpoints, guards and the command line are those of every agent. What differs
from calling them directly: random numbers come from generators that belong to the agent; a
checkpoint holds arrays and JSON, no pickle, and resumes to the bit on the CPU; small images, for
which their ``NatureCNN`` is too large, get the convolutions of `daedalus.agents.networks`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict
from stable_baselines3.common.logger import Logger as SB3Logger
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from torch import nn

from daedalus.accelerators.guards import check_finite, check_gradients
from daedalus.accelerators.sb3_vec_env import BatchVecEnv
from daedalus.agents.base import Acted, Agent, Inputs, Metrics, Outputs, Seen, Spaces, State
from daedalus.agents.consolidation import Likelihoods, consolidation_from
from daedalus.agents.ewc import EWC
from daedalus.agents.sb3_collector import SB3Collector
from daedalus.agents.sb3_config import CONSOLIDATION, policy_name
from daedalus.agents.sb3_features import extractor_for
from daedalus.agents.sb3_fisher import likelihoods_of
from daedalus.agents.sb3_spaces import to_start, to_zero, unsupported, vec_env_from_zero
from daedalus.agents.sb3_state import Counters, Replay, Streams, Variables
from daedalus.agents.sb3_value import distribution_of, outputs_of, recurrent_value, value_of


class SB3Agent(Agent):
    """A stable-baselines3 algorithm behind the face of `Agent`.

    Attributes:
        algorithm: The class.
        model: The instance; everything it offers can be used.
    """

    algorithm: ClassVar[type[Any]]
    default_num_envs = 8
    model: Any

    def __init__(self, env: Any, config: Any = None, **kwargs: Any) -> None:
        """Make an agent; the arguments are those of `Agent`."""
        super().__init__(env, config, **kwargs)
        if self.batch is not None and self.collector is not None:
            seeds = list(self.collector.seeds or [])
            self.collector = SB3Collector(self, self._env, seeds)  # type: ignore[assignment]

    def build(self) -> None:
        """Make the algorithm with its networks, optimisers and buffers.

        Raises:
            ValueError: It cannot be used with these spaces.
            TypeError: No agent takes these actions.
        """
        if self.name == "maskable_ppo" and "action_mask" not in self.spaces.observation:
            raise ValueError(
                "maskable_ppo needs an observation named action_mask, which is 1 for each action "
                "that is allowed and 0 for others: without one take ppo"
            )
        source = self.batch or _Nowhere(self.spaces)
        self._env = env = vec_env_from_zero(source)  # type: ignore[arg-type]
        space = env.observation_space
        image = _is_image(space) and extractor_for(space) is None
        name = policy_name(self.config, self.algorithm, image, isinstance(space, Dict))
        try:
            with warnings.catch_warnings():
                if self.batch is None:  # sizes of rollouts do not matter then
                    warnings.simplefilter("ignore")
                self.model = self.algorithm(name, env, **self._keywords(env))
        except AssertionError as error:
            raise ValueError(unsupported(self.name, self.spaces.action, error)) from error
        self.model.action_space = deepcopy(self.model.action_space)
        self.model.action_space.seed(self.seed)
        self.model.set_logger(SB3Logger(folder=None, output_formats=[]))
        self.streams = Streams(int(self.rng.integers(2**31)), self.device)
        self._register()

    def _keywords(self, env: BatchVecEnv) -> dict[str, Any]:
        """Return the arguments of the algorithm's constructor."""
        ours = {"policy", "net_arch", *(name for name, *_ in CONSOLIDATION)}
        given = {k: v for k, v in vars(self.config).items() if k not in ours}
        std = given.pop("action_noise_std", 0.0)
        if std > 0:
            shape: Any = env.action_space.shape
            given["action_noise"] = NormalActionNoise(np.zeros(shape), np.full(shape, std))
        policy: dict[str, Any] = {}
        if self.config.net_arch is not None:
            policy["net_arch"] = list(self.config.net_arch)
        extractor = extractor_for(env.observation_space)
        if extractor is not None:
            policy["features_extractor_class"] = extractor
        return {**given, "policy_kwargs": policy, "device": str(self.device), "verbose": 0}

    def _register(self) -> None:
        """Name what is saved, and watch every gradient."""
        modules, variables = self.model._get_torch_save_params()
        found = {name: reduce(getattr, name.split("."), self.model) for name in modules}
        self.modules = {n: m for n, m in found.items() if isinstance(m, nn.Module)}
        self.optimizers = {
            name: part for name, part in found.items() if isinstance(part, torch.optim.Optimizer)
        }
        for optimizer in self.optimizers.values():
            optimizer.register_step_pre_hook(self._check_gradients)
        names = [n for n in variables if isinstance(getattr(self.model, n, None), torch.Tensor)]
        if isinstance(getattr(self.model, "weights", None), torch.Tensor):
            names.append("weights")
        stores = {"streams": self.streams, "counters": Counters(self.model)}
        self.stores = {**stores, "variables": Variables(self.model, names)}
        if isinstance(self.model, OffPolicyAlgorithm):
            self.stores["replay"] = Replay(self.model)
        if hasattr(self.config, "consolidation"):
            self._consolidate()

    def _consolidate(self) -> None:
        """Let a consolidation take part in the steps of the optimisers of the policy's networks."""
        groups = (g["params"] for o in self.optimizers.values() for g in o.param_groups)
        learnt = {p for group in groups for p in group}
        protected = [p for p in self.model.policy.parameters() if p in learnt]
        self.consolidation = consolidation_from(self.config, protected)
        if isinstance(self.consolidation, EWC) and getattr(self.model, "use_sde", False):
            raise ValueError("EWC knows no likelihoods of use_sde: take consolidation si or l2")
        if self.consolidation is not None:
            for optimizer in self.optimizers.values():
                self.consolidation.attach(optimizer)

    def _check_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        named = self.model.policy.named_parameters
        check_gradients(named, torch.zeros(()), norm)

    # ------------------------------------------------------------------ acting and learning

    @property
    def rollout_length(self) -> int:
        """Steps per rollout and environment."""
        if isinstance(self.model, OnPolicyAlgorithm):
            return int(self.model.n_steps)
        return 1

    def initial_state(self, num_envs: int) -> State:
        """Return the zeros of the LSTMs of actor and critic, or nothing."""
        state: State = {}
        for prefix, name in (("", "lstm_actor"), ("critic_", "lstm_critic")):
            lstm = getattr(self.model.policy, name, None)
            if lstm is not None:
                shape = (num_envs, lstm.num_layers, lstm.hidden_size)
                for part in ("hidden", "cell"):
                    state[prefix + part] = torch.zeros(shape, device=self.device)
        return state

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Choose actions by the algorithm's ``predict``; the extras hold its ``"value"`` (B,)."""
        arrays = {name: value.cpu().numpy() for name, value in self._seen(inputs).items()}
        observation = arrays if len(arrays) > 1 else next(iter(arrays.values()))
        seed = torch.randint(
            2**31, (), generator=self.generators["act"], device=self.generators["act"].device
        )
        actor = [name for name in ("hidden", "cell") if name in state]
        recurrent = tuple(state[name].transpose(0, 1).cpu().numpy() for name in actor) or None
        masks = {"action_masks": arrays["action_mask"]} if self.name == "maskable_ppo" else {}
        start = inputs.episode_start.cpu().numpy()
        with Streams(int(seed), self.device).active():
            action, after = self.model.predict(
                observation, recurrent, start, deterministic, **masks
            )
        new: State = {
            name: torch.as_tensor(value, device=self.device).transpose(0, 1)
            for name, value in zip(actor, after or (), strict=True)
        }
        extras: dict[str, torch.Tensor] = {}
        if state:
            extras["value"], critic = recurrent_value(self.model.policy, observation, state, start)
            new |= critic
        elif (value := value_of(self.model.policy, observation, action)) is not None:
            extras["value"] = value
        action = to_start(action, self.spaces.action)
        return Acted(torch.as_tensor(action, device=self.device), new, extras)

    def _seen(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Return observations (B, ...) as the algorithm's own environments show them."""
        spaces = self.spaces.observation
        return {name: to_zero(value, spaces[name]) for name, value in inputs.observation.items()}

    def inspect(self, now: Seen, before: Seen | None, label: Mapping[str, Any]) -> dict[str, Any]:
        """Show probabilities or values of the actions, where the algorithm has them."""
        arrays = {name: value.cpu().numpy() for name, value in self._seen(now.inputs).items()}
        masks = arrays["action_mask"] if self.name == "maskable_ppo" else None
        observation: Any = arrays if len(arrays) > 1 else next(iter(arrays.values()))
        return {**distribution_of(self.model.policy, observation, masks)}

    def outputs(self, inputs: Inputs, state: State) -> Outputs:
        """Return logits or action values, values and activations; see `Agent.outputs`."""
        return outputs_of(self.model.policy, self._seen(inputs))

    def update(self, rollout: Any) -> Metrics:
        """Run the algorithm's ``train`` on what it collected."""
        model = self.model
        with self.streams.active():
            if isinstance(model, OnPolicyAlgorithm):
                model._update_current_progress_remaining(*self.steps_of_task())
                model.train()
            elif isinstance(model, OffPolicyAlgorithm):
                steps = model.gradient_steps
                steps = steps if steps >= 0 else rollout.episode_timesteps
                if self.steps_of_task()[0] > model.learning_starts and steps > 0:
                    model.train(batch_size=model.batch_size, gradient_steps=steps)
        if not self.optimizers or self.name == "trpo":
            check_finite(dict(model.policy.named_parameters()), "parameters after an update")
        return self._metrics()

    def _metrics(self) -> dict[str, float]:
        """Return what the algorithm logged under ``train/``; hand the rest to our logger."""
        values = dict(self.model.logger.name_to_value)
        self.model.logger.name_to_value.clear()
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, float | int | np.number)}
        for name, value in numbers.items():
            if not name.startswith(("train/", "time/")):
                self.logger.record(name, value)
        head = "train/"
        return {k.removeprefix(head): v for k, v in numbers.items() if k.startswith(head)}

    # ------------------------------------------------------------------ one task after another

    def steps_of_task(self) -> tuple[int, int]:
        """Return the steps that the present task has had, and all that it is to have.

        What the algorithm anneals, and when it begins to learn, begin anew with each task.
        """
        start = self.task_started
        return self.num_timesteps - start, self.total_timesteps - start

    def likelihoods(self) -> Likelihoods:
        """Yield log-likelihoods of what the networks say at the end of a task."""
        return likelihoods_of(self)

    def finish_task(self, task: str) -> None:
        """End the training of a task; a replay is emptied."""
        super().finish_task(task)
        if isinstance(self.model, OffPolicyAlgorithm) and self.model.replay_buffer is not None:
            self.model.replay_buffer.reset()

    def set_env(
        self, env: Any, num_envs: int | None = None, env_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Go on in other environments, as many and with the same spaces."""
        super().set_env(env, num_envs or self.num_envs or None, env_kwargs)
        assert self.batch is not None
        assert self.collector is not None
        self._env = vec_env_from_zero(self.batch)
        self.model.set_env(self._env)
        seeds = list(self.collector.seeds or [])
        self.collector = SB3Collector(self, self._env, seeds)  # type: ignore[assignment]

    # ------------------------------------------------------------------ saving

    @classmethod
    def load(
        cls, path: str | Path, env: Any = None, device: str = "auto", *, trust: bool = False
    ) -> Self:
        """Read an agent from a checkpoint or run folder, or from a zip of stable-baselines3.

        Args:
            path: Where `save` wrote, or the zip.
            env: Environments to go on training with; None gives an agent that predicts.
            device: As in the constructor.
            trust: A zip holds pickled code that runs when it is read; say that you trust it.

        Raises:
            ValueError: A zip without ``trust``, or one with settings that our Config does not have.
        """
        path = Path(path)
        file = path if path.is_file() else path.with_name(path.name + ".zip")
        if not file.is_file():
            return super().load(path, env, device)
        if not trust:
            raise ValueError(
                f"{file} is an archive of stable-baselines3: reading it runs code that it holds. "
                "If you trust whoever made it, load it with trust=True"
            )
        return cls._from_zip(file, env, device)

    @classmethod
    def _from_zip(cls, file: Path, env: Any, device: str) -> Self:
        loaded = cls.algorithm.load(file, device="cpu")
        known = {name: getattr(loaded, name, None) for name in vars(cls.Config())}
        known = {k: v for k, v in known.items() if isinstance(v, bool | int | float | str)}
        arch = loaded.policy_kwargs.get("net_arch")
        arch = arch if isinstance(arch, list) and all(isinstance(n, int) for n in arch) else None
        config = cls.Config(**{**known, "policy": "auto", "net_arch": arch})
        spaces = Spaces(_named(loaded.observation_space), loaded.action_space, {})
        agent = cls(spaces if env is None else env, config, device=device)
        try:
            agent.model.set_parameters(loaded.get_parameters())
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"{file} has networks that this Config cannot make "
                f"(policy_kwargs {loaded.policy_kwargs}): {error}"
            ) from error
        agent.num_timesteps = loaded.num_timesteps
        return agent


class _Nowhere:
    """Spaces with the face of a batch, for an agent that only predicts."""

    def __init__(self, spaces: Spaces) -> None:
        self.num_envs = 1
        self.observation_spaces, self.action_space = spaces.observation, spaces.action


def _is_image(space: Space[Any]) -> bool:
    return isinstance(space, Box) and is_image_space(space)


def _named(space: Space[Any]) -> dict[str, Space[Any]]:
    return dict(space.spaces) if isinstance(space, Dict) else {"observation": space}
