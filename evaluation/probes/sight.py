"""Sight: which pixels of an image decide, as heat maps over what the policy sees.

- ``grad_cam`` (Selvaraju et al. 2017, 1610.02391): the last convolution's maps A_k (N, K, h, w),
  weighted by the mean gradient of y over positions: ReLU(sum_k alpha_k A_k).
- ``integrated_gradients`` (Sundararajan et al. 2017, 1703.01365): (x - x') times the mean gradient
  on the way from a baseline x', by the midpoint rule; sums to y(x) - y(x').
- ``occlusion`` (Zeiler and Fergus 2014, 1311.2901): how far y falls when a grey patch hides a
  place; asks for no gradients.

y is the logit of the most likely action (before the softmax, which saturates), or the value. Of
a policy with memory, the memory is held fixed: maps say what the present image adds to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daedalus.accelerators.rollout import Inputs, Outputs, State
from daedalus.evaluation.panels import heat
from daedalus.evaluation.policy import AgentPolicy, Arrays, Choice
from daedalus.evaluation.probes.perturbations import blur, is_picture

Target = Callable[[Outputs], Tensor]
"""What is explained: outputs -> (B,)."""

STEPS = 32
"""Gradients on the way of `integrated_gradients`."""


def value_target(outputs: Outputs) -> Tensor:
    """Explain the value."""
    return outputs.value


def action_target(chosen: Tensor) -> Target:
    """Explain the outputs ``chosen`` (B,): logits of actions."""
    return lambda outputs: outputs.policy.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)


def best_action(agent: Any, inputs: Inputs, state: State) -> Target:
    """Explain the logit of what the policy would most likely do."""
    with torch.no_grad():
        return action_target(agent.outputs(inputs, state).policy.argmax(-1))


def grad_cam(agent: Any, name: str, inputs: Inputs, state: State, target: Target) -> np.ndarray:
    """Return maps float (B, H, W), at least 0, of the image ``name``.

    Raises:
        ValueError: The agent has no gradients, or its networks no convolutions.
    """
    image = inputs.observation[name].detach().float().requires_grad_()
    with _last_maps(agent) as kept, torch.enable_grad():
        outputs = agent.outputs(_with(inputs, name, image), state)
        if not kept:
            raise ValueError(f"{agent.name} has no convolutions here; take occlusion")
        maps = kept[-1]
        (slope,) = torch.autograd.grad(target(outputs).sum(), maps)
    weights = slope.mean((2, 3), keepdim=True)
    cam = F.relu((weights * maps.detach()).sum(1, keepdim=True))
    size = image.shape[1:3]
    scaled = F.interpolate(cam, size=size, mode="bilinear", align_corners=False)
    found: np.ndarray = scaled[:, 0].cpu().numpy()
    return found


def integrated_gradients(
    agent: Any,
    name: str,
    inputs: Inputs,
    state: State,
    target: Target,
    *,
    baseline: str = "blur",
    steps: int = STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Return attributions and their incompleteness.

    Args:
        agent: Its networks must be open to `Agent.outputs`.
        name: The image.
        inputs: (B, ...).
        state: Before the step.
        target: What is explained.
        baseline: x': ``"blur"`` (the image out of focus) or ``"black"``; black is often an image
            that an agent knows, such as a night or a wall.
        steps: m, gradients on the way.

    Returns:
        Attributions float (B, H, W), summed over colours, and |sum - (y(x) - y(x'))| relative to
        the larger of |y(x) - y(x')| and 1e-6, (B,): above 0.05, take more steps.
    """
    image = inputs.observation[name].detach().float()
    start = image * 0 if baseline == "black" else _blurred(image)
    total = torch.zeros_like(image)
    for k in range(steps):
        at = (start + (k + 0.5) / steps * (image - start)).requires_grad_()
        with torch.enable_grad():
            y = target(agent.outputs(_with(inputs, name, at), state)).sum()
            total += torch.autograd.grad(y, at)[0]
    parts = (image - start) * total / steps
    with torch.no_grad():
        ends = [target(agent.outputs(_with(inputs, name, x), state)) for x in (image, start)]
    rise = ends[0] - ends[1]
    error = (parts.flatten(1).sum(1) - rise).abs() / rise.abs().clamp(min=1e-6)
    return parts.sum(-1).cpu().numpy(), error.cpu().numpy()


def occlusion_map(
    agent: Any,
    name: str,
    inputs: Inputs,
    state: State,
    target: Target,
    *,
    patch: float = 0.2,
    stride: float = 0.1,
) -> np.ndarray:
    """Return how far y falls when a grey patch lies over a place: float (B, H, W).

    Args:
        agent: Its networks must be open to `Agent.outputs`.
        name: The image.
        inputs: (B, ...).
        state: Before the step.
        target: What is explained.
        patch: Side of the patch, a share of the shorter side.
        stride: Distance of neighbouring patches, a share of the shorter side.
    """
    image = inputs.observation[name].detach().float()
    height, width = image.shape[1:3]
    side, step = (max(1, round(share * min(height, width))) for share in (patch, stride))
    fall = np.zeros((len(image), height, width))
    count = np.zeros((height, width))
    with torch.no_grad():
        clean = target(agent.outputs(_with(inputs, name, image), state))
        for top in _places(height, side, step):
            for left in _places(width, side, step):
                hidden = image.clone()
                hidden[:, top : top + side, left : left + side] = 127.5
                y = target(agent.outputs(_with(inputs, name, hidden), state))
                place = np.s_[top : top + side, left : left + side]
                fall[(slice(None), *place)] += (clean - y).cpu().numpy()[:, None, None]
                count[place] += 1
    return fall / np.maximum(count, 1)


def deletion_curve(
    agent: Any, name: str, inputs: Inputs, state: State, target: Target, order: np.ndarray
) -> np.ndarray:
    """Return y as ever more pixels turn grey, those of the highest ``order`` first.

    A map means something where y falls faster than in a random order.

    Args:
        agent: Its networks must be open to `Agent.outputs`.
        name: The image.
        inputs: (B, ...).
        state: Before the step.
        target: What is explained.
        order: (B, H, W).

    Returns:
        (11, B): y with 0, 10 ... 100 % of the pixels gone.
    """
    image = inputs.observation[name].detach().float()
    ranks = (-order.reshape(len(order), -1)).argsort(1).argsort(1).reshape(order.shape)
    found = []
    for share in np.linspace(0, 1, 11):
        gone = torch.from_numpy(ranks < share * ranks[0].size).to(image.device)
        left = torch.where(gone.unsqueeze(-1), 127.5, image)
        with torch.no_grad():
            found.append(target(agent.outputs(_with(inputs, name, left), state)).cpu().numpy())
    return np.array(found)


def _places(size: int, side: int, step: int) -> list[int]:
    """Return where patches begin, the last one at the edge."""
    return sorted({*range(0, size - side, step), size - side})


def _with(inputs: Inputs, name: str, image: Tensor) -> Inputs:
    return inputs._replace(observation={**inputs.observation, name: image})


def _blurred(image: Tensor) -> Tensor:
    """Return images (B, H, W, C) out of focus by an eighth of their side."""
    array, span = image.cpu().numpy().astype(np.float64), np.array(255.0)
    far = blur(array, span, 0.125, np.random.default_rng(0))
    return torch.from_numpy(far.astype(np.float32)).to(image.device)


@contextmanager
def _last_maps(agent: Any) -> Iterator[list[Tensor]]:
    """Keep, within the block, every activation (N, K, h, w) that a ReLU gives."""
    kept: list[Tensor] = []

    def hook(_: Any, __: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.requires_grad:
            kept.append(output)

    relus = [m for root in agent.modules.values() for m in root.modules() if _is_relu(m)]
    handles = [module.register_forward_hook(hook) for module in dict.fromkeys(relus)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _is_relu(module: nn.Module) -> bool:
    return isinstance(module, nn.ReLU)


# ------------------------------------------------------------------------------ beside rollouts

METHODS = ("grad_cam", "integrated_gradients", "occlusion")


class Sighted(AgentPolicy):
    """An agent that also shows, as a panel, which pixels decided on its action or its value."""

    def __init__(
        self, agent: Any, method: str, *, of: str = "action", deterministic: bool = False
    ) -> None:
        """Explain ``agent``.

        Args:
            agent: It must observe an image.
            method: One of `METHODS`.
            of: ``"action"`` or ``"value"``.
            deterministic: Take the most likely action instead of drawing.

        Raises:
            ValueError: Unknown method, no image, or networks that give no gradients.
        """
        super().__init__(agent, deterministic=deterministic)
        if method not in METHODS:
            raise ValueError(f"unknown kind of sight {method!r}; known: {', '.join(METHODS)}")
        images = [name for name, space in agent.spaces.observation.items() if is_picture(space)]
        if not images:
            raise ValueError(f"{agent.name} observes no image here, so no pixels can be shown")
        self.method, self.of, self.image = method, of, images[0]

    def choose(self, observation: Arrays, reward: np.ndarray, start: np.ndarray) -> Choice:
        """Act, remembering with what."""
        self._asked = self.inputs(observation, reward, start), self.state
        return super().choose(observation, reward, start)

    def sight(self) -> np.ndarray:
        """Return the map (B, H, W) of the last choice.

        Raises:
            ValueError: The agent's networks cannot be asked.
        """
        inputs, state = self._asked
        target = value_target if self.of == "value" else best_action(self.agent, inputs, state)
        asked = (self.agent, self.image, inputs, state, target)
        if self.method == "grad_cam":
            return grad_cam(*asked)
        if self.method == "occlusion":
            return occlusion_map(*asked)
        found: np.ndarray = np.abs(integrated_gradients(*asked)[0])
        return found

    def inspect(self, label: Arrays) -> dict[str, Any]:
        """Show what the agent shows, and the map over the image."""
        found = super().inspect(label)
        image = self._asked[0].observation[self.image][0].cpu().numpy().astype(np.uint8)
        title = f"{self.method.replace('_', ' ')} of the {self.of}"
        return {**found, title: overlay(image, self.sight()[0])}


def overlay(image: np.ndarray, attribution: np.ndarray) -> np.ndarray:
    """Return a grey image with its heat map: uint8 (H, W, 3).

    Args:
        image: uint8 (H, W, C).
        attribution: (H, W); its 99th percentile is the brightest, what is below 0 stays grey.
    """
    top = max(float(np.percentile(attribution, 99)), 1e-12)
    share = np.clip(attribution / top, 0, 1)[..., None]
    grey = image.mean(-1, keepdims=True).repeat(3, -1)
    mixed = (1 - 0.8 * share) * grey + 0.8 * share * heat(attribution, 0.0, top)
    drawn: np.ndarray = np.rint(mixed).astype(np.uint8)
    return drawn
