"""A step down a gradient, Adam, and RMSProp as A3C uses it, over one vector of all parameters.

All parameters of `RMSProp` become views of one vector, and so do their gradients: the norm, the
clipping and the step are a handful of operations, however many layers there are.

PyTorch's optimizers import its compiler when they are made, which takes 1.5 s and 70 MB of every
process that trains or evaluates. Nothing here is compiled, so these do without.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from daedalus.accelerators.guards import check_gradients
from daedalus.agents.consolidation import Consolidation


def descend(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    named: Callable[[], Iterable[tuple[str, nn.Parameter]]],
    max_norm: float = 0.0,
    kept: Consolidation | None = None,
) -> Tensor:
    """Take a step down the gradient of ``loss``; return its norm, 0-d, before it is clipped.

    Args:
        optimizer: Takes the step.
        loss: 0-d, with a graph.
        named: Returns its parameters with their names, for the message.
        max_norm: A longer gradient is scaled to this norm; 0 for no limit.
        kept: Adds the gradient of its penalty, and sees the step.

    Raises:
        NotFiniteError: The loss or a gradient is not finite; no weight has changed.
    """
    optimizer.zero_grad()
    loss.backward()
    if kept is not None:
        kept.before_step()
    if isinstance(optimizer, RMSProp):
        norm, clip = optimizer.norm(), optimizer.clip
    else:
        moved = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.get_total_norm([p.grad for p in moved if p.grad is not None])
        clip = partial(_clip, moved)
    check_gradients(named, loss, norm)
    if max_norm > 0:
        clip(norm, max_norm)
    optimizer.step()
    if kept is not None:
        kept.after_step()
    return norm


def _clip(parameters: list[nn.Parameter], norm: Tensor, maximum: float) -> None:
    nn.utils.clip_grads_with_norm_(parameters, maximum, norm)


class _Uncompiled(torch.optim.Optimizer):
    """An optimizer whose methods have no detour through PyTorch's compiler."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class Adam(_Uncompiled, torch.optim.Adam):
    """`torch.optim.Adam`, the same to the bit."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class RMSProp(_Uncompiled):
    """g2 <- decay g2 + (1 - decay) g^2;  x <- x - lr g / sqrt(g2 + epsilon)  (no momentum).

    ``inside=True`` keeps epsilon inside the square root, as the original A3C; ``inside=False``
    uses sqrt(g2) + epsilon, as PyTorch. The two differ much at A3C's epsilon of 0.1: inside, a
    small gradient is divided by 0.32, outside by 0.1. With ``corrected`` g2 is divided by
    1 - decay^n, its weight after n steps (as in Adam): from zero, uncorrected, the first steps are
    ten times too long, which with a large learning rate silences ReLUs for good.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        decay: float = 0.99,
        epsilon: float = 0.1,
        inside: bool = True,
        corrected: bool = True,
    ) -> None:
        """Flatten ``parameters``; from then on they are views of one vector."""
        listed = [p for p in parameters if p.requires_grad]
        defaults = {"lr": lr, "decay": decay, "epsilon": epsilon, "inside": inside}
        defaults["corrected"] = corrected
        super().__init__(listed, defaults)
        total = sum(p.numel() for p in listed)
        self.vector = torch.empty(total, device=listed[0].device)
        self.gradient = torch.zeros_like(self.vector)
        start = 0
        for p in listed:
            _view(self.vector, start, p).copy_(p.data)
            p.data, p.grad = _view(self.vector, start, p), _view(self.gradient, start, p)
            start += p.numel()
        self.state[listed[0]]["square_average"] = torch.zeros_like(self.vector)
        self.state[listed[0]]["step"] = torch.zeros((), dtype=torch.float64)

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set all gradients to zero; they stay views of one vector."""
        self.gradient.zero_()

    def norm(self) -> Tensor:
        """Return the norm of the gradient, 0-d."""
        norm: Tensor = torch.linalg.vector_norm(self.gradient)
        return norm

    def clip(self, norm: Tensor, maximum: float) -> None:
        """Scale the gradient, which has ``norm``, to a norm of at most ``maximum``, above 0."""
        self.gradient.mul_((maximum / (norm + 1e-6)).clamp(max=1.0))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step."""
        group = self.param_groups[0]
        state, decay = self.state[group["params"][0]], group["decay"]
        average = state["square_average"]
        average.mul_(decay).addcmul_(self.gradient, self.gradient, value=1.0 - decay)
        state["step"] += 1
        weight = 1.0 - decay ** state["step"].item() if group["corrected"] else 1.0
        if group["inside"]:
            root = (average / weight).add_(group["epsilon"]).sqrt_()
        else:
            root = (average / weight).sqrt_().add_(group["epsilon"])
        self.vector.addcdiv_(self.gradient, root, value=-group["lr"])


def _view(vector: Tensor, start: int, like: Tensor) -> Tensor:
    """Return a piece of ``vector`` with the shape and memory order of ``like``."""
    piece = vector[start : start + like.numel()]
    return torch.as_strided(piece, like.shape, like.stride(), vector.storage_offset() + start)
