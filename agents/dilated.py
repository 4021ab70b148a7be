"""The dilated LSTM of FeUdal Networks: r cores that share their weights and take turns.

Core t mod r is updated at step t, so each core sees every r-th input and remembers r times as far
back; the output pools what the cores hold (Vezhnevets et al. 2017, 1703.01161, section 4.1)::

    h_t, c_t = LSTM(x_t, h_{t-r}, c_{t-r}),   y_t = sum_{i=0..r-1} h_{t-i}

Written so, whose turn it is needs no counter: the state is the queue of the last r cells, oldest
first. The first cell is the one to update. A forward pass that is not a step of the episode (a
bootstrap value) leaves no trace, and an unrolled sequence is one LSTM over T / r steps of r B rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daedalus.agents.recurrent import LSTM


def summed(past: Tensor, x: Tensor, episode_start: Tensor, count: int) -> Tensor:
    """Return x_{t - count + 1} + ... + x_t, of the steps of the same episode alone.

    A product with a matrix of ones and zeros (B, T, N + T): an eighth of the arithmetic of an LSTM,
    where a sum of shifted copies moves all of ``x`` through memory for each of its terms.

    Args:
        past: (N, B, D), the N >= ``count`` - 1 steps before the first of ``x``, oldest first; zero
            where they were before the start of the episode that was going on.
        x: (T, B, D).
        episode_start: bool (T, B).
        count: Steps, 1 or more.

    Returns:
        (T, B, D).
    """
    device, steps = x.device, len(x)
    now = torch.arange(steps, device=device).view(-1, 1, 1)
    then = torch.arange(-len(past), steps, device=device)
    begun = torch.where(episode_start, now[..., 0], -len(past)).cummax(0).values.unsqueeze(-1)
    within = (then <= now) & (then > now - count) & (then >= begun)  # (T, B, N + T)
    rows = torch.cat([past, x]).transpose(0, 1)
    return (within.transpose(0, 1).to(rows.dtype) @ rows).transpose(0, 1)


def same_episode(episode_start: Tensor, lag: int) -> Tensor:
    """Return whether no episode began in (t - lag, t], bool (T, B), of bool (T, B)."""
    count = episode_start.long().cumsum(0)
    before = F.pad(count, (0, 0, lag, 0))[: len(count)]
    return count == before


class DilatedLSTM(nn.Module):
    """See the module's docstring; with ``dilation`` 1 it is an LSTM."""

    def __init__(
        self, inputs: int, hidden: int, dilation: int, dtype: torch.dtype = torch.float32
    ) -> None:
        """Build ``dilation`` cores of ``hidden`` units that share one set of weights."""
        super().__init__()
        if dilation < 1:
            raise ValueError(f"a dilated LSTM needs a dilation of at least 1, got {dilation}")
        self.dilation = dilation
        self.lstm = LSTM(inputs, hidden, dtype)

    def initial_state(self, num_envs: int) -> tuple[Tensor, Tensor]:
        """Return zeros for h and c, (num_envs, r, H) each."""
        zeros = self.lstm.bias.new_zeros(num_envs, self.dilation, self.lstm.hidden)
        return zeros, zeros

    def step(
        self, x: Tensor, h: Tensor, c: Tensor, episode_start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one step without a graph.

        Args:
            x: (B, inputs).
            h: (B, r, H), the cores in the order of their turns.
            c: (B, r, H).
            episode_start: bool (B,).

        Returns:
            The output (B, H), and the cores h and c after the step.
        """
        keep = (~episode_start).view(-1, 1, 1)
        h, c = h * keep, c * keep
        new_h, new_c, _ = self.lstm.step(x, h[:, 0], c[:, 0], episode_start)
        h = torch.cat([h[:, 1:], new_h.unsqueeze(1)], 1)
        c = torch.cat([c[:, 1:], new_c.unsqueeze(1)], 1)
        return h.sum(1), h, c

    def forward(self, x: Tensor, h: Tensor, c: Tensor, episode_start: Tensor) -> Tensor:
        """Unroll over T steps.

        Args:
            x: (T, B, inputs).
            h: (B, r, H), before step 0; no gradient flows into it.
            c: (B, r, H).
            episode_start: bool (T, B).

        Returns:
            Outputs (T, B, H).
        """
        steps, batch, inputs = x.shape
        radius, hidden = self.dilation, self.lstm.hidden
        restart = ~same_episode(episode_start, radius)
        missing = -steps % radius
        x = F.pad(x, (0, 0, 0, 0, 0, missing)).view(-1, radius * batch, inputs)
        restart = F.pad(restart, (0, 0, 0, missing)).view(-1, radius * batch)
        past, cell = (s.detach().transpose(0, 1) for s in (h, c))  # (r, B, H)
        rows = (s.reshape(radius * batch, hidden) for s in (past, cell))
        own = self.lstm(x, *rows, restart).view(-1, batch, hidden)[:steps]
        return summed(past, own, episode_start, radius)
