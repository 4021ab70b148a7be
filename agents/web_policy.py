"""The policy of `web` on element tables: a pointer to elements, with a field for what is typed."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMPOSSIBLE = -1e9
"""Logit of what cannot be chosen."""


class Parameters(NamedTuple):
    """The policy's logits, taken apart."""

    joint: Tensor  # (N, 1 + 2 R): nothing, click each row, type into each row
    field: Tensor  # (N, R, F)


class PointerPolicy(nn.Module):
    """Distribution over (type, row, field) of the preset ``liu18``."""

    def __init__(self, rows: int, fields: int) -> None:
        """Take the sizes of the action space."""
        super().__init__()
        self.rows, self.fields = rows, fields
        self.size = 1 + 2 * rows + rows * fields

    def split(self, output: Tensor) -> Parameters:
        """Take the logits (N, size) apart."""
        joint, field = output.split([1 + 2 * self.rows, self.rows * self.fields], -1)
        return Parameters(joint, field.view(-1, self.rows, self.fields))

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Draw (N, 3) by exponential races."""
        parameters = self.split(output)

        def draw(logits: Tensor) -> Tensor:
            race = torch.empty_like(logits).exponential_(generator=generator)
            return (logits - race.log_()).argmax(-1)

        return self._action(draw(parameters.joint), draw, parameters.field)

    def mode(self, output: Tensor) -> Tensor:
        """Return the most likely type and row, and its most likely field, (N, 3)."""
        parameters = self.split(output)
        best = parameters.joint.argmax(-1)
        return self._action(best, lambda logits: logits.argmax(-1), parameters.field)

    def _action(self, place: Tensor, choose: Any, field: Tensor) -> Tensor:
        kind = torch.where(place == 0, 0, 1 + (place - 1).div(self.rows, rounding_mode="floor"))
        row = (place - 1).clamp(min=0) % self.rows
        fields = choose(field[torch.arange(len(row), device=row.device), row])
        return torch.stack([kind, row, torch.where(kind == 2, fields, 0)], -1)

    def log_prob_entropy(self, output: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return log pi(action) and the entropy, (N,) each; unused components do not count."""
        parameters = self.split(output)
        joint, field = (F.log_softmax(logits, -1) for logits in parameters)
        kind, row, chosen = action.long().unbind(-1)
        place = torch.where(kind == 0, 0, 1 + (kind - 1) * self.rows + row)
        log_pi = joint.gather(-1, place.unsqueeze(-1)).squeeze(-1)
        of_row = field[torch.arange(len(row), device=row.device), row]
        own = of_row.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
        log_pi = log_pi + torch.where(kind == 2, own, 0.0)
        typing = joint[:, 1 + self.rows :].exp()
        of_fields = -(field.exp() * field.clamp(min=-50.0)).sum(-1)
        entropy = -(joint.exp() * joint.clamp(min=-50.0)).sum(-1) + (typing * of_fields).sum(-1)
        return log_pi, entropy

    def describe(self, output: Tensor) -> dict[str, Tensor]:
        """Return the probabilities of rows, clicked or typed into, (N, R)."""
        joint = self.split(output).joint.softmax(-1)[:, 1:]
        return {"elements": joint[:, : self.rows] + joint[:, self.rows :]}
