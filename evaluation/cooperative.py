"""Metrics of agents that act together: team return, what each contributes, what messages say."""

from __future__ import annotations

import numpy as np


def team_return(returns: np.ndarray, *, shared: bool) -> np.ndarray:
    """Return of the team in each episode, counting a shared reward once.

    Summing a reward that every agent receives multiplies scores by the number of agents, which is
    why published scores of the same world differ by that factor.

    Args:
        returns: (episodes, agents).
        shared: Every agent receives the team's reward.

    Returns:
        (episodes,).

    Raises:
        ValueError: The rewards are said to be shared and differ.

    Example:
        >>> team_return(np.array([[2.0, 2.0], [3.0, 3.0]]), shared=True)
        array([2., 3.])
    """
    table = np.asarray(returns, np.float64)
    if not shared:
        return np.asarray(table.sum(1))
    if not np.allclose(table, table[:, :1]):
        raise ValueError("the agents' returns differ, so the reward is not shared")
    return np.asarray(table[:, 0])


def cross_play(matrix: np.ndarray) -> tuple[float, float]:
    """Score with the partner one was trained with, and with partners of other runs.

    A gap says that agents rely on a convention that only their own run knows (Hu et al. 2020,
    "Other-Play", 2003.02979).

    Args:
        matrix: (runs, runs); ``[i, j]`` is the score of run i's first with run j's second agent.

    Returns:
        Mean of the diagonal, mean of the rest.

    Raises:
        ValueError: Fewer than two runs, or not square.
    """
    scores = np.asarray(matrix, np.float64)
    runs = len(scores)
    if scores.shape != (runs, runs) or runs < 2:
        raise ValueError(f"expected a square matrix of at least 2 runs, got {scores.shape}")
    own = np.eye(runs, dtype=bool)
    return float(scores[own].mean()), float(scores[~own].mean())


def fairness(returns: np.ndarray) -> float:
    """Jain's index of the agents' mean returns: 1 if all get the same, 1 / agents if one gets all.

    Args:
        returns: (episodes, agents), not negative on average.

    Raises:
        ValueError: A mean return is negative, or all are 0.

    Example:
        >>> fairness(np.array([[4.0, 0.0]]))
        0.5
    """
    means = np.asarray(returns, np.float64).mean(0)
    if (means < 0).any() or not means.any():
        raise ValueError("the index needs mean returns of at least 0, not all 0")
    return float(means.sum() ** 2 / (len(means) * (means**2).sum()))


def message_information(messages: np.ndarray, meanings: np.ndarray) -> float:
    """Mutual information of what is said and what is meant, in bits: 0 if messages say nothing.

    The estimate from counts is too high by about ``(M - 1)(K - 1) / (2 n ln 2)`` bits for M
    messages, K meanings and n samples, so n should be large beside M K.

    Args:
        messages: (n,) whole numbers from 0.
        meanings: (n,) whole numbers from 0.

    Example:
        >>> message_information(np.array([0, 1, 0, 1]), np.array([1, 0, 1, 0]))
        1.0
    """
    joint = np.zeros((int(np.max(messages)) + 1, int(np.max(meanings)) + 1))
    np.add.at(joint, (np.asarray(messages), np.asarray(meanings)), 1.0)
    joint /= joint.sum()
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / independent[seen])).sum())


def purity(messages: np.ndarray, meanings: np.ndarray) -> float:
    """Share of messages that mean what their symbol means most often, 1 for a code without doubt.

    Symbols that are used once are pure by themselves: compare at like numbers of symbols.

    Args:
        messages: (n,) whole numbers from 0.
        meanings: (n,) whole numbers from 0.

    Example:
        >>> purity(np.array([0, 0, 0, 1]), np.array([5, 5, 2, 7]))
        0.75
    """
    joint = np.zeros((int(np.max(messages)) + 1, int(np.max(meanings)) + 1))
    np.add.at(joint, (np.asarray(messages), np.asarray(meanings)), 1.0)
    return float(joint.max(1).sum() / joint.sum())
