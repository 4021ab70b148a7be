"""SVCCA: how alike are two networks' activations on the same observations?

Raghu et al. 2017 (1706.05806): of each layer keep the directions that hold 99 % of the variance,
then find the canonical correlations between the two subspaces; their mean is the similarity. It
does not change under invertible linear maps within the kept subspaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from daedalus.accelerators.vector import make_batch
from daedalus.evaluation.evaluate import held_out_seeds
from daedalus.evaluation.policy import AgentPolicy, check_spaces


class Similarity(NamedTuple):
    """Of two layers.

    Attributes:
        correlations: Canonical correlations, largest first, in [0, 1].
        kept: Directions kept of the first and of the second layer.
        points: Observations; below 5 times the directions, correlations are too high.
    """

    correlations: np.ndarray
    kept: tuple[int, int]
    points: int

    @property
    def mean(self) -> float:
        """Mean correlation: the similarity."""
        return float(self.correlations.mean()) if len(self.correlations) else float("nan")

    @property
    def is_reliable(self) -> bool:
        """Whether there were enough observations."""
        return self.points >= 5 * max(self.kept)


def svcca(first: np.ndarray, second: np.ndarray, share: float = 0.99) -> Similarity:
    """Compare activations (N, D1) and (N, D2) of the same N observations.

    Args:
        first: Of one layer.
        second: Of another.
        share: Of the variance that the kept directions hold.

    Raises:
        ValueError: Different numbers of observations.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} observations; they must be the same")
    a, b = (_directions(np.asarray(x, np.float64), share) for x in (first, second))
    found = np.linalg.svd(a.T @ b, compute_uv=False)
    return Similarity(np.clip(found, 0.0, 1.0), (a.shape[1], b.shape[1]), len(first))


def _directions(x: np.ndarray, share: float) -> np.ndarray:
    """Return an orthonormal basis (N, k) of the directions that hold ``share`` of the variance."""
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    energy = np.cumsum(s**2)
    if not len(energy) or energy[-1] <= 1e-24:
        return u[:, :0]
    count = int(np.searchsorted(energy, share * energy[-1] * (1 - 1e-12))) + 1
    return u[:, :count]


def similarity(
    agents: Sequence[Any],
    env: str,
    *,
    points: int = 4_000,
    seed: int = 0,
    num_envs: int = 32,
    env_kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Similarity]:
    """Compare two agents' layers on the states that the first one visits.

    Args:
        agents: Two agents for the same environment.
        env: Environment id.
        points: Observations.
        seed: Chooses the held-out seeds.
        num_envs: Copies of the environment stepped together.
        env_kwargs: Keyword arguments of the environment.

    Returns:
        By the name of the layer, from input to output, for layers that both agents have.

    Raises:
        ValueError: The agents do not fit the environment, or show no common layer.
        ValueError: An agent's networks cannot be asked.
    """
    import torch

    batch = make_batch(env, num_envs, env_kwargs=env_kwargs)
    for agent in agents:
        check_spaces(agent, batch, env)
    players = [AgentPolicy(agent) for agent in agents]
    batch.reset(held_out_seeds(num_envs, seed))
    for player in players:
        player.start(num_envs, seed)
    start, reward = np.ones(num_envs, bool), np.zeros(num_envs, np.float32)
    rows: list[dict[str, list[np.ndarray]]] = [{}, {}]
    for _ in range(-(-points // num_envs)):
        seen = batch.observation, reward, start
        for player, layers in zip(players, rows, strict=True):
            with torch.no_grad():
                found = player.agent.outputs(player.inputs(*seen), player.state).layers
            for name, value in found.items():
                layers.setdefault(name, []).append(value.flatten(1).cpu().numpy())
        action = players[0].choose(*seen).action
        players[1].choose(*seen)
        players[1].correct(action)
        batch.step(action)
        start, reward = batch.terminated | batch.truncated, batch.reward.copy()
    batch.close()
    first, second = ({n: np.concatenate(parts)[:points] for n, parts in r.items()} for r in rows)
    common = [name for name in first if name in second]
    if not common:
        raise ValueError(f"no common layer: {', '.join(first)} and {', '.join(second)}")
    return {name: svcca(first[name], second[name]) for name in common}
