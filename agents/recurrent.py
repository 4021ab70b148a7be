"""An LSTM over (T, B) whose state starts anew where an episode does, with its own backward pass.

Gates are in the order input, forget, output, candidate::

    i, f, o = sigmoid(.),  g = tanh(.)   of   W [x_t, k_t h_{t-1}] + b,   k_t = 1 - episode_start_t
    c_t = f k_t c_{t-1} + i g,   h_t = o tanh(c_t)

The backward pass multiplies by the input and recurrent weights once for all T steps, where
automatic differentiation would do it T times; and what acting computed can be handed in, so that
the update needs no forward pass at all.

In bfloat16 matrix products are of rounded factors; gates, states and their gradients are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from daedalus.accelerators.products import add_product, product


class Recorded(NamedTuple):
    """What `LSTM.step` computed, step by step: T arrays each."""

    output: list[Tensor]  # (B, H)
    gates: list[Tensor]  # (B, 4H), after their non-linearities
    cell: list[Tensor]  # (B, H)


class LSTM(nn.Module):
    """One layer; see the module's docstring."""

    def __init__(self, inputs: int, hidden: int, dtype: torch.dtype = torch.float32) -> None:
        """Initialise uniformly in +-1/sqrt(hidden), with a forget bias of 1.

        Args:
            inputs: Of a step.
            hidden: H.
            dtype: Of the factors of matrix products; float32 for what parameters are.
        """
        super().__init__()
        self.dtype = dtype
        self.inputs, self.hidden = inputs, hidden
        bound = hidden**-0.5
        self.weight = nn.Parameter(torch.empty(4 * hidden, inputs).uniform_(-bound, bound))
        self.recurrent = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = 1.0

    def step(
        self, x: Tensor, h: Tensor, c: Tensor, episode_start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one step without a graph.

        Args:
            x: (B, inputs).
            h: (B, H).
            c: (B, H).
            episode_start: bool (B,).

        Returns:
            h (B, H), c (B, H) and the gates (B, 4H).
        """
        keep = (~episode_start).unsqueeze(1)
        with torch.no_grad():
            weight, recurrent = self._weights()
            gates = _affine(self.bias, x, weight.t())
            return _cell(gates, h * keep, c * keep, recurrent.t())

    def _weights(self) -> tuple[Tensor, Tensor]:
        if self.dtype == torch.float32:
            return self.weight, self.recurrent
        return self.weight.to(self.dtype), self.recurrent.to(self.dtype)

    def forward(
        self,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        episode_start: Tensor,
        recorded: Recorded | None = None,
    ) -> Tensor:
        """Unroll over T steps.

        Args:
            x: (T, B, inputs).
            h: (B, H), before step 0; no gradient flows into it.
            c: (B, H).
            episode_start: bool (T, B).
            recorded: Of `step`, for the same inputs and parameters.

        Returns:
            Outputs (T, B, H).
        """
        keep = (~episode_start).unsqueeze(-1).to(x.dtype)
        weights = *self._weights(), self.bias
        return _Unroll.apply(x, *weights, h.detach(), c.detach(), keep, recorded)  # type: ignore[no-any-return,no-untyped-call]


def _affine(base: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return base + x weight in the type of ``x``, the product in that of ``weight``."""
    if weight.dtype == x.dtype:
        return product(x, weight, base)
    return base + x.to(weight.dtype) @ weight


def _cell(gates: Tensor, h: Tensor, c: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn the inputs' share of the gates into h, c and gates, in place where possible."""
    hidden = h.shape[1]
    if recurrent.dtype == h.dtype:
        add_product(gates, h, recurrent)
    else:
        gates += h.to(recurrent.dtype) @ recurrent
    gates[:, : 3 * hidden].sigmoid_()
    gates[:, 3 * hidden :].tanh_()
    i, f, o, g = gates.split(hidden, 1)
    c = torch.addcmul(f * c, i, g)
    return o * c.tanh(), c, gates


class _Unroll(torch.autograd.Function):
    """The unrolled LSTM with backpropagation through time written out."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        recurrent: Tensor,
        bias: Tensor,
        h: Tensor,
        c: Tensor,
        keep: Tensor,
        recorded: Recorded | None,
    ) -> Tensor:
        known = recorded or _forward(x, weight, recurrent, bias, h, c, keep)
        output = torch.stack(list(known.output))
        ctx.save_for_backward(x, weight, recurrent, h, c, keep, output)
        ctx.gates, ctx.cell = known.gates, known.cell
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, recurrent, h, c, keep, output = ctx.saved_tensors
        d_gates = _through_time(d_output, recurrent, c, keep, ctx.gates, ctx.cell)
        before = torch.cat([h.unsqueeze(0), output[:-1]]) * keep
        exact = d_gates.reshape(-1, d_gates.shape[-1])
        flat = exact.to(weight.dtype)
        wanted = ctx.needs_input_grad[0]
        d_x = product(flat, weight).to(x.dtype).view_as(x) if wanted else None
        d_weight = product(flat.t(), x.reshape(-1, x.shape[-1]).to(weight.dtype))
        d_recurrent = product(flat.t(), before.reshape(-1, before.shape[-1]).to(weight.dtype))
        return d_x, d_weight, d_recurrent, exact.sum(0), None, None, None, None


def _forward(
    x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, c: Tensor, keep: Tensor
) -> Recorded:
    steps, batch, _ = x.shape
    gates = _affine(bias, x.reshape(steps * batch, -1), weight.t()).view(steps, batch, -1)
    recorded = Recorded([], list(gates), [])
    for t in range(steps):
        h, c, _ = _cell(gates[t], h * keep[t], c * keep[t], recurrent.t())
        recorded.output.append(h)
        recorded.cell.append(c)
    return recorded


def _through_time(
    d_output: Tensor,
    recurrent: Tensor,
    c: Tensor,
    keep: Tensor,
    gates: Sequence[Tensor],
    cell: Sequence[Tensor],
) -> Tensor:
    """Return the gradient of the gates before their non-linearities, (T, B, 4H).

    One step at a time: its few arrays stay in the cache, those of all steps would not.
    """
    steps, batch, hidden = d_output.shape
    result = d_output.new_empty(steps, batch, 4 * hidden)
    d_h, d_c = torch.zeros_like(c), torch.zeros_like(c)
    for t in range(steps - 1, -1, -1):
        i, f, o, g = gates[t].split(hidden, 1)
        to_i, to_f, to_o, to_g = result[t].split(hidden, 1)
        squashed = cell[t].tanh()
        before = (cell[t - 1] if t else c) * keep[t]
        d_h += d_output[t]
        d_squashed = d_h * o
        torch.mul(d_h, squashed, out=to_o)
        d_c += d_squashed.addcmul_(d_squashed * squashed, squashed, value=-1)
        torch.mul(d_c, g, out=to_i)
        torch.mul(d_c, before, out=to_f)
        torch.mul(d_c, i, out=to_g)
        sigmoids, squashes = gates[t][:, : 3 * hidden], result[t, :, : 3 * hidden]
        squashes.mul_(sigmoids).addcmul_(squashes, sigmoids, value=-1)
        to_g.addcmul_(to_g * g, g, value=-1)
        d_c = (d_c * f).mul_(keep[t])
        d_h = product(result[t].to(recurrent.dtype), recurrent).to(d_c.dtype).mul_(keep[t])
    return result
