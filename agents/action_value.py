"""A critic Q(s, a) of continuous actions, learned off-policy with a slow copy as its target.

A step on 64 rows is so little arithmetic that the bookkeeping of automatic differentiation would
double it. So all parameters are one vector, the slow copy another, the gradient a third; the
gradient of the squared error is written out below (a test holds it to automatic differentiation's),
and Adam and the copy's move are one operation each.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from daedalus.accelerators.guards import check_gradients
from daedalus.agents.optimizers import Adam

Layers = list[tuple[Tensor, Tensor]]
"""Weight (out, in) and bias (out,) of each layer."""


class ActionValue(nn.Module):
    """ReLU layers; the action joins after the first (Lillicrap et al. 2015, 1509.02971).

    Q = mean + std * network, in units of the return; see `renormalise`.
    """

    slow: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, actions: int, hidden: tuple[int, ...]) -> None:
        """Build with the layers' usual start, and a last layer near zero.

        Args:
            inputs: Length of an observation's row, D.
            actions: Components of an action, A.
            hidden: Units of the layers.

        Raises:
            ValueError: There is no layer that the action could join.
        """
        super().__init__()
        if not hidden:
            raise ValueError("the critic needs a hidden layer, after which the action joins")
        sizes = list(pairwise((inputs, *hidden, 1)))
        sizes[1] = (sizes[1][0] + actions, sizes[1][1])
        self.shapes = [(out, before) for before, out in sizes]
        parts = []
        for out, before in self.shapes:
            bound = before**-0.5 if out > 1 else 3e-3
            parts += [torch.empty(n).uniform_(-bound, bound) for n in (out * before, out)]
        self.vector = nn.Parameter(torch.cat(parts))
        self.register_buffer("slow", self.vector.detach().clone())
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.zeros(()))

    def layers(self, vector: Tensor) -> Layers:
        """Return the layers as views of ``vector``."""
        found, start = [], 0
        for out, before in self.shapes:
            weight = vector[start : start + out * before].view(out, before)
            start += out * before
            found.append((weight, vector[start : start + out]))
            start += out
        return found

    def forward(self, rows: Tensor, action: Tensor) -> Tensor:
        """Map (N, D) and (N, A) to Q (N,)."""
        q = run(self.layers(self.vector), rows, action)[-1].squeeze(1)
        return self.mean + self.std * q

    def slope(self, rows: Tensor, action: Tensor) -> Tensor:
        """Return the gradient of Q by the action, (N, A), a constant."""
        with torch.enable_grad():
            at = action.detach().requires_grad_()
            q = run(self.layers(self.vector.detach()), rows, at)[-1]
            return self.std * torch.autograd.grad(q.sum(), at)[0]

    @torch.no_grad()
    def renormalise(self, returns: Tensor) -> None:
        """Take the mean from ``returns`` (N,), and their deviation where it is the widest so far.

        No value of Q or its copy changes by it, but for the first time, when they begin at the
        mean. So a step is as long for rewards of 1000 as for those of 0.001, and nothing has to be
        undone where Q is used (PopArt, van Hasselt et al. 2016, 1602.07714). A deviation that could
        shrink would enlarge the last layer, until the others' steps silenced their ReLUs.
        """
        mean = returns.mean()
        std = returns.std(correction=0).clamp(min=1e-3).maximum(self.std)
        if self.std > 0:
            for vector in (self.vector, self.slow):
                weight, bias = self.layers(vector)[-1]
                weight.mul_(self.std / std)
                bias.mul_(self.std / std).add_((self.mean - mean) / std)
        self.mean.copy_(mean)
        self.std.copy_(std)


def run(layers: Layers, rows: Tensor, action: Tensor) -> list[Tensor]:
    """Return what goes into each layer, and Q (N, 1)."""
    seen = [rows]
    for i, (weight, bias) in enumerate(layers):
        x = torch.addmm(bias, seen[-1], weight.t())
        if i < len(layers) - 1:
            x = x.relu()
        seen.append(torch.cat([x, action], 1) if i == 0 else x)
    return seen


class TemporalDifference:
    """Steps of Adam on the mean of (Q - target)^2, with the slow copy behind."""

    def __init__(
        self, critic: ActionValue, learning_rate: float, decay: float, bound: float | None = None
    ) -> None:
        """Make the optimiser.

        Args:
            critic: To be trained.
            learning_rate: Of Adam.
            decay: Share of itself that the slow copy keeps in a step.
            bound: Largest size of a target, in units of the network; None for any.
        """
        self.critic, self.decay = critic, decay
        self.bound = float("inf") if bound is None else bound
        critic.vector.grad = torch.zeros_like(critic.vector)
        vectors = (critic.vector.detach(), critic.slow, critic.vector.grad)
        self.layers, self.slow_layers, self.slopes = (critic.layers(v) for v in vectors)
        self.optimizer = Adam([critic.vector], learning_rate, fused=True)

    @torch.no_grad()
    def target(
        self, reward: Tensor, terminated: Tensor, following: Tensor, action: Tensor, gamma: float
    ) -> Tensor:
        """Return r + gamma Q'(s', a'), or r where s' is terminal, (N,) in units of the network.

        A critic whose errors feed on themselves would leave every return behind; within the bound
        its targets cannot.

        Args:
            reward: (N,).
            terminated: bool (N,).
            following: (N, D), s'.
            action: (N, A), a': the mean of the policy at s'.
            gamma: Discount.
        """
        critic = self.critic
        q = critic.mean + critic.std * run(self.slow_layers, following, action)[-1].squeeze(1)
        target = (reward + gamma * q * ~terminated - critic.mean) / critic.std
        return target.clamp_(-self.bound, self.bound)

    @torch.no_grad()
    def step(self, rows: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Take a step; return the errors Q - target (N,) before it.

        Raises:
            NotFiniteError: The gradient is not finite; no weight has changed.
        """
        critic = self.critic
        error = self.accumulate(rows, action, target)
        norm = torch.linalg.vector_norm(critic.vector.grad)
        check_gradients(critic.named_parameters, error.square().mean(), norm)
        self.optimizer.step()
        critic.slow.lerp_(critic.vector, 1 - self.decay)
        return error

    def accumulate(self, rows: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Write the gradient of the mean of (Q - target)^2; return the errors (N,)."""
        layers, seen = self.layers, run(self.layers, rows, action)
        error = seen[-1].squeeze(1) - target
        back = (error * (2 / len(error))).unsqueeze(1)
        for i in range(len(layers) - 1, -1, -1):
            torch.mm(back.t(), seen[i], out=self.slopes[i][0])
            torch.sum(back, 0, out=self.slopes[i][1])
            if i > 0:
                units = self.critic.shapes[i - 1][0]  # without those of an action that joined
                back = (back @ layers[i][0])[:, :units]
                back = torch.ops.aten.threshold_backward(back, seen[i][:, :units], 0)
        return error
