"""What CPO can limit: costs by name, and the cost shaped by a predictor of failure."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import Space
from gymnasium.spaces import Box
from torch import Tensor, nn

from daedalus.accelerators.rollout import Rollout
from daedalus.agents.optimizers import Adam

NAMES = ("cost", "effort", "failure")


def check_costs(names: tuple[str, ...], space: Space[Any]) -> None:
    """See that costs can be taken of actions of ``space``.

    Raises:
        ValueError: There is no such cost, or ``effort`` of actions that are not continuous.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError(f"there is no cost {name!r}; there are: {', '.join(NAMES)}")
        if name == "effort" and not isinstance(space, Box):
            raise ValueError(
                "the cost 'effort' is of continuous actions; limit 'cost' or 'failure'"
            )


def costs_of(rollout: Rollout, names: tuple[str, ...], space: Space[Any]) -> Tensor:
    """Return costs per step, (K, T, B).

    ``cost`` is the environment's, ``effort`` the squared length of the action as the environment
    gets it, ``failure`` 1 where the episode terminates. Names are those that `check_costs` lets
    through.
    """
    found = []
    for name in names:
        if name == "effort":
            found.append(_effort(rollout, space))
        else:
            found.append(rollout.cost if name == "cost" else rollout.terminated.float())
    return torch.stack(found)


def _effort(rollout: Rollout, space: Space[Any]) -> Tensor:
    assert isinstance(space, Box)
    device = rollout.action.device
    low, high = (torch.as_tensor(end, device=device) for end in (space.low, space.high))
    return rollout.action.clamp(low, high).square().reshape(*rollout.reward.shape, -1).sum(2)


class FailurePredictor(nn.Module):
    """P(unsafe within the next steps | s): one hidden layer of 32 units and a sigmoid.

    CPO may limit C+ = C + alpha P in place of C (Achiam et al. 2017, section 7): a limit on what
    is about to happen holds what happens below it.
    """

    def __init__(self, inputs: int, hidden: int = 32, learning_rate: float = 1e-2) -> None:
        """Begin sure that all is well: the last layer is zero with a bias of -3."""
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, 1)
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.bias.fill_(-3.0)
        self.optimizer = Adam(self.parameters(), learning_rate)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (N, D) to logits (N,)."""
        logit: Tensor = self.last(self.first(rows).tanh()).squeeze(-1)
        return logit

    @torch.no_grad()
    def probability(self, rows: Tensor) -> Tensor:
        """Return P (N,) for (N, D)."""
        return self.forward(rows).sigmoid()

    def fit(self, rollout: Rollout, rows: Tensor, horizon: int, steps: int) -> float:
        """Take ``steps`` steps of Adam on the cross-entropy over the batch; return the last.

        Args:
            rollout: (T, B).
            rows: (T B, D), what was observed.
            horizon: Steps that the target looks ahead.
            steps: Gradient steps.
        """
        label = unsafe_within(rollout, horizon).flatten()
        valid = rollout.valid.flatten()
        for _ in range(steps):
            loss = F.binary_cross_entropy_with_logits(self(rows[valid]), label[valid])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return float(loss.detach()) if steps else float("nan")


def unsafe_within(rollout: Rollout, horizon: int) -> Tensor:
    """Return min(1, C_t + ... + C_{t + horizon - 1}) within the episode, (T, B).

    The end of the rollout counts as no cost: there nothing more is known.
    """
    cost = rollout.cost.cpu().numpy()
    goes_on = ~(rollout.terminated | rollout.truncated).cpu().numpy()
    total, window = cost.copy(), cost
    for _ in range(horizon - 1):
        shifted = np.zeros_like(window)
        shifted[:-1] = window[1:] * goes_on[:-1]
        total, window = total + shifted, shifted
    return torch.from_numpy(np.minimum(total, 1.0)).to(rollout.cost.device)
