"""Agents that learn to talk: REINFORCE for every role, and nothing shared but the reward.

Lazaridou, Peysakhovich and Baroni 2017, "Multi-agent cooperation and the emergence of (natural)
language" (1612.07182). Each role i (sender, receiver) has a policy and a baseline of its own:

    L_i = -E[ sg(R - b_i(x)) log pi_i(a|x) + beta H(pi_i(.|x)) ] + c E[ (R - b_i(x))^2 ] / 2

over the steps in which it had a choice (the last term, of the baselines, is one mean over all steps
of all roles). A symbol is an action of one and an observation of the
other: no gradient passes through it. In the referential game the sender is

- *agnostic*: a linear layer for each image, side by side; a sigmoid; a linear layer to the symbols;
- *informed*: the same linear layer for all images, stacked; filters over the images, for each
  component of the embedding (20 of them; sigmoid), and one over the filters (sigmoid); a linear
  layer to the symbols; logits divided by tau;

and the receiver points where its embedding of an image agrees best with that of the symbol. In
other worlds every role is a small MLP.

Where a symbol is one step of many, neither side has a reason to begin: a listener does not heed
symbols that mean nothing, and what it does not heed need not mean anything. ``signalling_weight``
gives the sender one (positive signalling, Eccles et al. 2019, "Biases for emergent communication in
multi-agent reinforcement learning", 1912.05676): the mutual information of what it sees and says,

    I = H(E_x pi(.|x)) - E_x H(pi(.|x)),  up to log V where V situations have a symbol each.

Where this differs from the paper:

- the baselines are values, learned from what each role sees, where the paper and EGG (Kharitonov et
  al. 2019, 1907.00852) have running means of the reward; so rollouts may cut episodes, and lambda
  below 1 gives the advantages of actor-critics;
- images are the world's vectors of features, not those of a convolutional network; the receiver's
  layers have biases;
- tau is 1: all evidence of the informed sender here was made with it, and the paper's 10 has not
  been compared with it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from gymnasium import Space
from gymnasium.spaces import Box
from torch import Tensor, nn

from daedalus.accelerators.guards import check_gradients
from daedalus.accelerators.returns import gae
from daedalus.agents.base import Acted, Agent, Inputs, Metric, Metrics, Rollout, Seen, Spaces, State
from daedalus.agents.consolidation import Consolidated, Likelihoods, consolidation_from
from daedalus.agents.losses import explained_variance
from daedalus.agents.optimizers import Adam
from daedalus.agents.policies import policy_for
from daedalus.agents.policy_fisher import observed_steps, policy_outcomes
from daedalus.agents.roles import (
    FORBIDDEN,
    MLP,
    Observation,
    Roles,
    agents_in,
    allowed,
    choices,
)


@dataclass(frozen=True)
class Config(Consolidated):
    """Settings; the defaults are those of the referential game."""

    n_steps: int = 2
    """Steps per rollout and environment; whole episodes give REINFORCE its returns."""
    gamma: float = 1.0
    """Discount."""
    gae_lambda: float = 1.0
    """1 is REINFORCE with a baseline; less leans on the baseline's estimates."""
    learning_rate: float = 3e-3
    """Step size of Adam."""
    entropy_weight: float = 0.01
    """Weight of the entropy bonus, beta."""
    signalling_weight: float = 0.0
    """Weight of `mutual_information` in the sender's loss; 0 leaves its symbols to the reward."""
    value_weight: float = 1.0
    """Weight of the baselines' loss, c."""
    normalize_advantage: bool = False
    """Scale each role's advantages in a rollout to mean 0 and deviation 1."""
    max_gradient_norm: float = 0.0
    """Longer gradients of a role are scaled to this norm; 0 for no limit."""
    hidden: int = 64
    """Units of the hidden layers of baselines and MLPs."""
    sender: str = "informed"
    """Sender of the referential game: "informed" or "agnostic"."""
    embedding: int = 50
    """Components of an image's embedding."""
    filters: int = 20
    """Filters of the informed sender."""
    temperature: float = 1.0
    """Divisor of the informed sender's logits, tau; the paper has 10."""


# ------------------------------------------------------------------------------------ networks


class AgnosticSender(nn.Module):
    """Looks at all images at once, knowing only where the target stands."""

    def __init__(self, images: int, features: int, symbols: int, config: Config) -> None:
        """Build for ``images`` vectors of ``features``."""
        super().__init__()
        self.embed = nn.ModuleList(nn.Linear(features, config.embedding) for _ in range(images))
        self.speak = nn.Linear(images * config.embedding, symbols)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, V) of images (N, G, F), the target first."""
        parts = [layer(images[:, g]) for g, layer in enumerate(self.embed)]
        result: Tensor = self.speak(torch.cat(parts, 1).sigmoid())
        return result


class InformedSender(nn.Module):
    """Compares the images component by component."""

    def __init__(self, images: int, features: int, symbols: int, config: Config) -> None:
        """Build for ``images`` vectors of ``features``."""
        super().__init__()
        self.embed = nn.Linear(features, config.embedding, bias=False)
        self.compare = nn.Linear(images, config.filters, bias=False)
        self.combine = nn.Linear(config.filters, 1, bias=False)
        self.speak = nn.Linear(config.embedding, symbols, bias=False)
        self.temperature = config.temperature

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, V) of images (N, G, F), the target first."""
        stacked = self.embed(images).transpose(1, 2)  # (N, embedding, G): a kernel of G x 1
        mixed = self.combine(self.compare(stacked).sigmoid()).sigmoid().squeeze(2)
        result: Tensor = self.speak(mixed) / self.temperature
        return result


class Receiver(nn.Module):
    """Points at the image that agrees best with the symbol."""

    def __init__(self, features: int, symbols: int, config: Config) -> None:
        """Build for images of ``features``."""
        super().__init__()
        self.embed = nn.Linear(features, config.embedding)
        self.listen = nn.Linear(symbols, config.embedding, bias=False)  # rows: a symbol's embedding

    def forward(self, images: Tensor, message: Tensor) -> Tensor:
        """Return logits (N, G) of images (N, G, F) and a one-hot message (N, V)."""
        return torch.einsum("nge,ne->ng", self.embed(images), self.listen(message))


class GameRole(nn.Module):
    """A role of the referential game; its logits are padded to the actions of both."""

    def __init__(
        self, i: int, spaces: Mapping[str, Space[Any]], actions: int, config: Config
    ) -> None:
        """Build role ``i``: 0 sends, all others receive.

        Raises:
            ValueError: Unknown ``sender``.
        """
        super().__init__()
        (images, features), (symbols,) = (spaces[n].shape or () for n in ("images", "message"))
        self.sends, self.actions = i == 0, actions
        senders = {"agnostic": AgnosticSender, "informed": InformedSender}
        if config.sender not in senders:
            raise ValueError(f"sender must be 'agnostic' or 'informed', got {config.sender!r}")
        if self.sends:
            self.network: nn.Module = senders[config.sender](images, features, symbols, config)
        else:
            self.network = Receiver(features, symbols, config)

    def forward(self, observation: Observation) -> Tensor:
        """Return logits (N, A)."""
        parts = ("images",) if self.sends else ("images", "message")
        output = self.network(*(observation[name] for name in parts))
        padding = self.actions - output.shape[1]
        return nn.functional.pad(output, (0, padding), value=FORBIDDEN)


def is_referential(spaces: Mapping[str, Space[Any]]) -> bool:
    """Tell whether these are the observations of a referential game: images and a message."""
    images, message = spaces.get("images"), spaces.get("message")
    if not (isinstance(images, Box) and isinstance(message, Box)):
        return False
    return len(images.shape) == 2 and len(message.shape) == 1 and images.dtype.kind == "f"


class Network(nn.Module):
    """Policies and baselines of all roles, which share nothing."""

    def __init__(self, spaces: Spaces, config: Config) -> None:
        """Build for ``spaces``."""
        super().__init__()
        seen = spaces.observation
        self.agents = agents_in(seen)
        self.distribution = policy_for(spaces.action)
        actions, game = self.distribution.size, is_referential(seen)

        def policy(i: int) -> nn.Module:
            return GameRole(i, seen, actions, config) if game else MLP(seen, config.hidden, actions)

        self.policies = Roles(self.agents, policy)
        self.baselines = Roles(self.agents, lambda _: MLP(seen, config.hidden, 1))

    def policy(self, observation: Observation) -> Tensor:
        """Return the policy's outputs (N, A), without the actions that an agent lacks."""
        output: Tensor = self.policies(observation)
        return allowed(output, observation)

    def value(self, observation: Observation) -> Tensor:
        """Return the baselines (N,)."""
        value: Tensor = self.baselines(observation)
        return value.squeeze(-1)

    def of(self, i: int) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters of role ``i`` by name."""
        parts = {"policy": self.policies, "baseline": self.baselines}
        named = [
            (f"{part} {i} {name}", value)
            for part, roles in parts.items()
            for name, value in roles.networks[i].named_parameters()
        ]
        return named + list(self.distribution.named_parameters())


# ------------------------------------------------------------------------------------ the losses


def reinforce_loss(log_pi: Tensor, entropy: Tensor, advantage: Tensor, beta: float) -> Tensor:
    """Return -mean(sg(A) log pi + beta H) over the steps of one role, 0-d.

    Args:
        log_pi: (N,).
        entropy: (N,).
        advantage: (N,), R - b; no gradient passes through it.
        beta: Weight of the entropy.
    """
    return -(advantage.detach() * log_pi + beta * entropy).sum() / max(len(log_pi), 1)


def mutual_information(probabilities: Tensor) -> Tensor:
    """Return H(mean of rows) - mean of H(row) of distributions (N, V), 0-d, in nats."""
    rows = probabilities.clamp(min=1e-12)  # a missing action has 0, where the slope is infinite
    entropy = torch.special.entr
    information: Tensor = entropy(rows.mean(0)).sum() - entropy(rows).sum(1).mean()
    return information


def effective_symbols(action: Tensor, actions: int) -> Tensor:
    """Return exp of the entropy of how often actions (N,) are used, 0-d: 1 to ``actions``."""
    share = torch.bincount(action.long(), minlength=actions).float()
    share = share / share.sum().clamp(min=1)
    number: Tensor = torch.special.entr(share).sum().exp()
    return number


# ------------------------------------------------------------------------------------- the agent


class Comm(Agent):
    """REINFORCE speakers and listeners, each with its own policy and baseline."""

    name = "comm"
    Config: ClassVar[type[Any]] = Config
    default_num_envs: ClassVar[int] = 32

    def build(self) -> None:
        """Make networks and optimiser.

        Raises:
            ValueError: Nobody hears what ``signalling_weight`` makes an agent say.
        """
        if self.config.signalling_weight > 0 and agents_in(self.spaces.observation) < 2:
            raise ValueError("signalling_weight needs a world of several agents, the first speaks")
        self.network = Network(self.spaces, self.config).to(self.device)
        self.optimizer = Adam(self.network.parameters(), self.config.learning_rate)
        self.modules = {"network": self.network}
        self.optimizers = {"adam": self.optimizer}
        spoken = [*self.network.policies.parameters(), *self.network.distribution.parameters()]
        self.consolidation = consolidation_from(self.config, spoken)

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Sample actions, or take the most likely."""
        training, policy = torch.is_grad_enabled(), self.network.distribution
        with torch.no_grad():
            output = self.network.policy(inputs.observation)
            extras = {} if training else {"value": self.network.value(inputs.observation)}
        if deterministic:
            action = policy.mode(output)
        else:
            action = policy.sample(output, self.generators["act"])
        return Acted(action, state, extras if training else extras | {"policy": output})

    def inspect(
        self, now: Seen, before: Seen | None, label: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Show the policy of the first agent."""
        return {**self.network.distribution.describe(now.acted.extras["policy"])}

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step on the losses of all roles, or none where all steps only reset."""
        if not rollout.valid.any():
            return {}
        network, steps = self.network, rollout.reward.numel()
        seen = {name: x.flatten(0, 1) for name, x in rollout.observation.items()}
        value = network.value(seen).view(-1, rollout.reward.shape[1])
        advantage, returns = self._advantage(rollout, value.detach())
        acted = {name: x[:steps] for name, x in seen.items()}
        action, output = rollout.action.flatten(0, 1), network.policy(acted)
        log_pi, entropy = network.distribution.log_prob_entropy(output, action)
        counted = choices(acted, log_pi) & rollout.valid.flatten()
        parts = log_pi, entropy, advantage.flatten(), counted
        loss, metrics = self._roles(acted, action, parts)
        if self.config.signalling_weight > 0:
            said = output[counted & (acted["agent"].argmax(-1) == 0)].softmax(-1)
            if len(said):  # a short rollout may have none of the sender's turns
                information = mutual_information(said)
                loss = loss - self.config.signalling_weight * information
                metrics["information_0"] = information.detach()
        error = (returns - value[:-1])[rollout.valid]
        value_loss = 0.5 * error.square().mean()
        norms = self._apply(loss + self.config.value_weight * value_loss)
        return metrics | {
            "value_loss": value_loss.detach(),
            "explained_variance": functools.partial(
                explained_variance, value[:-1].detach(), returns, rollout.valid
            ),
            **{f"gradient_norm_{i}": norm for i, norm in enumerate(norms)},
        }

    def likelihoods(self) -> Likelihoods:
        """Yield log-likelihoods of the roles' policies at the end of a task, steps of all roles."""
        generator, policy = self.generators["update"], self.network.distribution
        for rollout, t, b in observed_steps(self):
            seen = {name: x[t, b : b + 1] for name, x in rollout.observation.items()}
            yield policy_outcomes(policy, self.network.policy(seen), generator)

    def _roles(
        self, acted: Observation, action: Tensor, parts: tuple[Tensor, ...]
    ) -> tuple[Tensor, dict[str, Metric]]:
        """Return the sum of the roles' losses over the steps in which each had a choice."""
        log_pi, entropy, advantage, counted = parts
        who = acted["agent"].argmax(-1) if "agent" in acted else torch.zeros_like(counted).long()
        total, metrics = log_pi.new_zeros(()), dict[str, Metric]()
        for i in range(self.network.agents):
            mine = counted & (who == i)
            own = advantage[mine]
            if self.config.normalize_advantage and len(own) > 1:
                own = (own - own.mean()) / (own.std() + 1e-8)
            beta = self.config.entropy_weight
            total = total + reinforce_loss(log_pi[mine], entropy[mine], own, beta)
            if not len(own):  # no turn in a rollout shorter than an episode: nothing to report
                continue
            metrics[f"entropy_{i}"] = entropy[mine].detach().mean
            if action.dim() == 1 and not action.is_floating_point():
                metrics[f"symbols_{i}"] = self._used(action[mine])
        return total, metrics

    def _used(self, action: Tensor) -> Callable[[], Tensor]:
        """Return a function for the effective number of different actions."""
        first, size = int(getattr(self.spaces.action, "start", 0)), self.network.distribution.size
        return lambda: effective_symbols(action - first, size)

    def _advantage(self, rollout: Rollout, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return advantages and returns (T, B); a time limit bootstraps from its last state."""
        following = value[1:].clone()
        if len(rollout.final_index):
            t, b = rollout.final_index.unbind(1)
            with torch.no_grad():
                following[t, b] = self.network.value(rollout.final_observation)
        names = (rollout.reward, value[:-1], following, rollout.terminated, rollout.truncated)
        arrays = [x.cpu().numpy() for x in names]
        gamma, gae_lambda = self.config.gamma, self.config.gae_lambda
        advantage = torch.from_numpy(gae(*arrays, gamma, gae_lambda)).to(self.device)
        return advantage, advantage + value[:-1]

    def _apply(self, loss: Tensor) -> list[Tensor]:
        """Take a step; return the norms of the roles' gradients.

        Raises:
            NotFiniteError: The loss or a gradient is not finite; no weight has changed.
        """
        self.optimizer.zero_grad()
        loss.backward()
        if self.consolidation is not None:
            self.consolidation.before_step()
        norms = []
        for i in range(self.network.agents):
            named = self.network.of(i)
            norm = nn.utils.get_total_norm([p.grad for _, p in named if p.grad is not None])
            check_gradients(functools.partial(self.network.of, i), loss, norm)
            if self.config.max_gradient_norm > 0:
                nn.utils.clip_grads_with_norm_(
                    [p for _, p in named], self.config.max_gradient_norm, norm
                )
            norms.append(norm)
        self.optimizer.step()
        if self.consolidation is not None:
            self.consolidation.after_step()
        return norms
