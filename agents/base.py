"""What every agent shares: the face of stable-baselines3, saving, and named random generators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box
from torch import Tensor, nn

from daedalus.accelerators.collector import Collector
from daedalus.accelerators.rollout import Acted, Inputs, Outputs, Rollout, Seen, State
from daedalus.accelerators.sequence import UNKNOWN
from daedalus.accelerators.vector import EnvBatch
from daedalus.agents.consolidation import Consolidation, Likelihoods
from daedalus.agents.logger import Logger
from daedalus.agents.networks import begin_with
from daedalus.agents.settings import checked, used
from daedalus.agents.spaces import arrays_of, space_from_json
from daedalus.agents.state import restore, state_of
from daedalus.agents.task_model import TaskModel, is_inferred
from daedalus.agents.tasks import driven, finish_task, open_batch, set_env

__all__ = [
    "Acted",
    "Agent",
    "Inputs",
    "Metrics",
    "Outputs",
    "Preparation",
    "Rollout",
    "Seen",
    "Spaces",
    "State",
]

Metric = float | Tensor | Callable[[], Tensor]
"""A number to log; tensors and functions are read only when a row is due, so no update waits."""

Metrics = Mapping[str, Metric]
"""The numbers of an update by name."""


class Preparation(NamedTuple):
    """Where an agent stands that learns before its first step in the environment."""

    what: str  # as "cloning the demonstrator"
    done: int  # updates
    total: int  # 0 where they are not counted
    metrics: Mapping[str, float]  # of the last update, logged under ``train/``


class Spaces(NamedTuple):
    """What an agent needs to know of its environment."""

    observation: dict[str, Space[Any]]
    action: Space[Any]
    label: dict[str, Space[Any]]


class Agent(ABC):
    """An agent: ``act`` and ``update`` by the algorithm, the rest here.

    A subclass sets ``name`` and ``Config`` and writes ``build`` (networks into ``self.modules``,
    optimisers into ``self.optimizers``), ``act`` and ``update``. All random numbers come from
    ``self.generators`` (torch) and ``self.rng`` (NumPy); everything in ``modules``,
    ``optimizers``, ``generators``, ``rng``, ``stores``, ``consolidation`` and the collector is
    saved and restored.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Any]]
    default_num_envs: ClassVar[int] = 16
    task_model: TaskModel | None = None  # where the task is to be inferred

    def __init__(
        self,
        env: Any,
        config: Any = None,
        *,
        num_envs: int | None = None,
        seed: int = 0,
        device: str = "auto",
        tensorboard_log: str | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Make an agent for ``env``.

        Args:
            env: An id, an environment, a vector of them or a batch (see `make_batch`); or `Spaces`,
                for an agent that only predicts. Where several agents act, each is a row of the
                batch (see `AgentRows`): they share what is learned here.
            config: An instance of ``Config``; by default its defaults.
            num_envs: Copies of the environment, where it can be copied.
            seed: All randomness of the agent and of the environments derives from it.
            device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
            tensorboard_log: Folder for TensorBoard; by default none is written.
            env_kwargs: Keyword arguments of the environment, where ``env`` is an id.
        """
        self.config = checked(self, self.Config() if config is None else config)
        self.seed = seed
        self.device = _device(device)
        self.num_timesteps = 0
        self.num_updates = 0
        self.num_prepared = 0
        self.total_timesteps = 0
        self.tensorboard_log = tensorboard_log
        self.logger = Logger()
        self.ep_info_buffer: deque[dict[str, float]] = deque(maxlen=100)
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.stores: dict[str, Any] = {}
        self.consolidation: Consolidation | None = None
        self.finished_tasks: list[str] = []
        self.task_started = 0  # steps at the start of the present one
        self.batch, self.spaces = self._open(env, num_envs, env_kwargs)
        init, act, train, draw = (int(s) for s in np.random.SeedSequence(seed).generate_state(4))
        self.generators = {
            name: torch.Generator(self.device).manual_seed(s)
            for name, s in (("act", act), ("update", train))
        }
        self.rng = np.random.default_rng(draw)
        with _seeded(init):
            self.build()
        if self.task_model is not None:
            self.modules["task_model"] = self.task_model
        self.collector: Collector | None = None
        if self.batch is not None:
            seeds = np.random.SeedSequence((seed, 1)).generate_state(self.batch.num_envs)
            self.collector = Collector(self.batch, self, self.device, [int(s) for s in seeds])

    def _open(
        self, env: Any, num_envs: int | None, env_kwargs: Mapping[str, Any] | None
    ) -> tuple[EnvBatch | None, Spaces]:
        if isinstance(env, Spaces):
            self.task_model = TaskModel(env.observation) if is_inferred(env.observation) else None
            return None, env
        copies = self.default_num_envs if isinstance(env, str) and num_envs is None else num_envs
        batch = open_batch(self, env, copies, env_kwargs)
        spaces = Spaces(batch.observation_spaces, batch.action_space, batch.label_spaces)
        self.task_model = TaskModel(spaces.observation) if is_inferred(spaces.observation) else None
        return driven(self, batch), spaces

    # ------------------------------------------------------------------ the algorithm's part

    def wrapped(self, batch: Any) -> Any:
        """Return environments as this agent drives them; by default as they are."""
        return batch

    @abstractmethod
    def build(self) -> None:
        """Make the networks and optimisers; global generators are seeded and restored around it."""

    @abstractmethod
    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Choose an action for every environment of ``inputs``."""

    @abstractmethod
    def update(self, rollout: Rollout) -> Metrics:
        """Learn from ``rollout`` and return what to log under ``train/``."""

    def prepare(self) -> Iterator[Preparation]:
        """Learn before the first step, one update at a time; nothing by default.

        Between two updates training may be saved and stopped. ``num_prepared`` counts the updates
        and is saved with the agent: a resumed run is asked again, and goes on from there.
        """
        return iter(())

    def initial_state(self, num_envs: int) -> State:
        """Return the recurrent state at the start, (num_envs, ...) each; none by default."""
        return {}

    def begin_with(self, observation: Mapping[str, Tensor]) -> None:
        """Show the networks the observations (B, ...) that training begins with."""
        begin_with(self.modules.values(), observation)

    def labels_needed(self) -> tuple[str, ...]:
        """Return the names of the label arrays that the losses use; none by default."""
        return ()

    def likelihoods(self) -> Likelihoods:
        """Yield log-likelihoods of what the agent says at the end of a task, for EWC."""
        raise ValueError(f"{self.name} gives EWC no likelihoods: take consolidation si or l2")

    def inspect(
        self, now: Seen, before: Seen | None, label: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Return what to show people who watch, by name; nothing by default.

        Called without gradients, and only when somebody watches.

        Args:
            now: What the agent has just acted on and how, (B, ...); its extras are those of
                acting without gradients.
            before: The step before in the same episode, if any.
            label: (B, ...) each, the labels of `labels_needed` that the environment gives.

        Returns:
            Tensors (B, ...), of which the first row is shown, dicts of them, or plain values as
            `daedalus.evaluation.panels.as_panel` takes them. ``"probabilities"`` (B, A) stand
            under the names of the actions.
        """
        return {}

    def outputs(self, inputs: Inputs, state: State) -> Outputs:
        """Return what the networks say of inputs, with gradients where observations ask for them.

        The agent's ``learner`` answers, where it has one that can.

        Args:
            inputs: (B, ...); images as float32 in [0, 255] where they are to have gradients.
            state: Before the step, (B, ...) each.

        Raises:
            ValueError: This agent's networks cannot be asked.
        """
        learner: Any = getattr(self, "learner", None)
        if not hasattr(learner, "outputs"):
            raise ValueError(f"{self.name} does not show the outputs of its networks")
        return learner.outputs(inputs, state)  # type: ignore[no-any-return]

    @property
    def rollout_length(self) -> int:
        """Steps per rollout and environment, T."""
        return int(self.config.n_steps)

    @property
    def progress(self) -> float:
        """Share of the present task's training that is done, 0 to 1; 1 also between two tasks."""
        total, done = (n - self.task_started for n in (self.total_timesteps, self.num_timesteps))
        return float(np.clip(done / total, 0, 1) if total > 0 else self.num_timesteps > 0)

    # ------------------------------------------------------------------ one task after another

    def finish_task(self, task: str) -> None:
        """End the training of a task: the consolidation protects what was learnt.

        Optimisers and replays start anew, and so does the annealing of the learning rate.
        """
        finish_task(self, task)

    def set_env(
        self,
        env: Any,
        num_envs: int | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on in another environment with the same spaces; the arguments are those of `Agent`.

        Raises:
            ValueError: The spaces differ.
        """
        set_env(self, env, num_envs, env_kwargs)

    def recognise(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return arrays (B, ...) with the array ``task`` filled in, where it is to be inferred."""
        if self.task_model is None or (observation["task"] != UNKNOWN).any():
            return observation
        bins = self.task_model.bins(observation)
        return {**observation, "task": self.task_model.recognise(bins)}

    # ------------------------------------------------------------------ the face of SB3

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int | None = None,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train until ``total_timesteps`` steps were taken over all environments.

        Args:
            total_timesteps: Steps to take.
            callback: An SB3 callback, a list of them, or a function of (locals, globals).
            log_interval: Environment steps between logged rows; by default 10,000 or more.
            tb_log_name: Name of this run under ``tensorboard_log``; by default the agent's.
            reset_num_timesteps: Count from zero, otherwise take ``total_timesteps`` more.
            progress_bar: Show one.
        """
        from daedalus.agents.training import Bar, train

        if reset_num_timesteps:
            self.num_timesteps = self.task_started = 0
        if self.tensorboard_log is not None:
            self.logger.open_tensorboard(Path(self.tensorboard_log), tb_log_name or self.name)
        train(
            self,
            self.num_timesteps + total_timesteps,
            callback=callback,
            progress=Bar() if progress_bar else None,
            log_interval=log_interval,
        )
        return self

    def predict(
        self,
        observation: Any,
        state: dict[str, np.ndarray] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        *,
        reward: np.ndarray | None = None,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Choose actions for observations, as stable-baselines3.

        Args:
            observation: One observation or a batch of them; a dict for several arrays.
            state: What the last call returned; None at the start.
            episode_start: bool (B,); True where the observation is the first of its episode.
            deterministic: Take the most likely action.
            reward: (B,) of the last step, for agents that see their reward; by default 0.

        Returns:
            The actions and the state for the next call (recurrent state and previous action).
        """
        arrays, batched = self._arrays(observation)
        count = len(next(iter(arrays.values())))
        start = np.ones(count, bool) if state is None else np.zeros(count, bool)
        if state is not None and episode_start is not None:
            start = np.asarray(episode_start, bool).reshape(count)
        previous, recurrent = self._previous(state, count)
        seen = np.zeros(count) if reward is None else np.asarray(reward).reshape(count)
        inputs = Inputs(
            {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()},
            previous,
            torch.from_numpy(np.where(start, 0.0, seen).astype(np.float32)).to(self.device),
            torch.from_numpy(start).to(self.device),
        )
        with torch.no_grad():
            acted = self.act(inputs, recurrent, deterministic)
        action = acted.action.cpu().numpy()
        carried = {f"recurrent/{k}": v.cpu().numpy() for k, v in acted.state.items()}
        return self._for_env(action if batched else action[0]), {
            "previous_action": action,
            **carried,
        }

    def _arrays(self, observation: Any) -> tuple[dict[str, np.ndarray], bool]:
        """Name and batch the arrays of an observation; also whether it was a batch."""
        spaces = self.spaces.observation
        arrays = arrays_of(observation, spaces)
        name, space = next(iter(spaces.items()))
        batched = arrays[name].ndim > len(space.shape or ())
        return self.recognise({k: v if batched else v[None] for k, v in arrays.items()}), batched

    def _previous(self, state: Mapping[str, np.ndarray] | None, count: int) -> tuple[Tensor, State]:
        if state is None:
            kind = (
                torch.int64 if np.dtype(self.spaces.action.dtype).kind in "iub" else torch.float32
            )
            shape = (count, *(self.spaces.action.shape or ()))
            zeros = torch.zeros(shape, dtype=kind, device=self.device)
            return zeros, self.initial_state(count)
        tensors = {k: torch.from_numpy(np.array(v)).to(self.device) for k, v in state.items()}
        previous = tensors.pop("previous_action")
        return previous, {k.removeprefix("recurrent/"): v for k, v in tensors.items()}

    def _for_env(self, action: np.ndarray) -> np.ndarray:
        space = self.spaces.action
        if isinstance(space, Box):
            return np.asarray(np.clip(action, space.low, space.high))
        return action

    def get_env(self) -> Any:
        """Return the environments as an SB3 ``VecEnv`` (they are the ones trained on), or None."""
        if self.batch is None:
            return None
        from daedalus.accelerators.sb3_vec_env import as_vec_env

        return as_vec_env(self.batch)

    def get_vec_normalize_env(self) -> Any:
        """Return None: nothing here normalises observations."""
        return None

    def take_episodes(self) -> None:
        """Move the finished episodes of the batch into ``ep_info_buffer``."""
        if self.batch is not None:
            for total, length in self.batch.pop_episodes():
                self.ep_info_buffer.append({"r": total, "l": float(length)})

    @property
    def num_envs(self) -> int:
        """Number of environments trained on; where several agents act, of agents in all copies."""
        return 0 if self.batch is None else self.batch.num_envs

    @property
    def copies(self) -> int:
        """Number of environments, however many agents act in each."""
        return int(getattr(self.batch, "copies", self.num_envs))

    # ------------------------------------------------------------------ saving

    def get_state(self) -> tuple[dict[str, Tensor | np.ndarray], dict[str, Any]]:
        """Return everything that training depends on: named tensors, and a dict for JSON."""
        return state_of(self)

    def set_state(
        self, tensors: Mapping[str, np.ndarray | Tensor], state: Mapping[str, Any]
    ) -> None:
        """Restore what `get_state` returned; training then goes on bit for bit (on the CPU).

        Raises:
            ValueError: The state is of another agent or of other spaces.
        """
        restore(self, tensors, state)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint into the folder ``path`` (no pickle in it)."""
        from daedalus.accelerators.checkpoint import write_checkpoint

        write_checkpoint(path, *self.get_state(), step=self.num_timesteps)

    @classmethod
    def load(cls, path: str | Path, env: Any = None, device: str = "auto") -> Self:
        """Read an agent from a checkpoint or run folder.

        Args:
            path: Where `save` wrote.
            env: Environments to go on training with; None gives an agent that predicts.
            device: As in the constructor.
        """
        from daedalus.accelerators.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(Path(path))
        return cls.from_state(checkpoint.tensors, checkpoint.state, env=env, device=device)

    @classmethod
    def from_state(
        cls,
        tensors: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        env: Any = None,
        num_envs: int | None = None,
        device: str = "auto",
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make an agent from what `get_state` returned."""
        if state["agent"] != cls.name:
            raise ValueError(f"this is a checkpoint of {state['agent']!r}, not of {cls.name!r}")
        names = ("observation_spaces", "label_spaces")
        observation, label = ({k: space_from_json(v) for k, v in state[n].items()} for n in names)
        spaces = Spaces(observation, space_from_json(state["action_space"]), label)
        config = cls.Config(**used(cls.Config, state["config"]))
        agent = cls(
            spaces if env is None else env,
            config,
            num_envs=num_envs or (int(state["num_envs"]) or None if isinstance(env, str) else None),
            seed=int(state["seed"]),
            device=device,
            env_kwargs=env_kwargs,
        )
        agent.set_state(tensors, state)
        return agent


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generator that torch initialises layers with, and put it back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
