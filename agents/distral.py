"""Distral: tasks that share a distilled policy (Teh et al. 2017, 1707.04175).

Each task i has a policy pi_i, and pi_0 is what they have in common. They maximise

    sum_i E_{pi_i} sum_t gamma^t [ R_i + (alpha/beta) log pi_0(a|s) - (1/beta) log pi_i(a|s) ]
    alpha = c_KL / (c_KL + c_Ent),  beta = 1 / (c_KL + c_Ent)

so a task is paid for doing what others do (c_KL), and for entropy (c_Ent). In tables, for a pi_0:

    V_i(s) = 1/beta log sum_a pi_0(a|s)^alpha exp(beta Q_i(s, a)),  Q_i = R_i + gamma E V_i(s')
    pi_i(a|s) = pi_0(a|s)^alpha exp(beta (Q_i(s, a) - V_i(s)))

With networks, pi_0 = softmax(h_0) and one column pi_i = softmax(f_i), or two columns
pi_i = softmax(alpha h_0 + beta f_i). The regularised rewards enter the returns and values of the
synchronous A3C, and pi_0 is distilled from all tasks by the sum over actions
(alpha/beta) sum_a (pi_i(a|s) - pi_0(a|s)) grad h_0(a|s); with two columns it also has the policy
gradient, through the logits. The paper's variants and baselines are settings:

| variant | columns | c_kl | c_entropy | pi_0 |
|---|---:|---|---|---|
| KL 1col, KL 2col | 1, 2 | c | 0 | distilled |
| KL+ent 1col, 2col | 1, 2 | c/2 | c/2 | distilled |
| A3C, one for each task | 1 | 0 | c | none |
| A3C 2col | 2 | 0 | c | a column, h_0 + f_i |
| A3C multitask (`shared`) | 1 | 0 | c | is the only policy |

Observations say which task it is in the array ``task``; pi_0 does not see it. Differences: the
columns are feed-forward, f_i stands for beta f_i in the logits (so that its learning rate does not
depend on beta), and states count as often as they are visited, without gamma^t, as in A3C.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from daedalus.accelerators.returns import n_step_return
from daedalus.accelerators.rollout import Inputs, State
from daedalus.agents.a3c_network import A3CConfig
from daedalus.agents.base import Acted, Agent, Metric, Metrics, Rollout
from daedalus.agents.losses import explained_variance, mean_of
from daedalus.agents.networks import Encoder, orthogonal
from daedalus.agents.optimizers import RMSProp, descend
from daedalus.agents.policies import Categorical

FLOOR = 1e-6
"""Least probability of an action under pi_0 in logarithms: log pi_0 stays finite."""


@dataclass(frozen=True)
class Config(A3CConfig):
    """Settings of `Distral`: those of the synchronous A3C, and what couples the tasks.

    ``c_entropy`` takes the place of ``entropy_weight``.
    """

    UNUSED = (
        "entropy_weight",
        "feed_back",
        "task_gains",
        "reuse_acting",
        "fisher_exact",
        "fisher_value",
        "fisher_samples",
        "ewc_decay",
        "si_damping",
    )

    lstm: int = 0
    """Must be 0: columns are feed-forward."""
    columns: int = 2
    """1: a task's policy is its own network; 2: it also has the logits of pi_0."""
    c_kl: float = 0.005
    """c_KL: what following pi_0 pays."""
    c_entropy: float = 0.005
    """c_Ent: what entropy pays."""
    shared: bool = False
    """One policy and value for all tasks: the multitask baseline. Needs c_kl = 0, columns = 1."""

    @property
    def alpha(self) -> float:
        """c_KL / (c_KL + c_Ent)."""
        return self.c_kl / (self.c_kl + self.c_entropy)

    @property
    def beta(self) -> float:
        """1 / (c_KL + c_Ent)."""
        return 1.0 / (self.c_kl + self.c_entropy)


# -------------------------------------------------------------------------------- the equations


def soft_value(q: Tensor, log_pi0: Tensor, alpha: float, beta: float) -> Tensor:
    """Return V = 1/beta log sum_a pi_0^alpha exp(beta Q), (...), of Q and log pi_0 (..., A)."""
    return torch.logsumexp(alpha * log_pi0 + beta * q, -1) / beta


def soft_policy(q: Tensor, log_pi0: Tensor, alpha: float, beta: float) -> Tensor:
    """Return pi_i = pi_0^alpha exp(beta (Q - V)), (..., A)."""
    return (alpha * log_pi0 + beta * q).softmax(-1)


def regularised_reward(
    reward: Tensor, log_pi0: Tensor, log_pi: Tensor, alpha: float, beta: float
) -> Tensor:
    """Return R + (alpha/beta) log pi_0(a|s) - (1/beta) log pi_i(a|s), (...), of taken actions."""
    return reward + (alpha / beta) * log_pi0 - log_pi / beta


def distillation_loss(pi: Tensor, logits0: Tensor, weight: Tensor) -> Tensor:
    """Return the cross-entropy of pi_0 with pi_i, a constant: its gradient is pi_0 - pi_i.

    Args:
        pi: (T, B, A), policies of the tasks.
        logits0: (T, B, A), h_0.
        weight: (T, B), what each step counts.

    Returns:
        0-d, summed over T and averaged over B.
    """
    cross = -(pi.detach() * logits0.log_softmax(-1)).sum(-1)
    return (weight * cross).sum() / weight.shape[1]


def apart(log_pi: Tensor, log_pi0: Tensor) -> dict[str, Tensor]:
    """Return KL(pi_i | pi_0), KL(pi_0 | pi_i) and both entropies, (...), of (..., A)."""
    difference = log_pi - log_pi0
    return {
        "kl_to_common": (log_pi.exp() * difference).sum(-1),
        "kl_from_common": -(log_pi0.exp() * difference).sum(-1),
        "entropy": -(log_pi.exp() * log_pi).sum(-1),
        "common_entropy": -(log_pi0.exp() * log_pi0).sum(-1),
    }


def gradient_cosine(losses: Sequence[Tensor], shared: nn.Module) -> Tensor:
    """Return the mean cosine, 0-d, of the gradients of two ``losses``, 0-d, by ``shared``.

    -1: what is better for one is as much worse for the other; 0 where a gradient is zero, or where
    there are fewer than two.
    """
    parameters, rows = list(shared.parameters()), []
    if len(losses) < 2:
        return parameters[0].new_zeros(())
    for loss in losses:
        by = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in by]))
    units = nn.functional.normalize(torch.stack(rows), dim=1)
    pairs = max(1, len(rows) * (len(rows) - 1))
    mean: Tensor = (units.sum(0).square().sum() - units.square().sum()) / pairs
    return mean


# ------------------------------------------------------------------------------------- the network


class Judged(NamedTuple):
    """What the networks say of observations (N, ...)."""

    logits: Tensor  # (N, A), of the tasks' policies
    value: Tensor  # (N,), of the tasks
    logits0: Tensor  # (N, A), h_0


class Spoken(NamedTuple):
    """What policies and values say of a rollout (T, B)."""

    log_pi: Tensor  # (T, B, A), of the tasks' policies
    logits0: Tensor  # (T, B, A), h_0
    log_pi0: Tensor  # (T, B, A)
    taken: Tensor  # (T, B), log pi_i of the action
    taken0: Tensor  # (T, B), log pi_0 of it
    value: Tensor  # (T, B)


class Trunk(nn.Module):
    """Encoder with a policy's logits, and a value."""

    def __init__(self, spaces: Any, config: Config, actions: int) -> None:
        """Build for observation ``spaces``."""
        super().__init__()
        self.encoder = Encoder(spaces, config.hidden, config.torso, config.precision)
        self.actor = orthogonal(nn.Linear(config.hidden, actions), 0.01)
        self.critic = orthogonal(nn.Linear(config.hidden, 1), 1.0)

    def forward(self, observation: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (N, A) and values (N,)."""
        features = self.encoder(self.encoder.encode(observation))
        return self.actor(features), self.critic(features).squeeze(-1)


class Network(nn.Module):
    """h_0, which does not see the task, and f_i and V_i of every task."""

    def __init__(self, spaces: dict[str, Any], actions: int, config: Config) -> None:
        """Build for observation ``spaces`` with an array ``task``."""
        super().__init__()
        seen = {name: space for name, space in spaces.items() if name != "task"}
        count = 1 if config.shared else spaces["task"].shape[0]
        self.common = Trunk(seen, config, actions)
        self.tasks = nn.ModuleList(Trunk(seen, config, actions) for _ in range(count))
        coupled = config.alpha if config.c_kl > 0 else 1.0  # A3C 2col: h_0 + f_i
        self.coupling = coupled if config.columns == 2 else 0.0

    def forward(self, observation: dict[str, Tensor]) -> Judged:
        """Judge observations (N, ...), each by the networks of its task."""
        seen = {name: value for name, value in observation.items() if name != "task"}
        logits0, _ = self.common(seen)
        task = observation["task"].argmax(-1).clamp(max=len(self.tasks) - 1)
        f, value = torch.zeros_like(logits0), logits0.new_zeros(len(logits0))
        for i in task.unique().tolist():
            rows = (task == i).nonzero().squeeze(1)
            own, judged = self.tasks[i]({name: array[rows] for name, array in seen.items()})
            f, value = f.index_put((rows,), own), value.index_put((rows,), judged)
        return Judged(f + self.coupling * logits0, value, logits0)


# --------------------------------------------------------------------------------------- the agent


class Distral(Agent):
    """A policy for each task, and a distilled one of what they have in common."""

    name = "distral"
    Config: ClassVar[type[Any]] = Config
    _acts_commonly = False

    def build(self) -> None:
        """Make the networks and their optimiser.

        Raises:
            TypeError: The actions are not Discrete.
            ValueError: Observations do not tell the task, or a setting means nothing.
        """
        config, observation = self.config, dict(self.spaces.observation)
        if not isinstance(self.spaces.action, Discrete):
            raise TypeError(
                f"distral distils Discrete actions, these are {self.spaces.action}: use "
                "actor_critic or ppo"
            )
        if config.lstm or config.columns not in (1, 2) or config.c_kl + config.c_entropy <= 0:
            raise ValueError("distral needs lstm = 0, columns 1 or 2, and c_kl + c_entropy > 0")
        if config.shared and (config.c_kl > 0 or config.columns == 2):
            raise ValueError("distral with one shared policy needs c_kl = 0 and columns = 1")
        if config.consolidation != "none":
            raise ValueError("distral learns tasks together: for consolidation take actor_critic")
        self._told = "task" in observation
        if not self._told:  # a single task: pi_0 and pi_1
            observation["task"] = Box(0.0, 1.0, (1,))
        self.policy = Categorical(self.spaces.action)
        self.network = Network(observation, self.policy.size, config).to(self.device)
        self.optimizer = RMSProp(
            self.network.parameters(),
            config.learning_rate,
            config.rmsprop_decay,
            config.rmsprop_epsilon,
            config.epsilon_inside,
            config.rmsprop_corrected,
        )
        self.modules = {"network": self.network}
        self.optimizers = {"rmsprop": self.optimizer}

    @property
    def common(self) -> Distral:
        """This agent with its networks, acting by pi_0 alone, to see what it does on each task.

        For `daedalus.evaluate` and whatever else acts with an agent; it learns and is saved as the
        agent itself. Where one policy is ``shared`` that is it.

        Raises:
            ValueError: This variant has no pi_0.
        """
        config = self.config
        if config.columns == 1 and config.c_kl == 0 and not config.shared:
            raise ValueError("this variant distils no pi_0: it needs c_kl > 0 or two columns")
        other = copy(self)
        other._acts_commonly = True
        return other

    def judge(self, observation: dict[str, Tensor]) -> Judged:
        """Judge observations (N, ...)."""
        if not self._told:
            rows = len(next(iter(observation.values())))
            observation = {**observation, "task": torch.ones(rows, 1, device=self.device)}
        judged: Judged = self.network(observation)
        return judged

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Sample from the policy of each row's task, or take its most likely action."""
        with torch.no_grad():
            judged = self.judge(inputs.observation)
        common = self._acts_commonly and not self.config.shared
        logits = judged.logits0 if common else judged.logits
        if deterministic:
            action = self.policy.mode(logits)
        else:
            action = self.policy.sample(logits, self.generators["act"])
        value = {} if common else {"value": judged.value}  # pi_0 has none
        return Acted(action, state, {**value, "policy": logits})

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step on the losses of all tasks and of the distillation."""
        config, valid = self.config, rollout.valid.float()
        seen = {name: value[:-1].flatten(0, 1) for name, value in rollout.observation.items()}
        spoken = self._spoken(seen, rollout)
        log_pi, log_pi0 = spoken.log_pi.detach(), spoken.log_pi0.detach()
        taken, taken0 = spoken.taken.detach(), spoken.taken0.detach()
        returns, value = self._returns(rollout, taken, taken0), spoken.value.detach()
        losses = self._losses(spoken, returns, valid)
        bonus = regularised_reward(
            torch.zeros_like(taken), taken0, taken, config.alpha, config.beta
        )
        measures = {
            **apart(log_pi, log_pi0),
            **{"reward": rollout.reward, "regularisation": bonus},
        }
        stepped = self._step(self._total(losses))
        return {
            **{f"{name}_loss": loss.detach() for name, loss in losses.items()},
            "entropy": partial(mean_of, measures["entropy"], rollout.valid),
            "kl_to_common": partial(mean_of, measures["kl_to_common"], rollout.valid),
            **self._by_task(seen, measures, valid),
            "regularisation": partial(mean_of, bonus, rollout.valid),
            "explained_variance": partial(explained_variance, value, returns, rollout.valid),
            **self._together(seen, rollout, returns, valid),
            **stepped,
        }

    def _spoken(self, seen: dict[str, Tensor], rollout: Rollout) -> Spoken:
        """Judge observations (T B, ...) and look up the actions of ``rollout``."""
        shape = rollout.reward.shape
        logits, value, logits0 = (x.view(*shape, *x.shape[1:]) for x in self.judge(seen))
        log_pi, log_pi0 = logits.log_softmax(-1), logits0.log_softmax(-1)
        chosen = (rollout.action.long() - self.policy.start).unsqueeze(-1)
        taken, taken0 = (x.gather(-1, chosen).squeeze(-1) for x in (log_pi, log_pi0))
        return Spoken(log_pi, logits0, log_pi0, taken, taken0, value)

    def _losses(self, spoken: Spoken, returns: Tensor, counted: Tensor) -> dict[str, Tensor]:
        """Return the losses, 0-d, of the steps that are ``counted``, (T, B) of 1 and 0."""
        config, envs = self.config, counted.shape[1]
        advantage = returns - spoken.value.detach()
        weight = counted * config.alpha / config.beta
        return {
            "policy": -(counted * spoken.taken * advantage).sum() / envs,
            "value": 0.5 * (counted * (returns - spoken.value).square()).sum() / envs,
            "distillation": distillation_loss(spoken.log_pi.exp(), spoken.logits0, weight),
        }

    def _total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum that is stepped down."""
        judged = losses["policy"] + self.config.value_weight * losses["value"]
        total: Tensor = judged + losses["distillation"]
        return total

    def _together(
        self, seen: dict[str, Tensor], rollout: Rollout, returns: Tensor, valid: Tensor
    ) -> dict[str, Metric]:
        """Return what to log of whether tasks pull what they share the same way."""
        config = self.config
        if not self._told or not (config.shared or config.c_kl > 0 or config.columns == 2):
            return {}
        shared = self.network.tasks[0] if config.shared else self.network.common
        task = seen["task"].view(*valid.shape, -1)

        def cosine() -> Tensor:
            there = (task * valid.unsqueeze(-1)).sum((0, 1)).nonzero().squeeze(1).tolist()
            spoken = self._spoken(seen, rollout)
            losses = (self._losses(spoken, returns, valid * task[..., i]) for i in there)
            return gradient_cosine([self._total(loss) for loss in losses], shared)

        return {"gradient_cosine": cosine}

    def _by_task(
        self, seen: Mapping[str, Tensor], measures: Mapping[str, Tensor], valid: Tensor
    ) -> dict[str, Metric]:
        """Return the means of ``measures`` over each task's steps, 0 where it has none.

        Args:
            seen: (T B, ...) by name.
            measures: (T, B) by name.
            valid: (T, B), 1 for the steps that count.
        """
        if not self._told:
            return {}
        counted = seen["task"] * valid.view(-1, 1)
        share = counted / counted.sum(0).clamp(min=1)  # (T B, tasks): weights of means
        return {
            f"{name}_{i}": partial(torch.dot, value.flatten(), share[:, i])
            for name, value in measures.items()
            for i in range(share.shape[1])
        }

    def _returns(self, rollout: Rollout, log_pi: Tensor, log_pi0: Tensor) -> Tensor:
        """Return n-step returns (T, B) of the regularised rewards."""
        config = self.config
        limit = config.reward_clip or torch.inf
        floored = log_pi0.clamp(min=float(torch.tensor(FLOOR).log()))
        reward = regularised_reward(
            rollout.reward.clamp(-limit, limit), floored, log_pi, config.alpha, config.beta
        )
        following = torch.zeros_like(reward)
        with torch.no_grad():
            following[-1] = self.judge(rollout.inputs.at(-1).observation).value
            t, b = rollout.final_index.unbind(1)
            if len(t):
                following[t, b] = self.judge(rollout.final_observation).value
        arrays = (
            x.cpu().numpy() for x in (reward, rollout.terminated, rollout.truncated, following)
        )
        return torch.from_numpy(n_step_return(*arrays, config.gamma)).to(self.device)

    def _step(self, loss: Tensor) -> dict[str, Any]:
        """Take a step down the gradient of ``loss``."""
        optimizer, config = self.optimizer, self.config
        rate = config.learning_rate * (1.0 - self.progress if config.anneal else 1.0)
        optimizer.param_groups[0]["lr"] = rate
        named = self.network.named_parameters
        norm = descend(optimizer, loss, named, config.max_gradient_norm)
        return {"loss": loss.detach(), "gradient_norm": norm, "learning_rate": rate}
