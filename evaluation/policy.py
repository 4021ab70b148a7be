"""Policies as evaluation sees them: arrays of a batch in, actions and values out."""

from __future__ import annotations

import contextlib
import copy
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, MultiDiscrete
from gymnasium.vector.utils import batch_space
from numpy.random import MT19937, mtrand

from daedalus.accelerators.agent_rows import (
    INDICATOR,
    as_rows,
    has_agents,
    indicator,
    joint_actions,
    row_spaces,
)
from daedalus.accelerators.vector import EnvBatch

if TYPE_CHECKING:
    from daedalus.accelerators.rollout import Inputs, State

Arrays = dict[str, np.ndarray]


class Choice(NamedTuple):
    """What a policy chose."""

    action: np.ndarray  # (B, ...)
    value: np.ndarray | None  # (B,) expected discounted return, where the policy estimates one


class Policy(Protocol):
    """Chooses actions for a batch of environments."""

    @property
    def name(self) -> str:
        """What people call it."""

    def start(self, num_envs: int, seed: int) -> None:
        """Forget everything; ``num_envs`` episodes begin, with randomness from ``seed``."""

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Choose actions.

        Args:
            observation: Named arrays (B, ...).
            reward: (B,) of the last step; 0 where ``start``.
            start: bool (B,); the observation is the first of its episode.
        """


class RandomPolicy:
    """Draws uniformly from the action space."""

    name = "random"

    def __init__(self, action_space: Space[Any]) -> None:
        """Take the space of one environment."""
        self._space = action_space

    def start(self, num_envs: int, seed: int) -> None:
        """Seed the generator."""
        self._batch = batch_space(self._space, num_envs)
        self._batch.seed(seed)

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Draw an action for every environment."""
        return Choice(np.asarray(self._batch.sample()), None)


class AgentPolicy:
    """An agent that acts without learning; its own generator stays untouched."""

    def __init__(self, agent: Any, *, deterministic: bool = False) -> None:
        """Wrap an agent of `daedalus.agents`.

        Args:
            agent: The agent.
            deterministic: Take the most likely action instead of drawing.
        """
        self.agent, self.deterministic = agent, deterministic
        self.name = str(agent.name)

    def start(self, num_envs: int, seed: int) -> None:
        """Begin with the agent's initial recurrent state."""
        import torch

        self._generator = torch.Generator(self.agent.device).manual_seed(seed)
        self._state = self.agent.initial_state(num_envs)
        space = self.agent.spaces.action
        kind = torch.int64 if np.dtype(space.dtype).kind in "iub" else torch.float32
        shape = (num_envs, *(space.shape or ()))
        self._previous = torch.zeros(shape, dtype=kind, device=self.agent.device)
        self._now: Any = None

    def inputs(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Inputs:
        """Return what the agent acts on: tensors on its device, (B, ...)."""
        import torch

        from daedalus.accelerators.rollout import Inputs

        device, seen = self.agent.device, self.agent.recognise(observation)
        return Inputs(
            {n: torch.from_numpy(a.copy()).to(device) for n, a in seen.items()},
            self._previous,
            torch.from_numpy(np.where(start, 0.0, reward).astype(np.float32)).to(device),
            torch.from_numpy(np.array(start)).to(device),
        )

    @property
    def state(self) -> State:
        """The recurrent state with which the agent will act next, (B, ...) each."""
        state: State = self._state
        return state

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Act on a batch of observations."""
        import torch

        from daedalus.accelerators.rollout import Seen

        inputs = self.inputs(observation, reward, start)
        with torch.no_grad(), _Borrowed(self.agent, self._generator):
            acted = self.agent.act(inputs, self._state, self.deterministic)
        self._previous, self._state = acted.action, acted.state
        self._before, self._now = (None if start.any() else self._now), Seen(inputs, acted)
        value = acted.extras.get("value")
        return Choice(
            _for_env(acted.action.cpu().numpy(), self.agent.spaces.action),
            None if value is None else value.float().reshape(len(start), -1)[:, 0].cpu().numpy(),
        )

    def correct(self, action: np.ndarray) -> None:
        """Remember that other actions (B, ...) were taken than those chosen."""
        import torch

        self._previous = torch.as_tensor(action, device=self.agent.device).to(self._previous.dtype)

    def inspect(self, label: Arrays) -> dict[str, Any]:
        """Return what the agent has to show of its last choice, for the first environment."""
        import torch

        if not hasattr(self.agent, "inspect"):
            return {}
        labels = {n: torch.from_numpy(a.copy()).to(self.agent.device) for n, a in label.items()}
        with torch.no_grad():
            return {
                n: _plain(v) for n, v in self.agent.inspect(self._now, self._before, labels).items()
            }


def _plain(value: Any) -> Any:
    """Return the first row of tensors, also within a dict, as arrays; all else as it is."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if not hasattr(value, "detach"):
        return value
    first = value.detach()[0].cpu().numpy()
    return first if first.ndim else float(first)


class _Borrowed:
    """Lends an agent another generator for acting, so that evaluation changes no training run."""

    def __init__(self, agent: Any, generator: Any) -> None:
        self._generators, self._generator = agent.generators, generator

    def __enter__(self) -> None:
        self._own = self._generators.get("act")
        self._generators["act"] = self._generator

    def __exit__(self, *_: object) -> None:
        if self._own is None:
            del self._generators["act"]
        else:
            self._generators["act"] = self._own


class ModelPolicy:
    """Anything with stable-baselines3's ``predict``; what it draws depends on the seed alone."""

    def __init__(self, model: Any, *, deterministic: bool = False) -> None:
        """Wrap a model; bare observation spaces are handed over bare."""
        self.model, self.deterministic = model, deterministic
        self.name = type(model).__name__.lower()

    def start(self, num_envs: int, seed: int) -> None:
        """Forget the recurrent state."""
        self._state: Any = None
        self._seeded = _Seeded(self.model, seed)

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Ask the model."""
        named = isinstance(getattr(self.model, "observation_space", None), Dict)
        bare = len(observation) == 1 and not named
        seen = next(iter(observation.values())) if bare else observation
        with self._seeded:
            action, self._state = self.model.predict(
                seen, state=self._state, episode_start=start, deterministic=self.deterministic
            )
        return Choice(np.asarray(action), None)


class _Seeded:
    """Lends a model the random numbers of a seed, and takes them back.

    Models of SB3 draw from the global generators of torch and NumPy and from their action space.
    """

    def __init__(self, model: Any, seed: int) -> None:
        self._torch: list[Any] = []
        self._states: list[Any] = []
        if "torch" in sys.modules:  # a model that needs it has loaded it
            import torch

            self._torch = [torch.default_generator, *torch.cuda.default_generators]
            fresh = [torch.Generator(known.device).manual_seed(seed) for known in self._torch]
            self._states = [generator.get_state() for generator in fresh]
        self._numpy: Any = MT19937(seed)
        self._model, self._space = model, None
        space = getattr(model, "action_space", None)
        with contextlib.suppress(AttributeError):  # one that cannot be replaced is left alone
            if isinstance(space, Space):
                model.action_space = space
                self._space = copy.deepcopy(space)
                self._space.seed(seed)

    def _swap(self, *_: object) -> None:
        states = [generator.get_state() for generator in self._torch]
        for generator, state in zip(self._torch, self._states, strict=True):
            generator.set_state(state)
        self._states, numpy = states, mtrand.get_bit_generator()
        mtrand.set_bit_generator(self._numpy)
        self._numpy = numpy
        if self._space is not None:
            self._model.action_space, self._space = self._space, self._model.action_space

    __enter__ = __exit__ = _swap


class SharedPolicy:
    """One policy that acts for every agent of an environment (see `AgentRows`)."""

    def __init__(self, policy: AgentPolicy, action_space: MultiDiscrete) -> None:
        """Take a policy of rows, and the joint actions' space."""
        self.policy, self.agent, self.name = policy, policy.agent, policy.name
        self._space, self._agents = action_space, len(action_space.nvec)

    def start(self, num_envs: int, seed: int) -> None:
        """Begin for every agent of every environment."""
        self._who = {INDICATOR: indicator(self._agents, num_envs)}
        self.policy.start(num_envs * self._agents, seed)

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Choose for all agents; the value is their mean, the reward seen that of the team."""
        seen = as_rows(observation) | self._who
        rows = self.policy.choose(seen, reward.repeat(self._agents), start.repeat(self._agents))
        value = None if rows.value is None else rows.value.reshape(-1, self._agents).mean(1)
        return Choice(joint_actions(rows.action, self._space), value)

    def correct(self, action: np.ndarray) -> None:
        """Remember that other actions (1, agents) were taken than those chosen."""
        self.policy.correct(action.reshape(-1))

    def inspect(self, label: Arrays) -> dict[str, Any]:
        """Return what there is to show of the first agent's choice."""
        return self.policy.inspect(as_rows(label))


def as_policy(policy: Any, action_space: Space[Any], *, deterministic: bool = False) -> Policy:
    """Return a policy from ``"random"``, an agent, an SB3 model, or a policy.

    Raises:
        TypeError: None of these.
    """
    if isinstance(policy, str) and policy == "random":
        return RandomPolicy(action_space)
    if hasattr(policy, "choose"):
        made: Policy = policy
        return made
    if hasattr(policy, "act") and hasattr(policy, "initial_state"):
        acting = AgentPolicy(policy, deterministic=deterministic)
        one_of_many = (
            INDICATOR in policy.spaces.observation and policy.spaces.action != action_space
        )
        if one_of_many and isinstance(action_space, MultiDiscrete):
            return SharedPolicy(acting, action_space)
        return acting
    if hasattr(policy, "predict"):
        return ModelPolicy(policy, deterministic=deterministic)
    raise TypeError(f"expected 'random', an agent or an SB3 model, got {policy!r}")


def check_spaces(policy: Any, batch: EnvBatch, where: str) -> None:
    """Check that an agent can act in an environment.

    Args:
        policy: Anything that `as_policy` takes; only agents know their spaces.
        batch: The environment.
        where: What to call it.

    Raises:
        ValueError: Its observation or action space is not the agent's.
    """
    spaces = getattr(policy, "spaces", None)
    if spaces is None:
        return
    seen, act = dict(batch.observation_spaces), batch.action_space
    if has_agents(batch) and spaces.action != act:
        seen, act = row_spaces(batch)
    pairs = (
        ("observation space", dict(spaces.observation), seen),
        ("action space", spaces.action, act),
    )
    for what, agents, found in pairs:
        if agents != found:
            raise ValueError(
                f"the {what} of {where} is {found}, but {policy.name} was trained on {agents}"
            )


def _for_env(action: np.ndarray, space: Space[Any]) -> np.ndarray:
    return np.clip(action, space.low, space.high) if isinstance(space, Box) else action
