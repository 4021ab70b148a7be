"""Auxiliary tasks from labels of the environment: depth and loop closure, as classification.

Those of "Learning to navigate in complex environments" (Mirowski et al. 2016, 1611.03673).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space
from torch import Tensor, nn

from daedalus.agents.a3c_network import Unrolled
from daedalus.agents.auxiliary import Loss, share
from daedalus.agents.losses import bernoulli_loss, bin_loss, f1_score, mean_of
from daedalus.agents.reuse import linear_relu


class LabelledRollout(NamedTuple):
    """A rollout's labels with what the network made of the same images."""

    unrolled: Unrolled  # (T, B)
    label: Mapping[str, Tensor]  # (T, B, ...), aligned with the images
    valid: Tensor  # (T, B) bool


class Depth(nn.Module):
    """Classify the depth of every pixel of a coarse map into bins.

    ``D1`` predicts from the encoder's features, ``D2`` from the LSTM's output; one hidden layer of
    128 units. Cross-entropy, summed over pixels and time, mean over environments.
    """

    def __init__(
        self,
        source: str,
        space: Space[Any],
        inputs: int,
        weight: float,
        bins: int,
        units: int = 128,
    ) -> None:
        """Build the head.

        Args:
            source: ``"features"`` (D1) or ``"output"`` (D2).
            space: Of the label: integers 0 .. bins - 1, any shape.
            inputs: Size of the source.
            weight: In the agent's loss.
            bins: Classes.
            units: Of the hidden layer.
        """
        super().__init__()
        self.name = "depth_1" if source == "features" else "depth_2"
        self.source, self.weight, self.bins = source, weight, bins
        self.pixels = int(np.prod(space.shape or (1,)))
        self.hidden = nn.Linear(inputs, units)
        self.classes = nn.Linear(units, self.pixels * bins)

    def forward(self, source: Tensor) -> Tensor:
        """Map (N, inputs) to logits (N, pixels, bins)."""
        logits: Tensor = self.classes(linear_relu(source, self.hidden))
        return logits.view(len(source), self.pixels, self.bins)

    def inspect(self, source: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Return the most likely bins and the true ones, each as the label (B, ...)."""
        return {"prediction": self(source).argmax(-1).view_as(label), "target": label}

    def loss(self, batch: LabelledRollout) -> Loss:
        """Return the loss and the accuracy on a labelled rollout."""
        steps, count = batch.valid.shape
        source = getattr(batch.unrolled, self.source).flatten(0, 1)
        logits = self(source).view(steps, count, self.pixels, self.bins)
        bins = batch.label["depth"].reshape(steps, count, self.pixels).long()
        right = (logits.argmax(-1) == bins).float()
        return bin_loss(logits, bins, batch.valid), {
            f"{self.name}_accuracy": partial(mean_of, right, batch.valid)
        }


class LoopClosure(nn.Module):
    """Tell from the LSTM's output whether this place was visited before and left in between."""

    def __init__(self, inputs: int, weight: float) -> None:
        """Build the single layer."""
        super().__init__()
        self.weight = weight
        self.layer = nn.Linear(inputs, 1)

    def loss(self, batch: LabelledRollout) -> Loss:
        """Return the loss and how well it tells; the classes are far from balanced."""
        valid = batch.valid
        logit = self.layer(batch.unrolled.output).squeeze(-1)
        label = batch.label["loop_closure"].reshape(valid.shape) > 0
        said, true = (logit > 0) & valid, label & valid
        return bernoulli_loss(logit, label, valid), {
            "loop_f1": partial(f1_score, said, true),
            "loop_precision": partial(share, true, said),
            "loop_recall": partial(share, said, true),
            "loop_share": partial(mean_of, label.float(), valid),
        }
