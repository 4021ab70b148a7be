"""What a policy of stable-baselines3 expects to earn, to be shown beside its actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Dict
from stable_baselines3.common.policies import BaseModel
from torch import Tensor

from daedalus.accelerators.rollout import Outputs, State


def value_of(policy: Any, observation: Any, action: np.ndarray) -> Tensor | None:
    """Return the expected discounted return (B,) as a policy without memory estimates it.

    V(s) of an actor-critic, max_a Q(s, a) of a deep Q-network, and for the others the smallest of
    their critics' Q(s, a) of the action taken (SAC and its kin count the entropy bonus in). Of
    quantiles the mean. None where nothing is estimated.
    """
    seen, _ = policy.obs_to_tensor(observation)
    if hasattr(policy, "predict_values"):
        return policy.predict_values(seen).flatten()  # type: ignore[no-any-return]
    if hasattr(policy, "q_net"):
        return policy.q_net(seen).amax(1)  # type: ignore[no-any-return]
    if hasattr(policy, "quantile_net"):
        return policy.quantile_net(seen).mean(1).amax(1)  # type: ignore[no-any-return]
    if not hasattr(policy, "critic"):
        return None
    scaled = torch.as_tensor(policy.scale_action(action), device=policy.device)
    found = policy.critic(seen, scaled)
    columns = torch.cat(found, 1) if isinstance(found, tuple) else found.mean(2)
    return columns.amin(1)


def distribution_of(policy: Any, observation: Any, masks: Any = None) -> dict[str, Tensor]:
    """Return what decides over the actions of a policy without memory, (B, A) by name.

    The probabilities of an actor-critic over Discrete actions, the action values of a deep
    Q-network; nothing of the others.
    """
    seen, _ = policy.obs_to_tensor(observation)
    if hasattr(policy, "q_net"):
        return {"action values": policy.q_net(seen)}
    if hasattr(policy, "quantile_net"):
        return {"action values": policy.quantile_net(seen).mean(1)}
    if not hasattr(policy, "get_distribution") or hasattr(policy, "lstm_actor"):
        return {}
    found = policy.get_distribution(seen, **({} if masks is None else {"action_masks": masks}))
    probabilities = getattr(found.distribution, "probs", None)
    return {} if probabilities is None else {"probabilities": probabilities}


def outputs_of(policy: Any, observation: Mapping[str, Tensor]) -> Outputs:
    """Return logits (means, action values), values and activations of a policy without memory.

    Args:
        policy: Of an actor-critic or of a deep Q-network.
        observation: (B, ...) by name; images as they are observed, floats where gradients are
            wanted.

    Raises:
        ValueError: The policy has memory, or neither probabilities nor action values.
    """
    space = policy.observation_space
    if isinstance(space, Dict):
        seen: Any = {n: _as_trained(observation[n], s) for n, s in space.spaces.items()}
    else:
        seen = _as_trained(next(iter(observation.values())), space)
    for name in ("q_net", "quantile_net"):
        if hasattr(policy, name):
            net = getattr(policy, name)
            values = net(seen) if name == "q_net" else net(seen).mean(1)
            features = net.extract_features(seen, net.features_extractor)
            return Outputs(values, values.amax(1), {"features": features})
    if not hasattr(policy, "get_distribution") or hasattr(policy, "lstm_actor"):
        raise ValueError(f"{type(policy).__name__} gives no policy and value of one observation")
    found = policy.get_distribution(seen).distribution
    logits = found.logits if hasattr(found, "logits") else found.mean
    features = BaseModel.extract_features(policy, seen, policy.pi_features_extractor)
    layers = {"features": features, "policy": policy.mlp_extractor.forward_actor(features)}
    return Outputs(logits, policy.predict_values(seen).flatten(), layers)


def _as_trained(value: Tensor, space: Any) -> Tensor:
    """Return images with their channels where the policy has them."""
    if value.dim() == 4 and value.shape[1:] != space.shape:
        return value.permute(0, 3, 1, 2)
    return value


def recurrent_value(
    policy: Any, observation: Any, memory: State, start: np.ndarray
) -> tuple[Tensor, State]:
    """Return V (B,) of a recurrent policy, and its critic's memory after the observation.

    Args:
        policy: Of ``RecurrentPPO``.
        observation: (B, ...), one array or a dict of them.
        memory: Before the observation, (B, layers, H) each; ``critic_*`` where the critic has an
            LSTM of its own.
        start: bool (B,), the observation is the first of its episode.
    """
    seen, _ = policy.obs_to_tensor(observation)
    begins = torch.as_tensor(start, dtype=torch.float32, device=policy.device)
    own = policy.lstm_critic is not None
    names = ("critic_hidden", "critic_cell") if own else ("hidden", "cell")
    before = tuple(memory[name].transpose(0, 1).contiguous() for name in names)
    value = policy.predict_values(seen, before, begins).flatten()
    if not own:
        return value, {}
    extractor = policy.vf_features_extractor
    features = BaseModel.extract_features(policy, seen, extractor)
    _, after = policy._process_sequence(features, before, begins, policy.lstm_critic)
    return value, {n: v.transpose(0, 1) for n, v in zip(names, after, strict=True)}
