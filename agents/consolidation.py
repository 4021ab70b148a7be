"""Consolidation: a penalty that keeps what earlier tasks need while the next one is learnt.

    L(theta) + scale/2 sum_j sum_k I_jk (theta_k - theta*_jk)^2

I_j says how much the tasks behind term j need each parameter, theta*_j is where it stood then. What
I is makes the method: 1 for `L2`, the Fisher information for `EWC` (`daedalus.agents.ewc`), the
path integral for `SI` (`daedalus.agents.si`). Agents take one by
``Config(consolidation="ewc", consolidation_weight=100)``, and `Agent.finish_task` at the end of a
task. The penalty's gradient is added to that of the loss, so that the loss itself (and what SI sees
of it) stays as it is; then comes the clipping, of both together. The algorithms of
stable-baselines3 take their steps themselves, and clip the loss's gradient before a consolidation
sees it (`Consolidation.attach`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

Likelihoods = Iterable[Sequence[tuple[float, Tensor]]]
"""For each sample, (weight, log-likelihood 0-d with a graph) of its possible outcomes."""


@dataclass(frozen=True, kw_only=True)
class Consolidated:
    """Settings of agents that take a consolidation."""

    consolidation: str = "none"
    """What protects earlier tasks of a sequence: "none", "l2", "ewc", "online_ewc" or "si"."""
    consolidation_weight: float | None = None
    """lambda of EWC and L2 (penalty lambda/2 sum I d^2), c of SI (c sum Omega d^2); None for 100,
    0.01 and 1, from where a search may begin: what is best differs by tasks."""
    fisher_samples: int = 512
    """Steps, at the end of a task or of its replay, that tell EWC the Fisher information."""
    ewc_decay: float = 1.0
    """gamma of "online_ewc": what remains of the Fisher information with each further task."""
    si_damping: float = 0.1
    """xi of "si": keeps parameters that hardly moved from being all-important."""


WEIGHTS = {"l2": 0.01, "ewc": 100.0, "online_ewc": 100.0, "si": 1.0}
"""Weights where none is given, of the order of those that kept tasks here."""


class Term(NamedTuple):
    """A quadratic around parameters, (P,) each."""

    importance: Tensor
    anchor: Tensor


class Consolidation:
    """A sum of quadratics around earlier parameters; subclasses say what they are."""

    def __init__(self, parameters: Iterable[nn.Parameter], scale: float) -> None:
        """Protect ``parameters``.

        Args:
            parameters: Leaves, in an order that stays.
            scale: Weight of the penalty; 0 switches it off.

        Raises:
            ValueError: ``scale`` is negative: it would drive parameters away.
        """
        if scale < 0:
            raise ValueError(f"the weight of a consolidation must be at least 0, got {scale}")
        self.parameters, self.scale = list(parameters), scale
        ends = accumulate((p.numel() for p in self.parameters), initial=0)
        parts = (slice(*pair) for pair in pairwise(ends))
        self._where = dict(zip(self.parameters, parts, strict=True))
        self.terms: dict[str, Term] = {}
        self._sum: tuple[Term, float] | None = None  # of all terms, and their least value
        self._norms: dict[str, Tensor] = {}  # of the gradients that the last step was made of

    def vector(self) -> Tensor:
        """Return all parameters as one vector (P,): a copy."""
        return torch.cat([p.detach().reshape(-1) for p in self.parameters])

    def put(self, name: str, importance: Tensor, anchor: Tensor) -> None:
        """Set the term ``name``, in place of one of that name."""
        self.terms[name] = Term(importance, anchor)
        self._sum = None

    def total(self) -> tuple[Term, float]:
        """Return the one quadratic that all terms sum to, and its least value.

        Its importance is the sum of theirs, its anchor their precision-weighted mean.
        """
        if self._sum is None:
            importance = torch.stack([t.importance for t in self.terms.values()]).sum(0)
            pull = torch.stack([t.importance * t.anchor for t in self.terms.values()]).sum(0)
            anchor = torch.where(importance > 0, pull / importance, 0.0)
            least = sum(
                float((t.importance * (anchor - t.anchor).square()).sum())
                for t in self.terms.values()
            )
            self._sum = Term(importance, anchor), least
        return self._sum

    def penalty(self) -> Tensor:
        """Return the penalty at the present parameters, 0-d, without a graph."""
        if not self.terms:
            return self.parameters[0].new_zeros(())
        (importance, anchor), least = self.total()
        away = (importance * (self.vector() - anchor).square()).sum(dtype=torch.float64)
        return 0.5 * self.scale * (away + least)

    def gradient(self) -> Tensor:
        """Return the penalty's gradient at the present parameters, (P,)."""
        if not self.terms:
            return torch.zeros_like(self.vector())
        (importance, anchor), _ = self.total()
        return self.scale * importance * (self.vector() - anchor)

    def curvature(self) -> Tensor | None:
        """Return the diagonal (P,) of the penalty's Hessian, None where nothing is kept."""
        return self.scale * self.total()[0].importance if self.terms and self.scale > 0 else None

    def observe(self, gradient: Tensor) -> None:
        """See the gradient (P,) of a loss before a step that no optimiser takes.

        `after_step` follows it.
        """

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Take part in every step of ``optimizer``, which moves some of the parameters."""
        listed = (p for group in optimizer.param_groups for p in group["params"])
        moved = [p for p in listed if p in self._where]
        if not moved:
            return
        optimizer.register_step_pre_hook(lambda *_: self.before_step(moved))
        optimizer.register_step_post_hook(lambda *_: self.after_step())

    def before_step(self, moved: Sequence[nn.Parameter] | None = None) -> None:
        """Add the penalty's gradient to the loss's, which ``backward`` has left in ``grad``.

        Args:
            moved: Those that the step is about to move; None for all.
        """
        if not self.terms or self.scale == 0:
            return
        gradient, moved = self.gradient(), self.parameters if moved is None else moved
        task = get_total_norm([p.grad for p in moved if p.grad is not None])
        added = get_total_norm([gradient[self._where[p]] for p in moved])
        self._norms = {"task_gradient_norm": task, "consolidation_gradient_norm": added}
        for p in moved:
            piece = gradient[self._where[p]].view_as(p)
            p.grad = piece.clone() if p.grad is None else p.grad.add_(piece)

    def after_step(self) -> None:
        """See what the optimiser's step has made of the parameters."""

    def finish(self, task: str, likelihoods: Likelihoods) -> None:
        """Protect what is known now: the training of ``task`` is over.

        Args:
            task: Its name; a task that comes again replaces what was kept of it, where a method
                keeps tasks apart.
            likelihoods: Of the task's outcomes under the model, see `daedalus.agents.ewc`; read
                only by methods that need them.
        """
        raise NotImplementedError

    def layers(self) -> list[slice]:
        """Return where layers lie in `vector`: a weight of two axes or more, and what follows it.

        That is its bias, and gains. An LSTM counts as two layers, of inputs and of its own state.
        """
        parts = [self._where[p] for p in self.parameters]
        starts = [part.start for p, part in zip(self.parameters, parts, strict=True) if p.ndim > 1]
        ends = sorted({0, *starts, parts[-1].stop})
        return [slice(*pair) for pair in pairwise(ends)]

    def metrics(self) -> dict[str, Tensor | Callable[[], Tensor]]:
        """Return what to log, as functions: the penalty and how far the parameters went.

        Where an optimiser takes the steps, the norms of the two gradients that the last one was
        made of, the task's and the penalty's, before any clipping of ours.
        The distance also comes weighted, sqrt(sum_k I_k (theta_k - theta*_k)^2), and the trace of
        I for each of `layers`.
        """
        if not self.terms:
            return {}
        importance, anchor = self.total()[0]
        counted = importance > 0  # parameters that no task needs have no anchor
        return {
            "consolidation_penalty": self.penalty,
            "consolidation_gradient_norm": lambda: self.gradient().norm(),
            **self._norms,
            "importance_trace": importance.sum,
            **{f"importance_trace_{i}": importance[x].sum for i, x in enumerate(self.layers())},
            "consolidation_distance": lambda: ((self.vector() - anchor) * counted).norm(),
            "consolidation_weighted_distance": lambda: (
                (self.vector() - anchor) * importance.sqrt()
            ).norm(),
        }

    def get_state(self) -> dict[str, Tensor]:
        """Return everything that `set_state` needs, by name."""
        return {
            f"{part}/{name}": value
            for name, term in self.terms.items()
            for part, value in term._asdict().items()
        }

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `get_state` returned."""
        like = self.vector()
        found = {k: torch.as_tensor(v).to(like) for k, v in state.items()}
        names = [k.removeprefix("anchor/") for k in found if k.startswith("anchor/")]
        self.terms = {n: Term(found[f"importance/{n}"], found[f"anchor/{n}"]) for n in names}
        self._sum = None


class L2(Consolidation):
    """Every parameter is as important as any other: pulled to where the last task left it."""

    def finish(self, task: str, likelihoods: Likelihoods) -> None:
        """Put the anchor where the parameters stand."""
        anchor = self.vector()
        self.put("latest", torch.ones_like(anchor), anchor)


def consolidation_from(settings: Any, parameters: Iterable[nn.Parameter]) -> Consolidation | None:
    """Return what ``settings.consolidation`` names, None for ``"none"``.

    Args:
        settings: The fields of `Consolidated`.
        parameters: What is protected.

    Raises:
        ValueError: There is no such method.
    """
    from daedalus.agents.ewc import EWC
    from daedalus.agents.si import SI

    name, weight = settings.consolidation, settings.consolidation_weight
    if name == "none":
        return None
    if weight is None:
        weight = WEIGHTS.get(name, 0.0)
    if name == "l2":
        return L2(parameters, weight)
    if name == "ewc":
        return EWC(parameters, weight)
    if name == "online_ewc":
        return EWC(parameters, weight, decay=settings.ewc_decay)
    if name == "si":
        return SI(parameters, weight, settings.si_damping)
    raise ValueError(f"consolidation must be none, l2, ewc, online_ewc or si, got {name!r}")
