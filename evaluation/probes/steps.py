"""Steps of whole episodes, with what agents thought at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from daedalus.accelerators.vector import EnvBatch, make_batch
from daedalus.evaluation.evaluate import held_out_seeds
from daedalus.evaluation.policy import AgentPolicy, check_spaces
from daedalus.evaluation.probes.perturbations import Lens, seen_ranges

MAX_STEPS = 1_000
"""Steps of an episode that are looked at, at most."""


class Steps(NamedTuple):
    """N steps of whole episodes, episode by episode.

    Attributes:
        episode: (N,) number of the episode.
        time: (N,) steps before.
        value: (N,) V(s), of the first agent.
        outcome: (N,) discounted return that followed, of rewards clipped as the agent clips them.
        so_far: (N,) sum of rewards before.
        total: (N,) sum of rewards of the whole episode.
        confidence: (N,) probability of the most likely action; nan without probabilities.
        entropy: (N,) of the policy; nan without probabilities.
        disagreement: (N,) standard deviation of all agents' values; nan for one.
    """

    episode: np.ndarray
    time: np.ndarray
    value: np.ndarray
    outcome: np.ndarray
    so_far: np.ndarray
    total: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray
    disagreement: np.ndarray

    def of(self, episodes: Sequence[int] | np.ndarray) -> Steps:
        """Return the steps of some episodes."""
        rows = np.isin(self.episode, episodes)
        return Steps(*(column[rows] for column in self))


class Watched(NamedTuple):
    """What was seen at one step of a batch, (B,) each, and the outcome of the step."""

    value: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray
    disagreement: np.ndarray
    reward: np.ndarray
    running: np.ndarray


def gather(
    agents: Sequence[Any],
    env: str,
    *,
    episodes: int = 100,
    seed: int = 0,
    num_envs: int = 32,
    env_kwargs: Mapping[str, Any] | None = None,
    perturbation: tuple[str, float] | None = None,
) -> Steps:
    """Play held-out episodes with the first agent and note what all of them think.

    Args:
        agents: One or more agents for the same spaces; the first acts.
        env: Environment id.
        episodes: Number of episodes.
        seed: Chooses them.
        num_envs: Copies of the environment stepped together.
        env_kwargs: Keyword arguments of the environment.
        perturbation: Of what all of them see: a name of `KINDS` and its strength.

    Raises:
        ValueError: An agent's spaces are not the environment's.
        ValueError: An agent's networks cannot be asked.
    """
    count = min(num_envs, episodes)
    batch = make_batch(env, count, env_kwargs=env_kwargs)
    for agent in agents:
        check_spaces(agent, batch, env)
    seeds = held_out_seeds(episodes, seed)
    parts: list[Steps] = []
    for first in range(0, episodes, count):
        chosen = seeds[first : first + count]
        part = _play(agents, batch, chosen, perturbation)
        parts.append(part._replace(episode=part.episode + first))
    batch.close()
    return Steps(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _play(
    agents: Sequence[Any],
    batch: EnvBatch,
    seeds: list[int],
    perturbation: tuple[str, float] | None,
) -> Steps:
    players = [AgentPolicy(agent) for agent in agents]
    size, count = batch.num_envs, len(seeds)
    lens = None
    if perturbation is not None:
        span = seen_ranges(players[0], batch, seeds)
        lens = Lens(*perturbation, batch.observation_spaces, span)
        lens.start(seeds[0])
    batch.reset(seeds + [seeds[-1]] * (size - count))
    for player in players:
        player.start(size, seeds[0])
    gamma = float(getattr(agents[0].config, "gamma", 1.0))
    start, reward = np.ones(size, bool), np.zeros(size, np.float32)
    running, tail = np.arange(size) < count, np.zeros(size)
    seen: list[Watched] = []
    for _ in range(MAX_STEPS):
        observation = lens.see(batch.observation) if lens else batch.observation
        asked = observation, reward, start
        thought = _think(players, asked)
        action = players[0].choose(*asked).action
        for player in players[1:]:
            player.choose(*asked)
            player.correct(action)
        batch.step(action)
        seen.append(Watched(*thought, batch.reward.copy(), running.copy()))
        cut = running & batch.truncated & ~batch.terminated
        if cut.any():
            tail[cut] = _last_value(players[0], batch, lens)[cut]
        running = running & ~(batch.terminated | batch.truncated)
        if not running.any():
            break
        start, reward = batch.terminated | batch.truncated, batch.reward.copy()
    else:
        tail[running] = seen[-1].value[running]  # left where it was: what was expected there
    clip = float(getattr(agents[0].config, "reward_clip", 0.0)) or np.inf
    return _columns(seen, tail, gamma, clip)


def _think(
    players: Sequence[AgentPolicy], asked: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return value, confidence, entropy and disagreement (B,) before acting."""
    import torch

    found = []
    with torch.no_grad():
        for player in players:
            found.append(player.agent.outputs(player.inputs(*asked), player.state))
    values = np.stack([o.value.cpu().numpy() for o in found])
    nothing = np.full(values.shape[1], np.nan)
    spread = values.std(0) if len(found) > 1 else nothing
    if not hasattr(players[0].agent.spaces.action, "n"):
        return values[0], nothing, nothing, spread
    log_pi = found[0].policy.double().log_softmax(-1)
    pi = log_pi.exp()
    entropy = -(pi * log_pi).sum(-1).cpu().numpy()
    return values[0], pi.amax(-1).cpu().numpy(), entropy, spread


def _last_value(player: AgentPolicy, batch: EnvBatch, lens: Lens | None) -> np.ndarray:
    """Return V (B,) of the observations that the step led to, before any reset."""
    import torch

    last = {name: np.array(array) for name, array in batch.next_observation.items()}
    last = lens.see(last) if lens else last
    nothing = np.zeros(batch.num_envs, bool)
    with torch.no_grad():
        inputs = player.inputs(last, batch.reward, nothing)
        found = player.agent.outputs(inputs, player.state).value
    value: np.ndarray = found.cpu().numpy()
    return value


def _columns(seen: list[Watched], tail: np.ndarray, gamma: float, clip: float) -> Steps:
    """Turn steps of batches into columns of episodes; outcomes are of rewards within +-clip."""
    table = Watched(*(np.stack(column) for column in zip(*seen, strict=True)))
    running = table.running
    reward = np.where(running, table.reward, 0.0).astype(np.float64)
    outcome = np.zeros_like(reward)
    follows = tail.copy()
    for t in range(len(seen) - 1, -1, -1):
        gained = np.clip(reward[t], -clip, clip)
        follows = np.where(running[t], gained + gamma * follows, follows)
        outcome[t] = follows
    so_far = np.cumsum(reward, 0) - reward
    total = np.broadcast_to(reward.sum(0), reward.shape)
    episode = np.broadcast_to(np.arange(reward.shape[1]), reward.shape)
    time = np.broadcast_to(np.arange(len(seen))[:, None], reward.shape)
    columns = (
        episode, time, table.value, outcome, so_far, total,
        table.confidence, table.entropy, table.disagreement,
    )  # fmt: skip
    return Steps(*(np.array(column).T[running.T] for column in columns))
