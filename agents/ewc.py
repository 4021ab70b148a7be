"""EWC: elastic weight consolidation (Kirkpatrick et al. 2017, 1612.00796).

    L(theta) = L_B(theta) + sum_{old tasks j} lambda/2 sum_k F_jk (theta_k - theta*_jk)^2

F_j is the diagonal of the Fisher information of what the model says about task j, at theta*_j:

    F_k = E_x E_{y ~ p(y|x, theta*)} [(d log p(y|x) / d theta_k)^2]

Outcomes y come from the model itself (data's labels would give the empirical Fisher, another
thing), and the square is taken of each sample's gradient. The square of a batch's mean gradient,
which many programs take for it, is about the batch size times too small and vanishes where training
has converged: `batch_gradient_fisher` is that, to compare with. F is a mean over samples, so
``lambda`` does not depend on their number.

Differences: F may be exact over the outcomes of a categorical model instead of sampled, and the
task-specific gains and biases of the paper's agent are left to the network.
``EWC(decay=gamma)`` is the online form (Schwarz et al. 2018, 1805.06370, without their
normalisation of F): one F, to which each task adds and of which gamma remains, around the latest
parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from daedalus.agents.consolidation import Consolidation, Likelihoods


class EWC(Consolidation):
    """A penalty for each task, or with ``decay`` one for all of them."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], weight: float, decay: float | None = None
    ) -> None:
        """Protect ``parameters``.

        Args:
            parameters: Leaves.
            weight: lambda.
            decay: gamma of the online form; None keeps tasks apart, each with its anchor.

        Raises:
            ValueError: ``decay`` is not in [0, 1].
        """
        if decay is not None and not 0 <= decay <= 1:
            raise ValueError(f"ewc_decay must be in [0, 1], got {decay}")
        super().__init__(parameters, weight)
        self.decay = decay

    def finish(self, task: str, likelihoods: Likelihoods) -> None:
        """Estimate F where the parameters stand, and put the anchor there."""
        fisher, anchor = diagonal_fisher(self.parameters, likelihoods), self.vector()
        if self.decay is None:
            self.terms.pop(task, None)  # a task that comes again is the latest
            self.put(task, fisher, anchor)
        else:
            before = self.terms.get("online")
            kept = 0.0 if before is None else self.decay * before.importance
            self.put("online", fisher + kept, anchor)

    def metrics(self) -> dict[str, Tensor | Callable[[], Tensor]]:
        """Return also how far the two latest tasks need the same parameters."""
        found = super().metrics()
        if len(self.terms) > 1:
            *_, before, last = (term.importance for term in self.terms.values())
            found["fisher_overlap"] = lambda: torch.tensor(fisher_overlap(before, last))
        return found

    def get_state(self) -> dict[str, Tensor]:
        """Return the terms, and the place of each among them: files sort by name."""
        places = {f"place/{name}": torch.tensor(i) for i, name in enumerate(self.terms)}
        return {**super().get_state(), **places}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `get_state` returned; those of earlier versions had no places."""
        super().set_state(state)
        order = sorted(self.terms, key=lambda name: int(state.get(f"place/{name}", 0)))
        self.terms = {name: self.terms[name] for name in order}


def diagonal_fisher(parameters: Iterable[nn.Parameter], likelihoods: Likelihoods) -> Tensor:
    """Return the diagonal of the Fisher information, (P,): mean over samples of squared gradients.

    Args:
        parameters: P numbers together.
        likelihoods: For each sample, weights and log-likelihoods of its outcomes: every outcome
            with its probability, or one drawn from the model with weight 1.

    Raises:
        ValueError: There is no sample.
    """
    listed = list(parameters)
    total = [torch.zeros_like(p) for p in listed]
    count = 0
    for outcomes in likelihoods:
        count += 1
        for left, (weight, log_likelihood) in enumerate(outcomes, 1 - len(outcomes)):
            found = _gradients(log_likelihood, listed, keep=left < 0)
            for sums, gradient in zip(total, found, strict=True):
                if gradient is not None:
                    sums.addcmul_(gradient, gradient, value=weight)
    if not count:
        raise ValueError("the Fisher information needs at least one sample")
    return torch.cat([sums.reshape(-1) for sums in total]) / count


def batch_gradient_fisher(parameters: Iterable[nn.Parameter], batches: Iterable[Tensor]) -> Tensor:
    """Return the squared gradient of each batch's mean log-likelihood, averaged: no Fisher, (P,).

    Gradients of single samples cancel before they are squared. It is here as the negative control
    of `diagonal_fisher`.

    Args:
        parameters: P numbers together.
        batches: Log-likelihoods (N,) of the samples of each batch.
    """
    listed = list(parameters)
    return diagonal_fisher(listed, ([(1.0, batch.mean())] for batch in batches))


def fisher_overlap(first: Tensor, second: Tensor) -> float:
    """Return how far two tasks need the same parameters: 1 proportional, 0 disjoint.

    1 - 0.5 |sqrt(F1 / tr F1) - sqrt(F2 / tr F2)|^2 (Kirkpatrick et al. 2017, supplement).
    """
    roots = [(f / f.sum().clamp(min=1e-30)).sqrt() for f in (first, second)]
    return 1.0 - 0.5 * float((roots[0] - roots[1]).square().sum())


def categorical_outcomes(
    logits: Tensor, generator: torch.Generator | None = None
) -> Iterator[tuple[float, Tensor]]:
    """Yield weights and log-likelihoods of the outcomes of a softmax.

    Args:
        logits: (A,), with a graph.
        generator: Draw one outcome with it; None yields all with their probabilities.
    """
    log_p = logits.log_softmax(-1)
    if generator is not None:
        drawn = torch.multinomial(log_p.detach().exp(), 1, generator=generator)
        yield 1.0, log_p[drawn.squeeze()]
        return
    for each in log_p:
        yield float(each.detach().exp()), each


def _gradients(
    value: Tensor, parameters: list[nn.Parameter], *, keep: bool
) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(value, parameters, retain_graph=keep, allow_unused=True)
