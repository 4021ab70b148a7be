"""Returns and advantages over (T, B) arrays, compiled.

Everywhere: ``terminated`` stops the bootstrap, ``terminated or truncated`` stops the recursion, and
``next_value[t]`` is the value of the true successor of step t (the last observation of an episode
that was truncated there, not the first one of the next).

>>> import numpy as np
>>> no = np.zeros((2, 1), bool)
>>> reward = np.ones((2, 1), np.float32)
>>> n_step_return(reward, no, no, np.full((2, 1), 4.0, np.float32), 0.5).ravel().tolist()
[2.5, 3.0]
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def n_step_return(
    reward: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    next_value: np.ndarray,
    gamma: float,
) -> np.ndarray:
    """Return R_t = r_t + gamma R_{t+1} to the end of the rollout or episode (Mnih et al. 2016).

    R_{t+1} is ``next_value[t]`` at the last step and where the episode was truncated, 0 where it
    terminated.

    Args:
        reward: float32 (T, B).
        terminated: bool (T, B).
        truncated: bool (T, B).
        next_value: float32 (T, B); read only at T - 1 and where ``truncated``.
        gamma: Discount.

    Returns:
        float32 (T, B).
    """
    steps, envs = reward.shape
    result = np.empty((steps, envs), np.float32)
    for b in range(envs):
        following = next_value[steps - 1, b]
        for t in range(steps - 1, -1, -1):
            if terminated[t, b]:
                following = np.float32(0.0)
            elif truncated[t, b]:
                following = next_value[t, b]
            following = np.float32(reward[t, b] + gamma * following)
            result[t, b] = following
    return result


@njit(cache=True)
def discounted_return(
    reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, gamma: float
) -> np.ndarray:
    """Return the discounted sum of the rewards seen to the end of the episode, no bootstrap.

    Args:
        reward: float32 (T, B).
        terminated: bool (T, B).
        truncated: bool (T, B).
        gamma: Discount.

    Returns:
        float32 (T, B).
    """
    return n_step_return(reward, terminated, truncated, np.zeros_like(reward), gamma)


@njit(cache=True)
def gae(
    reward: np.ndarray,
    value: np.ndarray,
    next_value: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """Return advantages A_t = d_t + gamma lambda A_{t+1} (Schulman et al. 2016, eq. 16).

    d_t = r_t + gamma V(s_{t+1}) - V(s_t), without V(s_{t+1}) where terminated; the recursion stops
    at every end of an episode.

    Args:
        reward: float32 (T, B).
        value: float32 (T, B), V(s_t).
        next_value: float32 (T, B), V(s_{t+1}).
        terminated: bool (T, B).
        truncated: bool (T, B).
        gamma: Discount.
        gae_lambda: Decay of the mixture over n-step advantages.

    Returns:
        float32 (T, B).
    """
    steps, envs = reward.shape
    result = np.empty((steps, envs), np.float32)
    for b in range(envs):
        advantage = np.float32(0.0)
        for t in range(steps - 1, -1, -1):
            delta = reward[t, b] - value[t, b]
            if not terminated[t, b]:
                delta += gamma * next_value[t, b]
            if terminated[t, b] or truncated[t, b]:
                advantage = np.float32(0.0)
            advantage = np.float32(delta + gamma * gae_lambda * advantage)
            result[t, b] = advantage
    return result


@njit(cache=True)
def lambda_return(
    reward: np.ndarray,
    next_value: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    gamma: float,
    lambda_: float,
) -> np.ndarray:
    """Return G_t = r_t + gamma ((1 - lambda) V(s_{t+1}) + lambda G_{t+1}) (Sutton & Barto, 12.2).

    With ``next_value`` = max_a Q(s_{t+1}, a) this is Peng's Q(lambda), with the expectation under
    a policy naive Q(lambda).

    Args:
        reward: float32 (T, B).
        next_value: float32 (T, B), value of s_{t+1}.
        terminated: bool (T, B).
        truncated: bool (T, B).
        gamma: Discount.
        lambda_: 0 gives one-step targets, 1 gives `n_step_return`.

    Returns:
        float32 (T, B).
    """
    steps, envs = reward.shape
    result = np.empty((steps, envs), np.float32)
    for b in range(envs):
        following = next_value[steps - 1, b]
        for t in range(steps - 1, -1, -1):
            value = next_value[t, b]
            if truncated[t, b]:
                following = value
            mixed = (1.0 - lambda_) * value + lambda_ * following
            if terminated[t, b]:
                mixed = 0.0
            following = np.float32(reward[t, b] + gamma * mixed)
            result[t, b] = following
    return result


@njit(cache=True)
def n_step_map_return(
    reward: np.ndarray, next_value: np.ndarray, ends: np.ndarray, length: np.ndarray, gamma: float
) -> np.ndarray:
    """Return n-step targets of many rewards at once, for sequences of different lengths.

    The targets of pixel control: R_t = r_t + gamma R_{t+1} for every cell, up to each sequence's
    length; the last step adds ``next_value`` unless the sequence ends in a terminal state.

    Args:
        reward: float32 (T, N, C), C rewards per step.
        next_value: float32 (N, C), value after the last step of each sequence.
        ends: bool (N,), the sequence ends in a terminal state.
        length: int64 (N,), steps of each sequence, 0 .. T.
        gamma: Discount.

    Returns:
        float32 (T, N, C), 0 beyond each sequence's length.
    """
    steps, count, cells = reward.shape
    result = np.zeros((steps, count, cells), np.float32)
    for n in range(count):
        last = length[n] - 1
        factor = np.float32(0.0 if ends[n] else gamma)
        for t in range(last, -1, -1):
            for c in range(cells):
                if t == last:
                    result[t, n, c] = reward[t, n, c] + factor * next_value[n, c]
                else:
                    result[t, n, c] = reward[t, n, c] + np.float32(gamma) * result[t + 1, n, c]
    return result
