"""SI: synaptic intelligence (Zenke, Poole and Ganguli 2017, 1703.04200).

Every parameter adds up what its moves did to the loss, over the steps of a task:

    omega_k = sum_steps -(dL/dtheta_k) (theta_k(after) - theta_k(before))

L is the loss of the task, without the penalty; the gradient is that before the step, and the move
the one that the optimiser made, with its clipping and scaling. At the end of the task

    Omega_k <- Omega_k + max(0, omega_k) / (Delta_k^2 + xi)
    Delta_k = theta_k(end of the task) - theta_k(its start)

then omega is 0 again, and the penalty of the next task is c sum_k Omega_k (theta_k - theta*_k)^2,
around the parameters as they stand. For gradient descent on a quadratic sum_k omega_k is the fall
of the loss, and for a diagonal Hessian omega_k / Delta_k^2 = H_kk / 2, so that c = 1 gives back the
quadratic itself; gradients' noise makes omega larger, so c is smaller in practice. (max(0, .) is in
the authors' code, of the sum Omega, not in the printed equation. Of each task's share, as here, it
leaves what earlier tasks need as it was.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from daedalus.agents.consolidation import Consolidation, Likelihoods


class SI(Consolidation):
    """Importance of a parameter: its share in the fall of the loss, by the way it went."""

    def __init__(self, parameters: Iterable[nn.Parameter], weight: float, damping: float) -> None:
        """Protect ``parameters``.

        Args:
            parameters: Leaves.
            weight: c.
            damping: xi; keeps a parameter that hardly moved from being all-important.

        Raises:
            ValueError: ``damping`` is not positive.
        """
        if damping <= 0:
            raise ValueError(f"si_damping must be positive, got {damping}")
        super().__init__(parameters, 2.0 * weight)
        self.damping = damping
        self.start = self.vector()
        self.omega = torch.zeros_like(self.start)
        self._gradient = self._before = self.omega

    def before_step(self, moved: Sequence[nn.Parameter] | None = None) -> None:
        """Keep the gradient of the loss and the parameters, then add the penalty's gradient."""
        self._gradient = torch.zeros_like(self.start)
        for p in self.parameters if moved is None else moved:
            if p.grad is not None:
                self._gradient[self._where[p]] = p.grad.reshape(-1)
        self._before = self.vector()
        super().before_step(moved)

    def observe(self, gradient: Tensor) -> None:
        """Keep the gradient of the loss and the parameters."""
        self._gradient, self._before = gradient, self.vector()

    def after_step(self) -> None:
        """Add to the path integral what the step has done."""
        self.omega.addcmul_(self._gradient, self.vector() - self._before, value=-1.0)

    def finish(self, task: str, likelihoods: Likelihoods) -> None:
        """Turn the path integral into importance, and begin another."""
        end, found = self.vector(), self.importance()
        before = self.terms.get("latest")
        self.put("latest", found if before is None else before.importance + found, end)
        self.start, self.omega = end, torch.zeros_like(end)

    def importance(self) -> Tensor:
        """Return what the present task would add to Omega if it ended here, (P,)."""
        moved = self.vector() - self.start
        return self.omega.clamp(min=0.0) / (moved.square() + self.damping)

    def metrics(self) -> dict[str, Tensor | Callable[[], Tensor]]:
        """Return also the fall of the loss by the path integral, and where it says a rise.

        From the second task on also the median and the 99 % quantile of Omega in each of `layers`,
        and how Omega correlates over parameters with what the present task would add to it: little
        where each task finds parameters of its own.
        """
        omega = self.omega
        found = {
            **super().metrics(),
            "si_omega": omega.sum,
            "si_negative": lambda: (omega < 0).float().mean(),
        }
        if (kept := self.terms.get("latest")) is not None:
            earlier = kept.importance
            found["si_correlation"] = lambda: correlation(earlier, self.importance())
            for i, layer in enumerate(self.layers()):
                found[f"importance_median_{i}"] = partial(quantile, earlier[layer], 0.5)
                found[f"importance_q99_{i}"] = partial(quantile, earlier[layer], 0.99)
        return found

    def get_state(self) -> dict[str, Tensor]:
        """Return the terms and where the path stands."""
        return {**super().get_state(), "path/omega": self.omega, "path/start": self.start}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `get_state` returned."""
        super().set_state(state)
        like = self.vector()
        self.omega = torch.as_tensor(state["path/omega"]).to(like).clone()
        self.start = torch.as_tensor(state["path/start"]).to(like).clone()


def quantile(values: Tensor, share: float) -> Tensor:
    """Return the value below which ``share`` of ``values`` (N,) lie, 0-d; N has no limit."""
    return torch.tensor(np.quantile(values.cpu().numpy(), share))


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's coefficient of two (N,), 0-d; 0 where one of them does not vary."""
    a, b = first.double() - first.double().mean(), second.double() - second.double().mean()
    lengths: Tensor = a.norm() * b.norm()
    return torch.dot(a, b) / lengths.clamp(min=1e-300)
