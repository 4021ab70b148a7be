"""Auxiliary tasks: heads and losses that shape the features, never the policy's input.

Pixel control, reward prediction and value replay are UNREAL's (Jaderberg et al. 2016, 1611.05397);
those that learn from labels are in `daedalus.agents.auxiliary_labels`.
Conventions: pixels in [0, 1]; pixel control sums over cells and time and averages over sequences;
depth sums over its pixels and time; all average over environments, as the actor-critic's loss.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import Space
from gymnasium.spaces import Discrete
from torch import Tensor, nn

from daedalus.accelerators.pixels import pixel_change
from daedalus.accelerators.replay import SequenceReplay, Sequences
from daedalus.accelerators.returns import n_step_map_return, n_step_return
from daedalus.accelerators.rollout import Rollout, Seen
from daedalus.agents.a3c_network import A3CNetwork, Unrolled
from daedalus.agents.base import Metric
from daedalus.agents.losses import explained_variance, map_q_loss, masked_value_loss
from daedalus.agents.networks import ConvolutionStack, channels_last
from daedalus.agents.reuse import linear_relu

FRAMES = 3
"""Frames that reward prediction sees."""

Loss = tuple[Tensor, dict[str, Metric]]
"""A task's loss, 0-d, without its weight, and what to log."""


class ReplayedSequences(NamedTuple):
    """Sequences and the network run over them, with gradients."""

    sequences: Sequences
    unrolled: Unrolled  # (T+1, N)


def gradient_norm(x: Tensor, scale: Tensor | float = 1.0) -> Metric:
    """Return a function for ``scale`` times the norm of the gradient that will have reached x."""
    kept: list[Tensor] = []
    x.register_hook(kept.append)
    return lambda: torch.linalg.vector_norm(kept[0]) * scale


def share(part: Tensor, among: Tensor) -> Tensor:
    """Return which share of ``among``, bool (...), ``part`` is in, 0-d; 0 where there is none."""
    return (part & among).sum() / among.sum().clamp(min=1)


# ------------------------------------------------------------------------------- pixel control


class PixelControlHead(nn.Module):
    """Q of every cell and action from the LSTM's output: duelling deconvolutions.

    Fully connected ReLU to a map of 32 channels and the size of the torso's last map, then 4 x 4
    transposed convolutions of stride 2 to one value and A advantages per cell, both through ReLU;
    Q = V + A - mean(A). A last map of 9 x 9 gives 20 x 20 cells.
    """

    def __init__(self, inputs: int, stack: ConvolutionStack, actions: int) -> None:
        """Fit the grid to the map of ``stack``: (h, w) gives (2h + 2, 2w + 2) cells."""
        super().__init__()
        self.height, self.width, _ = stack.map
        self.grid = (2 * self.height + 2, 2 * self.width + 2)
        self.spread = nn.Linear(inputs, 32 * self.height * self.width)
        self.maps = nn.ConvTranspose2d(32, 1 + actions, 4, 2)

    def forward(self, output: Tensor) -> Tensor:
        """Map (N, inputs) to Q (N, cells, A)."""
        x = linear_relu(output, self.spread)
        x = x.view(-1, self.height, self.width, 32).permute(0, 3, 1, 2)
        maps = F.relu(self.maps(x), inplace=True).flatten(2).transpose(1, 2)
        value, advantage = maps[..., :1], maps[..., 1:]
        return value + advantage - advantage.mean(-1, keepdim=True)


def grid_cells(image: Space[Any], grid: tuple[int, int]) -> tuple[int, int]:
    """Return height and width in pixels of a cell: as large as fits the image."""
    from daedalus.agents.networks import image_size

    height, width, _ = image_size(image)
    return height // grid[0], width // grid[1]


class PixelControl(nn.Module):
    """Learn to change every cell of the image: n-step Q-learning on replayed sequences.

    L = 0.5 sum_t sum_c (R_t^c - Q^c(s_t, a_t))^2, R_t^c = r_t^c + gamma R_{t+1}^c, bootstrapped
    with max_a Q^c of the current network. A step's r^c comes with the image it leads to, which at
    the end of an episode is its last image.
    """

    def __init__(
        self, network: A3CNetwork, action_space: Space[Any], weight: float, gamma: float
    ) -> None:
        """Build the head.

        Raises:
            ValueError: No image to control, or actions that are not discrete.
        """
        super().__init__()
        image = network.encoder.image()
        if image is None or not isinstance(action_space, Discrete):
            raise ValueError(
                "pixel control needs an image of 10 pixels or more a side and Discrete actions; "
                "set pixel_control=0 to train without it"
            )
        self.image, stack = image
        self.space = stack.space
        self.start = int(action_space.start)
        self.head = PixelControlHead(network.core.size, stack, int(action_space.n))
        self.cell = grid_cells(self.space, self.head.grid)
        self.weight, self.gamma = weight, gamma

    def describe(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the change of every cell by every step, (T, B, cells)."""
        images = rollout.observation[self.image]
        steps, batch = rollout.reward.shape
        after = images[1:]
        if len(rollout.final_index):
            after = after.clone()
            t, b = rollout.final_index.unbind(1)
            after[t, b] = rollout.final_observation[self.image]
        before, after = (
            channels_last(x.flatten(0, 1), self.space).contiguous() for x in (images[:-1], after)
        )
        change = pixel_change(before, after, self.head.grid, self.cell)
        return {"pixel_change": change.view(steps, batch, -1)}

    def loss(self, batch: ReplayedSequences) -> Loss:
        """Return the loss on replayed sequences.

        What is logged as ``pixel_return`` is the discounted change from the first step of each
        sequence to its last, to be held against ``pixel_q``, which also looks further.
        """
        sequences, unrolled = batch
        steps, count = sequences.reward.shape
        output = unrolled.output.flatten(0, 1)
        q = self.head(output).view(steps + 1, count, -1, self.head_actions)
        best = q.detach().amax(-1)
        envs = torch.arange(count, device=q.device)
        change = sequences.extra["pixel_change"]
        target = torch.from_numpy(
            n_step_map_return(
                change.cpu().numpy(),
                best[sequences.length, envs].cpu().numpy(),
                sequences.ends.cpu().numpy(),
                sequences.length.cpu().numpy(),
                self.gamma,
            )
        ).to(q.device)
        action = sequences.action.long() - self.start
        loss = map_q_loss(q[:-1], action, target, sequences.mask)
        return loss, {
            "pixel_change": change.mean,
            "pixel_q": best.mean,
            "pixel_return": lambda: self._discounted(change, sequences.mask),
            "pixel_control_gradient_norm": gradient_norm(output),
        }

    def _discounted(self, change: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over sequences and cells of the discounted ``change`` (T, N, cells)."""
        discount = self.gamma ** torch.arange(len(change), device=change.device).unsqueeze(1)
        return (discount * change.mean(-1) * mask).sum() / mask[0].sum().clamp(min=1)

    def inspect(self, now: Seen, before: Seen) -> dict[str, Tensor]:
        """Return Q^c(s, a) of the step before and r^c + gamma max_a Q^c of now, (B, rows, columns).

        Needs steps without gradients: their extras hold the core's output.
        """
        images = (step.inputs.observation[self.image] for step in (before, now))
        seen, after = (channels_last(image, self.space).contiguous() for image in images)
        change = pixel_change(seen, after, self.head.grid, self.cell)
        then, new = (self.head(step.acted.extras["output"]) for step in (before, now))
        taken = (now.inputs.previous_action.long() - self.start).view(-1, 1, 1)
        forecast = then.gather(-1, taken.expand(-1, then.shape[1], 1)).view_as(change)
        return {
            "prediction": forecast,
            "target": change + self.gamma * new.amax(-1).view_as(change),
        }

    @property
    def head_actions(self) -> int:
        """Number of actions A."""
        return int(self.head.maps.out_channels) - 1


# --------------------------------------------------------------------------- reward prediction


class RewardFrames(NamedTuple):
    """Frames of one episode and the class of the reward that follows them."""

    frames: dict[str, Tensor]  # (N, 3, ...)
    label: Tensor  # (N,) int64: 0 no reward, 1 positive, 2 negative


class RewardPrediction(nn.Module):
    """Predict the sign of the next reward from three frames, half of them before a reward.

    Frames t-2, t-1, t go with the reward of acting in frame t: the next reward, as in the paper. A
    ``gap`` of 1 shows t-3, t-2, t-1 instead, as public code does. All are of one episode.
    Cross-entropy, averaged over the draws; only the convolutions and a head of 128 units learn.
    """

    def __init__(self, network: A3CNetwork, weight: float, gap: int = 0, units: int = 128) -> None:
        """Build the head on the convolved images (or flat vectors) of three frames."""
        super().__init__()
        self.encoder = [network.encoder]  # in a list: its parameters belong to the network
        self.hidden = nn.Linear(FRAMES * network.encoder.encoded, units)
        self.classes = nn.Linear(units, 3)
        self.weight, self.gap = weight, gap

    def sample(
        self, replay: SequenceReplay, count: int, rng: np.random.Generator
    ) -> RewardFrames | None:
        """Draw ``count`` examples, or None while no step qualifies."""
        drawn = replay.rewarded(count, FRAMES - 1 + self.gap, rng)
        if drawn is None:
            return None
        reward = replay.reward_at(*drawn)
        label = torch.where(reward > 0, 1, torch.where(reward < 0, 2, 0))
        return RewardFrames(replay.frames(*drawn, FRAMES, self.gap), label)

    def loss(self, batch: RewardFrames) -> Loss:
        """Return the cross-entropy, and the accuracy by class: 0 for one that was not drawn."""
        count = len(batch.label)
        flat = {name: value.flatten(0, 1) for name, value in batch.frames.items()}
        encoded = self.encoder[0].encode(flat).float().view(count, -1)
        logits = self.classes(linear_relu(encoded, self.hidden))
        label, right = batch.label, logits.argmax(-1) == batch.label
        return F.cross_entropy(logits, label), {
            "reward_accuracy": lambda: share(right, label != 0),
            "positive_reward_accuracy": lambda: share(right, label == 1),
            "negative_reward_accuracy": lambda: share(right, label == 2),
            "no_reward_accuracy": lambda: share(right, label == 0),
            "rewarded_share": lambda: (label != 0).float().mean(),
        }


# --------------------------------------------------------------------------------- value replay


class ValueReplay(nn.Module):
    """Regress the value again on replayed sequences, cut at random places.

    L = 0.5 sum_t (R_t - V(s_t))^2. A point c uniform in 1 .. length divides each sequence: returns
    before c bootstrap at c, those from c on at the end, so the windows of the n-step returns vary.
    """

    def __init__(
        self, network: A3CNetwork, weight: float, gamma: float, rng: np.random.Generator
    ) -> None:
        """Draw the cuts from ``rng``."""
        super().__init__()
        self.critic = [network.critic]  # in a list: its parameters belong to the network
        self.weight, self.gamma, self.rng = weight, gamma, rng

    def loss(self, batch: ReplayedSequences) -> Loss:
        """Return the loss on replayed sequences."""
        cut = self.rng.integers(1, np.maximum(batch.sequences.length.cpu().numpy(), 1) + 1)
        returns = replayed_returns(batch.sequences, batch.unrolled.value.detach(), cut, self.gamma)
        value, mask = batch.unrolled.value[:-1], batch.sequences.mask
        seen, length = value.detach(), self.critic[0].weight.detach().norm()
        return masked_value_loss(value, returns, mask), {
            "replayed_value": seen.mean,
            "replayed_explained_variance": partial(explained_variance, seen, returns, mask),
            "value_replay_gradient_norm": gradient_norm(value, length),
        }


def replayed_returns(sequences: Sequences, value: Tensor, cut: np.ndarray, gamma: float) -> Tensor:
    """Return the n-step returns (T, N) of sequences that are divided at ``cut``.

    Args:
        sequences: Of at most T steps.
        value: (T+1, N), constants.
        cut: int (N,), 1 .. length: steps before it bootstrap from ``value[cut]``.
        gamma: Discount.
    """
    steps, count = sequences.reward.shape
    length = sequences.length.cpu().numpy()
    envs = np.arange(count)
    terminated = np.zeros((steps, count), bool)
    divided = np.zeros((steps, count), bool)
    last = np.maximum(length - 1, 0)
    terminated[last, envs] = sequences.ends.cpu().numpy() & (length > 0)
    divided[last, envs] = divided[cut - 1, envs] = True
    divided &= ~terminated
    following = value[1:].cpu().numpy()
    reward = sequences.reward.cpu().numpy()
    returns = n_step_return(reward, terminated, divided, following, gamma)
    return torch.from_numpy(returns).to(value.device)
